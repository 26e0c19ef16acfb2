"""What reading arrays of NumPy's formats raises where a file is none, or damaged."""

import struct
import tokenize
import zipfile
import zlib

#: One bit of a header or an archive leads to any of these; KeyError is an array that is missing.
UNREADABLE: tuple[type[Exception], ...] = (
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,  # An archive that counts as encrypted, or as packed in another way.
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
