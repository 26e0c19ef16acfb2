"""`ltood data`: known image sets, where they come from, and whether they are whole."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltood.cli.options import AsJson, echo_for, file_option

if TYPE_CHECKING:
    from ltood.sets.catalogue import KnownSet


def _names(incomplete: str) -> list[str]:
    from ltood.sets.catalogue import known_sets

    return [name for name in known_sets() if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(help="Known set; see `ltood data list`.", autocompletion=_names)
]
Root = Annotated[Path, typer.Option(help="Folder that holds one folder for each set.")]

_ROOT = Path("data/sets")


app = typer.Typer(help="Get known image sets and check them.", no_args_is_help=True)


@app.command("list")
def list_sets(root: Root = _ROOT, as_json: AsJson = False) -> None:
    """List the known sets, how each is had, and which are there."""
    from ltood.sets.catalogue import known_sets

    sets = known_sets().values()
    if as_json:
        typer.echo(json.dumps([_describe(known, root) for known in sets], indent=2))
        return
    for known in sets:
        mark = "there" if known.is_there(root) else ""
        typer.echo(f"{known.name:<17}{known.origin:<10}{mark:<7}{known.title}")
    typer.echo(f"\n{len(sets)} sets; `ltood data info NAME` tells more.")


@app.command("info")
def info(name: Name, root: Root = _ROOT, as_json: AsJson = False) -> None:
    """Tell what a set holds, who uses it how, and where it belongs."""
    from ltood.preparing.verify_sets import how_to_get
    from ltood.sets.catalogue import known_set

    known = known_set(name)
    if as_json:
        typer.echo(json.dumps(_describe(known, root), indent=2))
        return
    folder = root / known.folder
    lines = [("title", known.title), ("content", known.content), ("licence", known.licence)]
    lines += [("page", known.page)]
    lines += [("used by", paper) for paper in known.papers]
    lines += [
        ("from", f"{offer.source.address} {offer.source.checksum or '(no published checksum)'}")
        for offer in known.files
    ]
    lines += [("layout", f"{folder}/{path}") for path in known.layout]
    lines += [("setting", part.source(folder)) for part in known.parts if part.form == "images"]
    lines += [("get it", how_to_get(known, folder))]
    for key, text in lines:
        typer.echo(f"{key:<9}{text}")


@app.command("download")
def download(
    name: Name,
    root: Root = _ROOT,
    keep: Annotated[bool, typer.Option("--keep", help="Keep archives once unpacked.")] = False,
) -> None:
    """Download or make a set; a run that was stopped goes on where it was."""
    from ltood.core.errors import DataError
    from ltood.preparing.verify_sets import how_to_get
    from ltood.sets.catalogue import known_set
    from ltood.sets.downloads import fetch, unpack

    known = known_set(name)
    folder = root / known.folder
    if known.origin == "by hand":
        raise DataError(
            f"{name} is not offered for download without asking: {how_to_get(known, folder)}"
        )
    if known.made_by:
        from ltood.sets.synthetic import make

        make(known.made_by, folder)
    for offer in known.files:
        if not offer.unpack:
            fetch(offer.source, folder)
        elif not folder.is_dir() or not any(folder.iterdir()):
            archive = fetch(offer.source, root)
            if folder.is_dir():
                folder.rmdir()  # Empty: somebody made it as a place to put things.
            unpack(archive, folder)
            if not keep:
                archive.unlink()
    if not known.is_there(root):
        archives = ", ".join(str(root / offer.source.file) for offer in known.files)
        raise DataError(
            f"{folder} holds {', '.join(sorted(path.name for path in folder.iterdir())[:3])} but "
            f"no {known.parts[0].path}: move that away and run the same command again. An archive "
            f"that was fetched by hand belongs at {archives}."
        )
    typer.echo(f"{folder} is there; `ltood data verify {name}` checks it.")


@app.command("verify")
def verify(name: Name, root: Root = _ROOT) -> None:
    """Check checksums, counts, and that every picture decodes."""
    from ltood.core.errors import DataError
    from ltood.preparing.verify_sets import verify
    from ltood.sets.catalogue import known_set

    known, faults = known_set(name), []
    for finding in verify(known, root / known.folder):
        state = "FAULT" if finding.fault else "ok"
        typer.echo(f"{finding.what:<52}{finding.check:<10}{state:<7}{finding.result}")
        if finding.fault:
            faults.append(finding.fault)
    if faults:
        more = f" {len(faults) - 1} more checks failed." if len(faults) > 1 else ""
        raise DataError(f"{name}: {faults[0]}{more}")


@app.command("few-shot")
def few_shot(
    dataset: Annotated[
        str, typer.Argument(help="ID dataset of pictures, such as imagenet or folder.")
    ],
    out: Annotated[Path, file_option("CSV file to write.")],
    shots: Annotated[
        list[int] | None, typer.Option(help="Pictures of each class; repeatable, 16 if none.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of a selection; repeatable, 1 to 3 if none.")
    ] = None,
    params: Annotated[Path, typer.Option(help="Where the dataset's settings stand.")] = Path(
        "params.yaml"
    ),
    root: Annotated[
        str | None, typer.Option(help="Folder of the dataset, in the place of the setting.")
    ] = None,
) -> None:
    """Draw few training pictures of each class, the same on every machine, and list them."""
    import dataclasses

    from ltood.core.errors import DataError
    from ltood.core.registry import load
    from ltood.core.settings import parse
    from ltood.datasets import ImageFolderConfig
    from ltood.images.fewshot import split_table
    from ltood.images.files import ImageFiles
    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import read_params

    module = load("datasets", dataset)
    # Without settings a folder is enough.
    sections = {} if root and not params.is_file() else read_params(params).get("datasets") or {}
    section = {**(sections.get(dataset) or {}), **({"root": root} if root else {})}
    config = parse(section, module.Config, f"datasets.{dataset}")
    if not isinstance(config, ImageFolderConfig):
        raise DataError(
            f"dataset {dataset} is no set of picture files; its shots need no list, set "
            "recipes.locoop.shots, by which they are drawn."
        )
    # Drawn from all pictures, whatever was cut before.
    whole = dataclasses.replace(
        config, size=None, imbalance="none", shots=None, shots_list=None, ood=(), aux=None
    )
    source = module.Dataset(whole)
    files, names = source.split("train"), source.class_names
    assert isinstance(files, ImageFiles)
    numbers, seeds = shots or [16], seed or [1, 2, 3]
    table = split_table(files.labels, files.paths, names, files.ids, shots=numbers, seeds=seeds)
    write_atomically(out, table.encode())
    echo_for(out)(f"{out}: {table.count(chr(10)) - 1:,} lines for {len(names):,} classes.")


def _describe(known: "KnownSet", root: Path) -> dict[str, Any]:
    """All that is known of a set, as plain values."""
    folder = root / known.folder
    return {
        "name": known.name,
        "title": known.title,
        "content": known.content,
        "licence": known.licence,
        "page": known.page,
        "papers": list(known.papers),
        "origin": known.origin,
        "folder": str(folder),
        "is_there": known.is_there(root),
        "layout": list(known.layout),
        "files": [
            {
                "file": offer.source.file,
                "address": offer.source.address,
                "checksum": offer.source.checksum,
                "unpack": offer.unpack,
            }
            for offer in known.files
        ],
        "parts": [
            {"source": part.source(folder), "form": part.form, "rows": part.rows}
            for part in known.parts
        ],
    }
