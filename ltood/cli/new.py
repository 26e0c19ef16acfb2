"""`ltood new`: a repository of your own in which `dvc repro` runs."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ltood.cli.own_pictures import MODEL, settings_of

#: Files of ltood's repository that the new one takes as they are.
_COPIED = (".dvcignore", ".dvc/config", ".dvc/plots/by_set.json", "params.schema.json")
#: What differs in the others: (file, pattern, replacement). Stages run from the installed
#: package, and the demo images stay in it.
_CHANGED = (
    ("dvc.yaml", r"python3 -m stages\.(\w+)", r"ltood stage \1"),
    ("params.yaml", r"(?m)^(  demo:\n(?:    .*\n)*?    root:) data/demo$", r"\1"),
)


def new(
    folder: Annotated[Path, typer.Argument(help="Folder to create; it may exist if it is empty.")],
    pictures: Annotated[
        Path | None,
        typer.Option(help="Your pictures: a folder of class folders, or a list of files."),
    ] = None,
    ood: Annotated[
        list[str] | None,
        typer.Option(help="Pictures of none of the classes: NAME=FOLDER. Repeat for several."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Network of timm that turns pictures into features.", show_default=MODEL),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="File of its weights; left out, timm downloads them."),
    ] = None,
) -> None:
    """Create a repository for experiments: git, DVC, settings, and a README.

    With --pictures its settings are a start for them: a frozen network, and a head for the classes.
    """
    import shutil

    from ltood.core.errors import ConfigError
    from ltood.runtime.extras import require

    require("dvc", "`ltood new`")
    if shutil.which("git") is None:
        raise ConfigError("`ltood new` needs git, which is not on the path; install it.")
    if folder.is_dir() and (found := sorted(path.name for path in folder.iterdir())):
        raise ConfigError(
            f"{folder} is not empty (it holds {', '.join(found[:3])}{', …' * (len(found) > 3)}); "
            "name a folder that does not exist yet."
        )
    if pictures is None and (ood or weights or model):
        raise ConfigError(
            "--ood, --model and --weights belong to --pictures; name your pictures too."
        )
    settings = {} if pictures is None else settings_of(pictures, ood or [], model, weights)
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _fill(folder, settings)
    except BaseException:  # Nothing half-made is left, whatever stopped it.
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not was_there:
            folder.rmdir()
        raise
    there = shlex.quote(str(folder))
    if not _committed(folder):
        typer.echo(
            "Experiments start from a commit, and git made none (it may not know your name): set "
            f"user.name and user.email, then run git -C {there} commit -m 'First settings'."
        )
    typer.echo(f"{folder} is ready. Next: cd {there} && dvc repro; its README.md says more.")


def template(name: str) -> str:
    """Text of a file of the new repository, made from the one in ltood's own."""
    from ltood.runtime.shipped import shipped

    text = shipped(name).read_text(encoding="utf-8")
    for file, pattern, replacement in _CHANGED:
        if file == name:
            text, count = re.subn(pattern, replacement, text)
            assert count, f"{name} holds nothing like {pattern}"
    return text


def _fill(folder: Path, settings: Mapping[str, Any]) -> None:
    import sys

    from ltood.runtime.params import with_settings

    own = Path(__file__).with_name("template")
    _run(folder, "git", "init", "--quiet")
    _run(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    for name in (*_COPIED, "dvc.yaml", "params.yaml"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(template(name), encoding="utf-8")
    if settings:
        path = folder / "params.yaml"
        path.write_text(with_settings(path, settings), encoding="utf-8")
    readme = (own / "README.md").read_text(encoding="utf-8")
    if settings:
        readme = _for_pictures(readme, (own / "own_images.md").read_text(encoding="utf-8"))
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / ".gitignore").write_bytes((own / "gitignore").read_bytes())
    _run(folder, "git", "add", "--all")


def _for_pictures(readme: str, section: str) -> str:
    """README.md of a repository that starts from pictures; `section` says how they are read."""
    changes = (
        (
            r"trains a small network on the\ndemo images that come with ltood;",
            "learns a head for\nthe classes of your images on a network that stays as it is;",
        ),
        (r"(?s)## Your own images\n.*?(?=\n## )", section),
    )
    for pattern, text in changes:
        found = re.search(pattern, readme)
        assert found, f"README.md holds nothing like {pattern}"
        readme = f"{readme[: found.start()]}{text}{readme[found.end() :]}"
    return readme


def _committed(folder: Path) -> bool:
    """Commit all files in the name of whoever git is set up for; False where git refuses."""
    from ltood.core.errors import StoreError

    # No name is guessed, and nothing asks for the passphrase of a key.
    command = ("git", "-c", "user.useConfigOnly=true", "commit", "--quiet", "--no-gpg-sign")
    try:
        _run(folder, *command, "--message", "First settings")
    except StoreError:
        return False
    return True


def _run(folder: Path, *command: str) -> None:
    """Run a command in the new folder.

    Raises:
        StoreError: If it fails; with its last line.
    """
    import os
    import subprocess
    import sys

    from ltood.core.errors import StoreError

    # DVC would report its use before its settings say otherwise.
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        name = " ".join(part for part in command if part[0] != "-" and part != sys.executable)
        raise StoreError(f"`{name}` failed in {folder} ({said[-1]}); fix that and try again.")
