"""Files that ltood can make itself, by name: tables name no commands."""

from collections.abc import Callable, Mapping
from pathlib import Path


def _small_clip(path: Path) -> None:
    from ltood.tables import small_clip

    small_clip.make(path.parent)


#: What writes a file, and its like beside it, by the name that tables have for it.
MAKERS: Mapping[str, Callable[[Path], None]] = {"small_clip": _small_clip}
