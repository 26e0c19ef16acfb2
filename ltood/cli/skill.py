"""`ltood skill`: hand the skill file for coding agents to a project."""

from pathlib import Path
from typing import Annotated

import typer

#: Where the skill is kept in the repository; a wheel brings it along.
SOURCE = "docs/skill/SKILL.md"


def skill(
    folder: Annotated[Path, typer.Argument(help="Folder in which agents look for skills.")] = Path(
        ".claude/skills"
    ),
) -> None:
    """Copy the skill that teaches coding agents to use ltood into a folder of skills."""
    from ltood.runtime.files import write_atomically
    from ltood.runtime.shipped import shipped

    out = folder / "ltood" / "SKILL.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, shipped(SOURCE).read_bytes())
    typer.echo(f"{out}: written; agents that read skills find it there")
