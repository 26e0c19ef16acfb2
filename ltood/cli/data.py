"""`ltood data`: known image sets: where they come from, and whether they are complete."""

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
    """List known datasets, how to obtain them, and which are installed."""
    from ltood.sets.catalogue import known_sets

    sets = known_sets().values()
    if as_json:
        typer.echo(json.dumps([_describe(known, root) for known in sets], indent=2))
        return
    wide = max(len(known.name) for known in sets) + 2
    for known in sets:
        mark = "there" if known.is_there(root) else ""
        typer.echo(f"{known.name:<{wide}}{known.origin:<10}{mark:<7}{known.title}")
    typer.echo(f"\n{len(sets)} sets; `ltood data info NAME` describes one.")


@app.command("info")
def info(name: Name, root: Root = _ROOT, as_json: AsJson = False) -> None:
    """Describe a set: content, licence, papers that use it, where its files belong."""
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
    """Download or make a set; a stopped download continues where it stopped."""
    from ltood.preparing.get_sets import get_set
    from ltood.sets.catalogue import known_set

    folder = get_set(known_set(name), root, keep=keep)
    typer.echo(f"{folder} is ready; `ltood data verify {name}` checks it.")


@app.command("verify")
def verify(name: Name, root: Root = _ROOT) -> None:
    """Check checksums, counts, and that every image decodes."""
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
        str, typer.Argument(help="ID dataset of image files, such as imagenet or folder.")
    ],
    out: Annotated[Path, file_option("CSV file to write")],
    shots: Annotated[
        list[int] | None, typer.Option(help="Images of each class; repeatable, 16 by default.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of a selection; repeatable, 1 to 3 by default.")
    ] = None,
    params: Annotated[Path, typer.Option(help="File with the settings of the dataset.")] = Path(
        "params.yaml"
    ),
    root: Annotated[
        str | None, typer.Option(help="Folder of the dataset, instead of the setting.")
    ] = None,
) -> None:
    """Draw few training images of each class, the same on every machine, and list them."""
    from ltood.preparing.shots import list_shots
    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import read_params, section

    # With a folder no settings are needed.
    content = {} if root and not params.exists() else read_params(params)
    given = {**section(content, "datasets", dataset), **({"root": root} if root else {})}
    table, num_classes = list_shots(dataset, given, shots or [16], seed or [1, 2, 3])
    write_atomically(out, table.encode())
    echo_for(out)(f"{out}: {table.count(chr(10)) - 1:,} lines for {num_classes:,} classes.")


def _describe(known: "KnownSet", root: Path) -> dict[str, Any]:
    """Facts about a set, as plain values."""
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
