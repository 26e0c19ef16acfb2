"""Errors that users can meet; each message names the next step.

Commands turn every `LtoodError` into one line and exit code 1; anything else is
a fault of ours and keeps its traceback.
"""

#: Most characters of a quoted value, and how many of them are its end.
QUOTED, QUOTED_END = 200, 50


def cut(text: str, most: int, end: int) -> str:
    """At most `most` characters of a text, the last `end` of them being its end."""
    return text if len(text) <= most else f"{text[: most - end - 1]}…{text[-end:]}"


def quoted(value: object) -> str:
    """A value that a user gave as Python writes it, cut where it is long."""
    try:
        return cut(repr(value), QUOTED, QUOTED_END)
    except ValueError:  # So Python refuses to write out thousands of digits.
        return "a number of thousands of digits"


class LtoodError(Exception):
    """Base of every expected failure."""


class ConfigError(LtoodError, ValueError):
    """A setting has an unknown key, the wrong type or a value out of range."""


class UnknownNameError(ConfigError):
    """There is no entry, kind or set of that name."""


class DataError(LtoodError, ValueError):
    """Arrays or images from outside break a rule (shape, range, finiteness)."""


class StoreError(LtoodError):
    """A store cannot be opened, created or read as requested."""


class CorruptStoreError(StoreError):
    """Stored bytes are missing, truncated or changed."""


class IncompleteStoreError(StoreError):
    """A store or split is not finished yet."""


class FingerprintError(StoreError):
    """An existing store was made from other inputs than the ones given."""


class TransferError(LtoodError):
    """Files cannot be sent to an address, or fetched from it."""


class MissingNeedError(LtoodError):
    """A method needs something the store does not hold."""


class MissingPackageError(MissingNeedError, ImportError):
    """An optional package is not installed."""


class NotFittedError(LtoodError, RuntimeError):
    """`score` was called before `fit`."""


class TrainingError(LtoodError, RuntimeError):
    """Training cannot continue, such as after a loss that is not finite."""
