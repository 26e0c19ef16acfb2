"""`ltood visualise`: image regions that do not show the class."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Head, Store, file_option, open_features


class Style(enum.StrEnum):
    """Style of the drawn regions."""

    HIDE = "hide"
    FRAME = "frame"


def visualise(
    store: Store = Path("data/work/features.zarr"),
    prepared: Annotated[
        Path, typer.Option(help="Prepared data that the features were made from.")
    ] = Path("data/work/prepared"),
    head: Head = None,
    split: Annotated[str, typer.Option(help="Split to show.")] = "test",
    row: Annotated[list[int] | None, typer.Option(help="Row to show; repeatable.")] = None,
    num: Annotated[
        int, typer.Option(min=1, help="Number of evenly spaced rows to show if no --row is given.")
    ] = 12,
    topk: Annotated[
        str,
        typer.Option(
            help="A patch is irrelevant if its class is not among its K most likely ones; auto is "
            "the K that the head was learned with, or a fifth of the classes."
        ),
    ] = "auto",
    label: Annotated[
        str | None, typer.Option(help="Class name or number to look for; the row's own by default.")
    ] = None,
    view: Annotated[int, typer.Option(help="View of the split train_views.")] = 0,
    style: Annotated[
        Style, typer.Option(help="Hide the patches that show the class, or frame the others.")
    ] = (Style.HIDE),
    out: Annotated[Path, file_option("PNG file to write")] = Path("regions.png"),
) -> None:
    """Draw the patches of images that LoCoOp treats as irrelevant to the class."""
    from ltood.adapting.regions import (
        contact_sheet,
        find_regions,
        original_images,
        prompt_classes,
        spaced_rows,
        write_sheet,
    )
    from ltood.core.errors import ConfigError
    from ltood.images.prepared import open_prepared
    from ltood.runtime.console import log

    if topk != "auto" and not (topk.isdecimal() and topk.isascii() and len(topk) < 10):
        raise ConfigError(f"--topk is {topk!r}; give a whole number, 1 or more, or auto.")
    opened = open_features(store, head)
    names = prompt_classes(opened)
    number = None if label is None else _class_number(label, names, opened.class_names)
    rows = row or spaced_rows(len(opened.split(split)), num)
    found = find_regions(
        opened,
        split,
        rows,
        topk=None if topk == "auto" else int(topk),
        label=number,
        view=view,
    )
    images = original_images(opened, open_prepared(prepared), split, rows, view=view)
    write_sheet(out, contact_sheet(images, found, names, style=style.value))
    share = 100 * found.irrelevant.mean()
    log(f"{out}: {len(rows)} rows of {split}, K = {found.topk}, {share:.0f} % of the patches.")


def _class_number(label: str, spoken: list[str], stored: list[str]) -> int:
    """The class that `label` names, as it is spoken or stored, or by its number."""
    from ltood.core.errors import ConfigError

    for names in (spoken, stored):
        if label in names:
            return names.index(label)
    if label.isdecimal() and len(label) < 10 and int(label) < len(spoken):
        return int(label)
    raise ConfigError(
        f"--label is {label!r}; give one of {', '.join(spoken[:5])}, … or a number below "
        f"{len(spoken)}."
    )
