"""`ltood preset`: write published settings into params.yaml.

Each file in `published/` holds what one published run sets, in the sections of `params.yaml`, with
the origin of every value in its comment, and `source`: paper, code, command, the published row,
and what still differs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

FOLDER = Path(__file__).with_name("published")
#: Not a setting: where the others come from.
SOURCE = "source"
#: Sections with paths and sets of the user, of which only what is named is replaced.
_KEPT = "datasets"


def preset(
    name: Annotated[
        str | None, typer.Argument(help="Name of the published run; lists them if left out.")
    ] = None,
    path: Annotated[Path, typer.Option("--params", help="Parameter file.")] = Path("params.yaml"),
    show: Annotated[bool, typer.Option("--show", help="Only print the settings.")] = False,
) -> None:
    """List published settings, or write those of one run into params.yaml."""
    if name is None:
        for known in names():
            typer.echo(f"{known:<28} {text_of(known).splitlines()[0].removeprefix('# ')}")
        return
    text = text_of(name)
    if show:
        typer.echo(text, nl=False)
        return

    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import parse_params, with_settings

    content = parse_params(text, FOLDER / f"{name}.yaml")
    source = content.pop(SOURCE)
    write_atomically(path, with_settings(path, complete(content)).encode())
    typer.echo(f"{path}: has the settings of {name}; `dvc repro` or `dvc exp run` follows them")
    for departure in source["departures"]:
        typer.echo(f"differs: {departure}")


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
