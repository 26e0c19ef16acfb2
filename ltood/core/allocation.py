"""How a process keeps memory that it will need again; no torch."""

#: Names of glibc's settings, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def reuse_memory() -> bool:
    """Let this process keep freed blocks for later ones instead of giving them to the system.

    glibc gives every block above 32 MiB back at once, and the system hands it out again page by
    page, zeroed: encoding images in batches then spends a fifth of its processor time there. It
    is for processes that do the same over and over, as networks do; what takes blocks of many
    sizes would hold more and more. Where the C library has no such settings, nothing happens.

    Returns:
        Whether the settings were taken.
    """
    import ctypes  # takes longer to load than all else that `--help` needs

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
