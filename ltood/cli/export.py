"""`ltood export`: stores as NumPy archives, Parquet, or a folder for FiftyOne."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.options import store_option
from ltood.core.words import counted

if TYPE_CHECKING:
    from ltood.exports.paths import Paths, PreparedPaths

#: Share of ID rows that a threshold accepts where neither it nor the share is given.
_TPR = 0.95


class Format(enum.StrEnum):
    """Format of the output."""

    NPZ = "npz"
    PARQUET = "parquet"
    FIFTYONE = "fiftyone"


def export(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE...", help="Score stores and at most one feature store."),
    ],
    out: Annotated[Path, store_option("The .npz or .parquet file, or folder, to write.")],
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to write, or `head`; repeatable. All by default, but for .npz."),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Taken from the ending of --out by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Largest score that counts as ID, for the verdict.")
    ] = None,
    tpr: Annotated[
        float | None,
        typer.Option(help="Share of ID rows to accept if no threshold is given, 0.95 by default."),
    ] = None,
    threshold_split: Annotated[
        str | None, typer.Option(help="ID split that sets the threshold; val by default.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Prepared data, for the paths of the images.")
    ] = None,
    paths: Annotated[
        Path | None, typer.Option(help="Folder with <split>.txt: one path per row.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing FiftyOne folder.")] = False,
) -> None:
    """Write scores, verdicts, features and paths for other tools."""
    chosen = form or _by_ending(out)
    if chosen is Format.NPZ:
        without_effect = {
            "--threshold": threshold is not None,
            "--tpr": tpr is not None,
            "--threshold-split": threshold_split is not None,
            "--images": images is not None,
            "--paths": paths is not None,
            "--overwrite": overwrite,
        }
        _refuse([option for option, given in without_effect.items() if given])
        _export_archive(stores, split or [], out)
        return
    from ltood.exports.fiftyone import write_fiftyone
    from ltood.exports.parquet import write_parquet
    from ltood.exports.rows import RowTable
    from ltood.exports.thresholds import set_thresholds

    prepared, where = _images(images, paths)
    table = RowTable(stores, split or (), where)
    share = _TPR if tpr is None else tpr
    set_thresholds(table, threshold=threshold, tpr=share, split=threshold_split)
    if chosen is Format.PARQUET:
        columns = write_parquet(table, out)
        typer.echo(f"{out}: {counted(table.num_rows, 'row')}, {', '.join(columns)}")
    else:
        rows = write_fiftyone(table, out, prepared, overwrite=overwrite)
        typer.echo(f"{out}: {counted(rows, 'image')} of {', '.join(table.splits)}")


def _images(
    images: Path | None, paths: Path | None
) -> tuple["PreparedPaths | None", "Paths | None"]:
    """Prepared data, and what names the image files."""
    from ltood.core.errors import ConfigError
    from ltood.exports.paths import ListedPaths, PreparedPaths

    if images is not None and paths is not None:
        raise ConfigError("--images and --paths both name the images; give one of them.")
    if paths is not None:
        return None, ListedPaths(paths)
    prepared = None if images is None else PreparedPaths(images)
    return prepared, prepared


def _by_ending(out: Path) -> Format:
    from ltood.core.errors import ConfigError

    try:
        return {".npz": Format.NPZ, ".parquet": Format.PARQUET}[out.suffix]
    except KeyError:
        raise ConfigError(
            f"--out {out} does not say which format to write; end it in .npz or .parquet, or give "
            f"--format ({', '.join(Format)})."
        ) from None


def _refuse(options: list[str]) -> None:
    """Refuse options that an archive, which holds stored rows as they are, does not heed."""
    from ltood.core.errors import ConfigError

    if options:
        raise ConfigError(
            f"{', '.join(options)} has no effect on an .npz archive, which holds the rows of one "
            "split without verdicts or paths; leave it out, or write a .parquet file."
        )


def _export_archive(stores: list[Path], splits: list[str], out: Path) -> None:
    from ltood.core.errors import ConfigError
    from ltood.store.exchange import export_head, export_split

    if len(stores) != 1 or len(splits) != 1:
        raise ConfigError(
            f"an archive holds one --split of one store, and here are {len(stores)} stores and "
            f"{len(splits)} times --split; name one of each, or write a .parquet file."
        )
    (store,), (split,) = stores, splits
    names = export_head(store, out) if split == "head" else export_split(store, split, out)
    typer.echo(f"{out}: {', '.join(names)}")
