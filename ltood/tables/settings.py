"""Published settings: one file for each published run, in the sections of `params.yaml`.

Each file in `presets/` holds what one published run sets, with the origin of every value in its
comment, and `source`: paper, code, command, the published row, and what still differs.
"""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ltood.runtime.params import parse_params

FOLDER = Path(__file__).with_name("presets")
#: Not a setting: where the others come from.
SOURCE = "source"
#: Sections with paths and sets of the user, of which only what is named is replaced.
_KEPT = "datasets"


def names() -> list[str]:
    """Names of all published runs."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def text_of(name: str) -> str:
    """Text of the file of a run.

    Raises:
        UnknownNameError: If there is no such run; gives the nearest name.
    """
    import difflib

    from ltood.core.errors import UnknownNameError

    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownNameError(
            f"there are no published settings {name!r}.{hint} `ltood preset` lists all."
        )
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def complete(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run with the defaults of the sections that it names, except those of datasets.

    What an earlier run has left in a section would change the result otherwise.
    """
    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.training.plan import TrainingConfig

    found: dict[str, Any] = {}
    for key, value in content.items():
        if key == "training":
            found[key] = to_section(parse(value, TrainingConfig, key))
        elif isinstance(value, Mapping) and key != _KEPT:
            found[key] = {
                name: to_section(parse(given, load(key, name).Config, f"{key}.{name}"))
                for name, given in value.items()
            }
        else:
            found[key] = value
    return found


def settings_of(name: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Settings of a run as its file has them, and where they come from.

    Raises:
        UnknownNameError: If there is no such run; gives the nearest name.
    """
    content = copy.deepcopy(_content(name))
    return content, content.pop(SOURCE)


@cache
def _content(name: str) -> dict[str, Any]:
    """Content of a file; a table reads it for every seed."""
    return parse_params(text_of(name), FOLDER / f"{name}.yaml")
