"""How a process shares cores with other processes and keeps its memory; no torch."""

import os

#: Names of glibc's settings, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def passive_omp_wait() -> None:
    """Let waiting threads sleep instead of spin; call it before torch is loaded.

    Threads that spin at each barrier take the cores from the threads they wait for as soon as
    another program runs: with two cores and a load of seven, five epochs of the demo took 496 s
    spinning and 17 s sleeping, with the same bits. A wait policy that the user set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> bool:
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
