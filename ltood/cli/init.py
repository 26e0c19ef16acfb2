"""`ltood init`: write the sections that params.yaml lacks."""

from pathlib import Path
from typing import Annotated

import typer

SLOTS = ("datasets", "backbones", "recipes", "calibrators", "methods", "normalisers")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("init")(init)


def init(
    path: Annotated[Path, typer.Option("--params", help="Parameter file.")] = Path("params.yaml"),
    check: Annotated[bool, typer.Option(help="Only say what is missing; exit 1 if so.")] = False,
) -> None:
    """Add a section with its defaults for every entry that params.yaml does not list."""
    from ruamel.yaml import YAML

    from ltood.core.errors import ConfigError
    from ltood.core.params import to_section
    from ltood.core.registry import available, load

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    added = []
    for slot in SLOTS:
        sections = content.setdefault(slot, {})
        for name in available(slot):
            if name not in sections:
                sections[name] = to_section(load(slot, name).Config())
                added.append(f"{slot}.{name}")
    if check and added:
        raise ConfigError(f"{path} lacks the sections {', '.join(added)}; run `ltood init`.")
    if added:
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
    typer.echo(f"{path}: added {', '.join(added)}" if added else f"{path}: nothing is missing")
