"""Draw the regions of an image that do not show its class.

LoCoOp (Miyai, Yu, Irie and Aizawa, NeurIPS 2023, arXiv:2306.01293) takes a patch for irrelevant
to the class where the class is not among its K likeliest. As in the official figure the relevant
patches are painted over in grey and the irrelevant ones stay visible; or the irrelevant ones are
framed. The patches come from the stored local features and the head, the images through the
same geometry as the features, so that both are aligned; no network is run.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.images.decoding import Geometry, decode
from ltood.images.prepared import PreparedData
from ltood.images.sources import images_digest
from ltood.images.views import RandomViews
from ltood.runtime.extras import require
from ltood.runtime.files import write_atomically
from ltood.runtime.provenance import recorded_of
from ltood.store.features import FeatureStore
from ltood.store.layout import VIEWS_SPLIT
from ltood.store.reading import required_head
from ltood.store.regions import RegionSheet

if TYPE_CHECKING:
    from PIL.Image import Image

#: What the relevant patches are painted with, as in the official figure.
GREY = (200, 200, 200)
_FRAME = (230, 30, 30)
#: Share of the classes that K is by default: 200 of ImageNet's 1,000.
_SHARE = 0.2
_CAPTION = 14
#: Images of the sheet in the report, and the width in pixels to which small ones are enlarged.
_SHOWN, _LEAST_WIDTH = 8, 112

Style = Literal["hide", "frame"]


@dataclass(frozen=True)
class Regions:
    """Patches of some rows of a split that do not show the class.

    Attributes:
        rows: Row numbers, [n] int64.
        labels: Class of each row, for which regions were found, [n] int64.
        irrelevant: Whether K classes or more are likelier than that class, [n, P] bool.
        grid: Rows and columns of patches; their product is P.
        topk: The K that was used.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    irrelevant: NDArray[np.bool_]
    grid: tuple[int, int]
    topk: int


def find_regions(
    store: FeatureStore,
    split: str,
    rows: Sequence[int],
    *,
    topk: int | None = None,
    label: int | None = None,
    view: int = 0,
) -> Regions:
    """Irrelevant patches of some rows.

    Args:
        store: Features with local ones, seen through the head to use.
        split: Name of the split.
        rows: Row numbers, at least one.
        topk: K, 1 or more; None takes the one that the head was learned with, and a fifth of the
            classes where it was learned without.
        label: Class whose regions are found; None takes the row's own, and without one the
            likeliest class of the whole image.
        view: Which view of a split of several.

    Raises:
        StoreError: If the store has no such split or no local features.
        ConfigError: If a row, K, the class or the view is out of range.
    """
    source = store.split(split)
    grid = _grid(store, split)
    if grid is None:
        raise StoreError(
            f"split {split} of {store.path} has no local features, which the regions come from; "
            "extract with backbone: clip and backbones.clip.local true."
        )
    head = required_head(store, "a search for irrelevant regions")
    weight = np.asarray(head["weight"], dtype=np.float32)
    classes = len(weight)
    if topk is None:
        used = recorded_of(store.provenance, "head", "in_use", "topk")
        chosen = max(1, round(_SHARE * classes)) if used is None else int(used)
    else:
        chosen = topk
    if chosen < 1:
        raise ConfigError(f"topk is {chosen}; set it to 1 or more (LoCoOp: 200 of 1,000 classes).")
    if label is not None and not 0 <= label < classes:
        raise ConfigError(f"there is no class {label}; classes are 0 to {classes - 1}.")
    labels, masks = [], []
    for row in rows:
        if not 0 <= row < len(source):
            raise ConfigError(f"split {split} has no row {row}; rows are 0 to {len(source) - 1}.")
        local = source.read("local", row, row + 1)[0].astype(np.float32)
        whole = source.read("features", row, row + 1)[0].astype(np.float32)
        if local.ndim == 3:
            if not 0 <= view < len(local):
                raise ConfigError(f"there is no view {view}; views are 0 to {len(local) - 1}.")
            local, whole = local[view], whole[view]
        elif view:
            raise ConfigError(
                f"rows of split {split} have one view, so there is no view {view}; leave it out."
            )
        own = int(source.read("labels", row, row + 1)[0]) if label is None else label
        own = own if own >= 0 else int((whole @ weight.T).argmax())
        logits = local @ weight.T
        greater = (logits > logits[:, own : own + 1]).sum(axis=1)
        labels.append(own)
        masks.append(greater >= chosen)
    return Regions(
        np.array(rows, dtype=np.int64),
        np.array(labels, dtype=np.int64),
        np.stack(masks),
        grid,
        chosen,
    )


def _grid(store: FeatureStore, split: str) -> tuple[int, int] | None:
    """Rows and columns of the patches that a split has features of; None where it has none."""
    grid = recorded_of(store.provenance, "preprocessing", "grid")
    if not grid or "local" not in store.split(split).spec.arrays:
        return None
    return int(grid[0]), int(grid[1])


def prompt_classes(store: FeatureStore) -> list[str]:
    """Class names as used in the prompts of the head; without prompts, those of the store."""
    return list(recorded_of(store.provenance, "head", "names") or store.class_names)


def spaced_rows(total: int, num: int) -> list[int]:
    """At most `num` row numbers, evenly spaced among `total`."""
    return [int(row) for row in np.unique(np.linspace(0, total - 1, min(num, total)).round())]


def original_images(
    store: FeatureStore, data: PreparedData, split: str, rows: Sequence[int], *, view: int = 0
) -> NDArray[np.uint8]:
    """Pixels that the features of some rows were made from, [n, H, W, 3].

    Raises:
        StoreError: If the store was made from other data.
        DataError: If an image cannot be read.
    """
    recorded = recorded_of(store.provenance, "preprocessing", "geometry")
    # Ids alone would not do: most data sets count their images from 0.
    made_from = recorded_of(store.provenance, "dataset", "sha256")
    if recorded is None or made_from != images_digest(data):
        raise StoreError(
            f"{store.path} was not made from the images in {data.path}; give the prepared data "
            "that it was extracted from."
        )
    source = data.source("train" if split == VIEWS_SPLIT else split)
    geometry = Geometry(
        tuple(recorded["size"]), recorded["mode"], recorded["resize"], recorded["interpolation"]
    )
    if split != VIEWS_SPLIT:
        return decode(source, rows, geometry)
    views = store.provenance["preprocessing"]["views"]
    ids = np.asarray(source.ids)
    made = RandomViews(views["num"], geometry.size[0], views["seed"], ids, geometry.interpolation)
    return np.stack([made.view(source.image(row), int(ids[row]), view) for row in rows])


def painted(
    pixels: NDArray[np.uint8],
    irrelevant: NDArray[np.bool_],
    grid: tuple[int, int],
    style: Style = "hide",
) -> NDArray[np.uint8]:
    """One image with its regions, [H, W, 3].

    Args:
        pixels: The image, [H, W, 3].
        irrelevant: Patches, row by row, [P].
        grid: Rows and columns of patches.
        style: "hide" paints over what is relevant; "frame" draws around what is not.
    """
    height, width, _ = pixels.shape
    if height % grid[0] or width % grid[1]:
        raise DataError(
            f"an image of {height} x {width} pixels does not split into {grid[0]} x {grid[1]} "
            "patches; the store and the image do not belong together."
        )
    mask = np.kron(
        irrelevant.reshape(grid), np.ones((height // grid[0], width // grid[1]), dtype=bool)
    )
    drawn = pixels.copy()
    if style == "hide":
        drawn[~mask] = GREY
        return drawn
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    drawn[mask & ~inner] = _FRAME
    return drawn


def contact_sheet(
    images: NDArray[np.uint8],
    regions: Regions,
    class_names: Sequence[str],
    *,
    style: Style = "hide",
    columns: int = 4,
) -> "Image":
    """Images and their regions side by side, with row, class and share of irrelevant patches.

    Args:
        images: [n, H, W, 3].
        regions: Of the same rows.
        class_names: Names of the classes.
        style: As `painted` takes it.
        columns: Pairs in one line.
    """
    require("PIL", "drawing regions")
    from PIL import Image, ImageDraw

    num, height, width, _ = images.shape
    columns = min(columns, num)
    cell = (2 * width + 6, height + _CAPTION + 6)
    sheet = Image.new("RGB", (columns * cell[0], math.ceil(num / columns) * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number in range(num):
        left, top = number % columns * cell[0], number // columns * cell[1]
        mask = regions.irrelevant[number]
        share = f"{100 * mask.mean():.0f} %"
        name = class_names[regions.labels[number]]
        caption = f"{regions.rows[number]}: {name}, {share}"
        draw.text((left + 2, top + 1), caption[: max(8, 2 * width // 6)], fill="black")
        sheet.paste(Image.fromarray(images[number]), (left, top + _CAPTION))
        drawn = painted(images[number], mask, regions.grid, style)
        sheet.paste(Image.fromarray(drawn), (left + width + 2, top + _CAPTION))
    return sheet


def region_sheet(store: FeatureStore, data: PreparedData) -> RegionSheet | str:
    """Test images with their regions, for the report, or the reason why there are none.

    Args:
        store: Features, seen through the head to use.
        data: Prepared images that they were made from.

    Returns:
        At most eight images, evenly spaced over the split, with the K of `find_regions`.

    Raises:
        StoreError: If the store was made from other images.
        DataError: If an image cannot be read.
    """
    head = store.provenance.get("head")
    if head is None or recorded_of(head, "text") is False:
        return (
            "The head does not come from text, so patches have no class names to be compared with."
        )
    if _grid(store, "test") is None:
        return "The store holds no features of patches."
    rows = spaced_rows(len(store.split("test")), _SHOWN)
    found = find_regions(store, "test", rows)
    images = original_images(store, data, "test", rows)
    times = math.ceil(_LEAST_WIDTH / images.shape[2])
    images = images.repeat(times, axis=1).repeat(times, axis=2)
    names = prompt_classes(store)
    return RegionSheet(
        features_fingerprint=store.fingerprint,
        split="test",
        rows=tuple(rows),
        class_names=tuple(names[label] for label in found.labels),
        shares=tuple(round(float(mask.mean()), 4) for mask in found.irrelevant),
        topk=found.topk,
        num_classes=len(names),
        png=_png(contact_sheet(images, found, names)),
    )


def write_sheet(path: Path, sheet: "Image") -> None:
    """Write a PNG file in one rename.

    Raises:
        StoreError: If it cannot be written.
    """
    write_atomically(path, _png(sheet))


def _png(sheet: "Image") -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
