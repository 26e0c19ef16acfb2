"""Run the table cifar10-openood on a reduced copy of its data, laid out as OpenOOD's archives.

    python benchmarks/reduced_openood.py --packs PACKS --train cifar10_train.npz --out FOLDER

makes a repository FOLDER whose data/sets/openood has lists and images in OpenOOD's layout, of the
images in PACKS, and runs the table there. The rows of the DenseNet of DICE are run as they are
shipped; those of OpenOOD's networks, and the needs, whose counts and digests are those of the whole
data, are left out. Stand-ins: resized ImageNet images for TinyImageNet, tiles of Brodatz textures
for Textures; the corrupted images are made here.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ltood.runtime.params import read_params
from ltood.tables.spec import known_tables

Images = NDArray[np.uint8]
TABLE = "cifar10-openood"
SETS = Path("data/sets/openood")
LISTS = SETS / "benchmark_imglist" / "cifar10"
IMAGES = SETS / "images_classic"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAIN, VAL, TEST = 200, 20, 200  # of each class
SHIFTED = 800
#: Sets of the table: the pack that stands for each, and how many rows are taken.
OOD = {
    "cifar100": ("cifar100_partial", "test_images", 800),
    "tin": ("ood32_imagenet1k_resize", "images", 800),
    "mnist": ("ood_mnist_test1k_28", "images", 800),
    "svhn": ("ood32_svhn_crops", "images", 800),
    "texture": ("ood32_brodatz_tiles", "images", 800),
    "places365": ("ood32_places", "images", 800),
}


def main() -> None:
    """Lay out the data, write the table, run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packs", type=Path, required=True, help="folder of the .npz packs")
    parser.add_argument("--train", type=Path, required=True, help="CIFAR-10's training images")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    given = parser.parse_args()
    ltood("new", given.out)
    lay_out(given.packs, given.train, given.out)
    weights = given.out / "data" / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    shutil.copy(given.packs / "densenet_bc100_cifar10.pth", weights)
    (given.out / "tables").mkdir(exist_ok=True)
    text = json.dumps(reduced(known_tables()[TABLE]), indent=2)  # which is YAML, too
    (given.out / "tables" / f"{TABLE}.yaml").write_text(text)
    commit(given.out)
    ltood("table", "run", TABLE, cwd=given.out)


def reduced(path: Path) -> dict[str, Any]:
    """The shipped table without what needs the whole data or OpenOOD's networks."""
    table = dict(read_params(path))
    table["rows"] = [row for row in table["rows"] if row["name"].startswith("DenseNet")]
    names = {row["name"] for row in table["rows"]}
    table["published"] = [row for row in table["published"] if row.get("row") in names]
    del table["needs"]
    return table


def lay_out(packs: Path, train: Path, out: Path) -> None:
    """Images and lists of every split."""
    (out / LISTS).mkdir(parents=True)
    whole = np.load(train)
    rows = np.concatenate([np.flatnonzero(whole["labels"] == c)[:TRAIN] for c in range(10)])
    write(out, "train_cifar10", "cifar10/train", whole["images"][rows], whole["labels"][rows])
    test = np.load(packs / "cifar10_test.npz")
    images, labels = test["images"], test["labels"]
    by_class = [np.flatnonzero(labels == c) for c in range(10)]
    val = np.sort(np.concatenate([found[:VAL] for found in by_class]))
    kept = np.sort(np.concatenate([found[VAL : VAL + TEST] for found in by_class]))
    for name, rows in (("val_cifar10", val), ("test_cifar10", kept)):
        write(out, name, "cifar10/test", images[rows], labels[rows], rows)
    chosen = kept[:SHIFTED]
    write(out, "test_cifar10c", "cifar10c", corrupted(images[chosen]), labels[chosen])
    for name, (pack, key, num) in OOD.items():
        found = np.load(packs / f"{pack}.npz")[key]
        write(out, f"test_{name}", name, found[:num])
        if name == "tin":
            write(out, "val_tin", "tin/val", found[num:])


def write(
    out: Path,
    name: str,
    folder: str,
    images: Images,
    labels: NDArray[np.integer] | None = None,
    numbers: NDArray[np.integer] | None = None,
) -> None:
    """Images as PNG files and the list that names them; outliers have the class -1."""
    numbers = np.arange(len(images)) if numbers is None else numbers
    lines = []
    for row, (image, number) in enumerate(zip(images, numbers, strict=True)):
        label = -1 if labels is None else int(labels[row])
        where = folder if label < 0 else f"{folder}/{CLASSES[label]}"
        path = Path(where) / f"{number:05d}.png"
        (out / IMAGES / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(out / IMAGES / path)
        lines.append(f"{path} {label}")
    (out / LISTS / f"{name}.txt").write_text("\n".join(lines) + "\n")


def corrupted(images: Images) -> Images:
    """Noise, blur, loss of contrast and JPEG-like blocks, a quarter of the images each."""
    return np.stack(list(_corrupted(images)))


def _corrupted(images: Images) -> Iterator[Images]:
    rng = np.random.default_rng(0)
    for row, image in enumerate(images):
        if row % 4 == 0:
            values = image + rng.normal(0, 20, image.shape)
        elif row % 4 == 1:
            values = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.0)))
        elif row % 4 == 2:
            values = image.mean() + 0.4 * (image - image.mean())
        else:
            small = Image.fromarray(image).resize((16, 16))
            values = np.asarray(small.resize((32, 32), Image.Resampling.NEAREST))
        yield np.clip(values, 0, 255).astype(np.uint8)


def commit(folder: Path) -> None:
    """Commit everything, as tables need it."""
    author = ("-c", "user.name=ltood", "-c", "user.email=ltood@example.org")
    for arguments in (("add", "-A"), (*author, "commit", "-qm", "data and table")):
        subprocess.run(["git", *arguments], check=True, cwd=folder)


def ltood(*arguments: object, cwd: Path | None = None) -> None:
    """Run a command of ltood."""
    command = [str(Path(sys.executable).with_name("ltood")), *map(str, arguments)]
    subprocess.run(command, check=True, cwd=cwd)


if __name__ == "__main__":
    main()
