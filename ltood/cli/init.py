"""`ltood init`: write the sections that params.yaml lacks."""

from pathlib import Path
from typing import Annotated

import typer

#: Keys of params.yaml that hold one section for each entry of the package of that name.
PACKAGES = ("datasets", "backbones", "recipes", "calibrators", "methods", "normalisers")


def init(
    path: Annotated[Path, typer.Option("--params", help="Parameter file.")] = Path("params.yaml"),
    check: Annotated[bool, typer.Option(help="Only list what is missing; exit 1 if so.")] = False,
) -> None:
    """Add a section with its defaults for every entry that params.yaml does not list."""
    from ltood.core.errors import ConfigError
    from ltood.core.registry import available, load
    from ltood.core.settings import to_section
    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import read_params, with_sections

    content = read_params(path) if path.exists() else {}
    added: dict[str, dict[str, object]] = {}
    for package in PACKAGES:
        sections = content.get(package) or {}
        if not isinstance(sections, dict):
            raise ConfigError(f"{path}: {package} is {sections!r}; it must be a mapping of names.")
        if missing := [name for name in available(package) if name not in sections]:
            added[package] = {name: to_section(load(package, name).Config()) for name in missing}
    names = [f"{package}.{name}" for package, sections in added.items() for name in sections]
    if not names:
        typer.echo(f"{path}: nothing is missing")
    elif check:
        raise ConfigError(f"{path} lacks the sections {', '.join(names)}; run `ltood init`.")
    else:
        write_atomically(path, with_sections(path, added).encode())
        typer.echo(f"{path}: added {', '.join(names)}")
