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
    import io

    from ruamel.yaml import YAML

    from ltood.core.errors import ConfigError
    from ltood.core.registry import available, load
    from ltood.core.settings import to_section
    from ltood.runtime.params import read_params
    from ltood.store.chunks import write_atomically

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = {}
    if path.is_file() and path.read_bytes().strip():
        read_params(path)  # Refuses what is no file of settings in one line.
        content = yaml.load(path.read_text(encoding="utf-8"))
    added = []
    for slot in SLOTS:
        if content.get(slot) is None:
            content[slot] = {}
        sections = content[slot]
        if not isinstance(sections, dict):
            raise ConfigError(f"{path}: {slot} is {sections!r}; it must be a mapping of names.")
        for name in available(slot):
            if name not in sections:
                sections[name] = to_section(load(slot, name).Config())
                added.append(f"{slot}.{name}")
    if check and added:
        raise ConfigError(f"{path} lacks the sections {', '.join(added)}; run `ltood init`.")
    if added:
        text = io.StringIO()
        yaml.dump(content, text)
        try:
            write_atomically(path, text.getvalue().encode())
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror}); correct --params."
            ) from error
    typer.echo(f"{path}: added {', '.join(added)}" if added else f"{path}: nothing is missing")
