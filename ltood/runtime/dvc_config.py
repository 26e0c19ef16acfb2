"""DVC's own configuration files: those of the user, of a repository and of one copy of it."""

import configparser
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ltood.core.errors import StoreError


def configurations(repository: Path) -> Iterator[tuple[Path, configparser.RawConfigParser]]:
    """Each file with its content; a later one has the last word.

    Args:
        repository: Folder that holds `.dvc`.

    Raises:
        StoreError: If a file cannot be read.
    """
    for file in (of_user(), repository / ".dvc" / "config", repository / ".dvc" / "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise StoreError(f"{file} cannot be read ({error}); correct it.") from error
        yield file, parser


def cache_of(repository: Path) -> Path:
    """Folder of a repository's cache.

    Args:
        repository: Folder that holds `.dvc`.

    Raises:
        StoreError: If a configuration file cannot be read.
    """
    found = repository / ".dvc" / "cache"
    for file, parser in configurations(repository):
        if parser.has_option("cache", "dir"):
            given = Path(parser["cache"]["dir"].strip("'\"")).expanduser()
            found = (file.parent / given).resolve()
    return found


def of_user() -> Path:
    """DVC's configuration file of the user."""
    if "DVC_GLOBAL_CONFIG_DIR" in os.environ:
        return Path(os.environ["DVC_GLOBAL_CONFIG_DIR"], "config")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dvc" / "config"
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base, "dvc", "config")
