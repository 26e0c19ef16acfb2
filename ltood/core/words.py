"""Words of sentences for people."""


def counted(number: int, what: str, several: str | None = None) -> str:
    """A number of things, such as "1 class" or "1,200 classes".

    Args:
        number: How many there are.
        what: What one of them is called.
        several: What several are called; `what` with an s where not given.

    Example:
        >>> counted(1, "file"), counted(1200, "class", "classes")
        ('1 file', '1,200 classes')
    """
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
