"""Columns that text takes in a terminal, where some characters are twice as wide as others."""


def width(text: str) -> int:
    """Columns that a text takes: two for each wide character, none for one that joins another."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, columns: int) -> str:
    """A text with blanks after it, up to a number of columns."""
    return text + " " * (columns - width(text))


def shortened(text: str, columns: int) -> str:
    """A text that takes at most a number of columns, with an ellipsis where it is cut."""
    if width(text) <= columns:
        return text
    kept = text
    while width(kept) > columns - 1:
        kept = kept[:-1]
    return f"{kept}…"
