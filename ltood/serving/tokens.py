"""The token that clients of the service must send."""

import os
from pathlib import Path

from ltood.core.errors import ConfigError

#: Environment variable that holds the token.
VARIABLE = "LTOOD_TOKEN"
_LEAST = 8


def read_token(file: Path | None) -> str | None:
    """The token of a file, else that of the environment variable LTOOD_TOKEN, else None.

    Args:
        file: Text file that holds the token and nothing else.

    Raises:
        ConfigError: If the file cannot be read, or the token is short or is not printable ASCII.
    """
    where = VARIABLE if file is None else f"--token-file {file}"
    if file is None:
        token = os.environ.get(VARIABLE)
        if token is None:
            return None
    else:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} cannot be read ({error}).") from error
    token = token.strip()
    if len(token) < _LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"the token of {where} has {len(token)} characters, or others than letters, digits and "
            f"signs; use {_LEAST} or more of these, such as those of `openssl rand -hex 16`."
        )
    return token
