"""`ltood visualise`: regions of pictures that show something else than their class."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Head, Store


class Style(enum.StrEnum):
    """How regions are drawn."""

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
        int, typer.Option(min=1, help="Rows to show, evenly spaced, where none is named.")
    ] = 12,
    topk: Annotated[
        str,
        typer.Option(
            help="A patch leaves its class out where K or more are likelier; auto is the K that "
            "the head was learned with, or a fifth of the classes."
        ),
    ] = "auto",
    label: Annotated[
        str | None, typer.Option(help="Class name or number to ask about; the row's own if none.")
    ] = None,
    view: Annotated[int, typer.Option(help="View of the split train_views.")] = 0,
    style: Annotated[Style, typer.Option(help="Hide what shows the class, or frame the rest.")] = (
        Style.HIDE
    ),
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("regions.png"),
) -> None:
    """Draw the patches that LoCoOp would take for irrelevant to the class."""
    from ltood.adapting.regions import (
        contact_sheet,
        find_regions,
        pictures,
        spaced_rows,
        spoken_classes,
        write_sheet,
    )
    from ltood.core.errors import ConfigError
    from ltood.images.prepared import open_prepared
    from ltood.runtime.console import log
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    opened = with_adapted_head(FeatureStore.open(store), head)
    if topk != "auto" and not topk.isdigit():
        raise ConfigError(f"topk is {topk!r}; give a whole number, 1 or more, or auto.")
    names = spoken_classes(opened)
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
    images = pictures(opened, open_prepared(prepared), split, rows, view=view)
    write_sheet(out, contact_sheet(images, found, names, style=style.value))
    share = 100 * found.irrelevant.mean()
    log(f"{out}: {len(rows)} rows of {split}, K = {found.topk}, {share:.0f} % of the patches.")


def _class_number(label: str, spoken: list[str], stored: list[str]) -> int:
    """The class that `label` names, as it is spoken or stored, or by its number."""
    from ltood.core.errors import ConfigError

    for names in (spoken, stored):
        if label in names:
            return names.index(label)
    if label.isdecimal():
        return int(label)
    raise ConfigError(f"the class {label!r} is none of {', '.join(spoken[:5])}, …")
