"""Outliers, test sets and auxiliary ones alike, in the forms in which they are published.

A source is a path, and where it leads decides how it is read:

    archive.npz           `images`, and `id_labels` where some show an ID class
    images.npy            uint8 [N, H, W, 3], such as the 300K random images of TinyImages
    test_32x32.mat        SVHN's cropped digits
    t10k-images-idx3-ubyte.gz    MNIST and its like, packed or not
    test_batch.bin        test images of CIFAR-10, test.bin those of CIFAR-100
    list.txt              pictures by OpenOOD's or SC-OOD's lists; list.txt@FOLDER
    folder                all pictures below it, or the one file of a form above in it

A bare name such as `svhn` is what `ltood data download` puts at data/sets/svhn. `#30000` after
a source takes its first 30,000 rows. Images of another size are squashed to that of the ID
images, bilinearly, as the SC-OOD benchmark does; of grey or colour the ID images decide. Labels
of the sources' own classes are dropped, for they would pass for ID classes.
"""

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.core.registry import load as load_entry
from ltood.images.archives import read_archive
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import Geometry, decode, load
from ltood.images.files import ImageFiles, OnError
from ltood.images.lists import images_below, read_list
from ltood.runtime.console import log
from ltood.sets.catalogue import SETS, known_sets

_FIRST_MARK = "#"
#: The name of a known set, and how many rows are taken.
_BARE = re.compile(r"\w+(#\d+)?")
#: Test files of the two CIFAR sets, which are OOD sets of one another.
_CIFAR = {"test_batch.bin": "cifar10", "test.bin": "cifar100"}
_IDX_IMAGES = 0x00000803
#: Weights of red, green and blue in the luma of ITU-R BT.601, as Pillow's mode L takes them.
_LUMA = np.array([299, 587, 114]) / 1000
_BLOCK = 4096


def outlier_sources(outliers: Sequence[str], aux: str | None, section: str) -> dict[str, str]:
    """Sources of the OOD sets and of the auxiliary outliers, by split name.

    Args:
        outliers: Items such as "svhn=data/svhn.npz", or bare names of known sets.
        aux: Source of auxiliary outliers, or None.
        section: The entry's section, such as "datasets.cifar10".

    Raises:
        ConfigError: If an item has no name or no source, a name comes twice, or aux is empty.
    """
    sources: dict[str, str] = {}
    if aux is not None:
        if not aux:
            raise ConfigError(f"{section}.aux is empty; name a file or folder, or set it to null.")
        sources["aux"] = aux
    for item in outliers:
        name, _, source = item.partition("=")
        if _BARE.fullmatch(item):
            name, source = item.partition(_FIRST_MARK)[0], item
        if not name or not source:
            raise ConfigError(
                f"{section}.ood holds {item!r}; each item is a name and where its images are, such "
                "as svhn=data/svhn.npz, or the name of a known set (`ltood data list`)."
            )
        if f"ood_{name}" in sources:
            raise ConfigError(f"{section}.ood names {name!r} twice; give each set its own name.")
        sources[f"ood_{name}"] = source
    return sources


def open_outliers(
    sources: Mapping[str, str],
    name: str,
    shape: tuple[int, int, int] | None,
    *,
    on_error: OnError = "raise",
) -> ImageSplit | ImageFiles:
    """Outliers of the split `name`.

    Args:
        sources: As `outlier_sources` gives them.
        name: Name of the split.
        shape: Height, width and channels of the ID images; None leaves pictures on disk.
        on_error: What is done about unreadable pictures.

    Returns:
        Their images, with labels of -1 but where a row shows an ID class.

    Raises:
        DataError: If the source is missing, unreadable or breaks a rule.
    """
    text, _, first = sources[name].rpartition(_FIRST_MARK)
    if not text or Path(sources[name]).exists():
        text, first = sources[name], ""  # The mark may be part of a folder's name.
    source = _read(_resolved(text, name), on_error)
    if first:
        if not first.isdigit() or not int(first):
            raise DataError(
                f"{name} is {sources[name]!r}; after {_FIRST_MARK} stands how many of its rows are "
                "taken, such as #30000."
            )
        source = source.take(np.arange(min(int(first), len(source))))
    moved = int((source.labels >= 0).sum())
    if moved:
        log(f"{name}: {moved} of {len(source)} images show an ID class and count as ID.")
    return source if shape is None else fitted(source, shape, name)


def fitted(source: ImageSplit | ImageFiles, shape: tuple[int, int, int], name: str) -> ImageSplit:
    """Images brought to the height, width and channels of others.

    Args:
        source: Images in memory or on disk.
        shape: Height, width and channels.
        name: What messages call it.
    """
    height, width, channels = shape
    geometry = Geometry((height, width))
    if isinstance(source, ImageFiles):
        colour = load(source, geometry)
    elif source.images.shape[1:] == shape:
        return source
    else:
        found = list(source.images.shape[1:])
        log(f"{name}: images of {found} are brought to {list(shape)}.")
        if source.images.shape[1:3] == shape[:2] and found[2] == 1:
            colour = ImageSplit(np.repeat(source.images, 3, axis=3), source.labels, source.ids)
        elif source.images.shape[1:3] == shape[:2]:
            colour = source
        else:
            blocks = [
                decode(source, range(start, min(start + _BLOCK, len(source))), geometry)
                for start in range(0, len(source), _BLOCK)
            ]
            colour = ImageSplit(np.concatenate(blocks), source.labels, source.ids)
    if channels == 3:
        return colour
    grey = (colour.images @ _LUMA).round().astype(np.uint8)
    return ImageSplit(grey[..., None], colour.labels, colour.ids)


def _resolved(text: str, name: str) -> str:
    """Where a source lies, a bare name looked up among the known sets."""
    path = Path(text.partition("@")[0])
    if path.exists():
        return text
    known = SETS / text
    if "/" not in text and not path.suffix and known.exists():
        return _readable(known, name)
    where = f"{path} or {known}" if "/" not in text and not path.suffix else str(path)
    raise DataError(
        f"the images of {name} are not at {where}; put them there (`ltood data info` tells where "
        "known sets come from) or correct the path."
    )


def _readable(folder: Path, name: str) -> str:
    """What is read of the folder of a known set."""
    parts = known_sets()[folder.name].parts if folder.name in known_sets() else ()
    found = [part for part in parts if (folder / part.path).exists()]
    if not found:
        return str(folder)
    if len(found) > 1:
        raise DataError(
            f"{name} names {folder.name}, which has {len(found)} parts; name one of them, such as "
            f"{found[0].source(folder)}."
        )
    if found[0].form == "records":
        for file in _CIFAR:
            if (folder / found[0].path / file).is_file():
                return str(folder / found[0].path / file)
    return found[0].source(folder)


def _read(where: str, on_error: OnError) -> ImageSplit | ImageFiles:
    path = Path(where.partition("@")[0])
    if path.is_dir():
        single = [found for found in sorted(path.iterdir()) if _is_form(found)]
        tests = [found for found in single if found.name.startswith(("test", "t10k"))]
        chosen = tests or single
        if len(chosen) == 1:
            return _read(str(chosen[0]), on_error)
        paths = images_below(path)
        rows = np.arange(len(paths))
        return ImageFiles(path, paths, np.full(len(paths), -1), rows, on_error=on_error)
    if path.suffix == ".npz":
        return read_archive(path, outliers=True)
    if path.suffix == ".npy":
        return _outside(_array(path))
    if path.suffix == ".mat":
        return _outside(_svhn(path))
    if "idx3-ubyte" in path.name:
        return _outside(_idx(path))
    if path.name in _CIFAR:
        files = load_entry("datasets", _CIFAR[path.name]).FILES
        return _outside(files.read(path.parent, "test").images)
    if path.suffix == ".txt":
        return read_list(where, on_error=on_error)
    raise DataError(
        f"{path} is no form of images that is known; give an .npz or .npy archive, SVHN's .mat, "
        "an idx3-ubyte file, CIFAR's test file, a list .txt, or a folder of pictures."
    )


def _is_form(path: Path) -> bool:
    return path.suffix in (".npz", ".npy", ".mat") or "images-idx3-ubyte" in path.name


def _outside(images: NDArray[np.uint8]) -> ImageSplit:
    """Images that all lie outside the ID classes."""
    return ImageSplit(images, np.full(len(images), -1), np.arange(len(images)))


def _array(path: Path) -> NDArray[np.uint8]:
    """Images of an .npy file, mapped into memory."""
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is no readable .npy array ({' '.join(str(error).split())[:100]}); take an "
            "undamaged file."
        ) from error
    return images[..., None] if images.ndim == 3 else images


def _svhn(path: Path) -> NDArray[np.uint8]:
    """Digits of SVHN's cropped form, [N, 32, 32, 3]."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        stacked = loadmat(path, variable_names=["X"])["X"]
    except (OSError, ValueError, KeyError, NotImplementedError, MatReadError, zlib.error) as error:
        raise DataError(
            f"{path} is no SVHN file of cropped digits ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:80]}); take train_32x32.mat or test_32x32.mat."
        ) from error
    if stacked.ndim != 4:
        raise DataError(
            f"{path} holds X of shape {list(stacked.shape)}; cropped digits are [32, 32, 3, N]."
        )
    return np.ascontiguousarray(stacked.transpose(3, 0, 1, 2))


def _idx(path: Path) -> NDArray[np.uint8]:
    """Images of MNIST's form, [N, H, W, 1]."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())[:100]}); take an undamaged file."
        ) from error
    head = np.frombuffer(content[: min(len(content), 16) // 4 * 4], dtype=">u4")
    if len(head) < 4 or head[0] != _IDX_IMAGES:
        raise DataError(f"{path} is no idx3-ubyte file of images; take train- or t10k-images.")
    num, height, width = (int(value) for value in head[1:])
    if len(content) - 16 != num * height * width:
        raise DataError(
            f"{path} holds {len(content) - 16} pixels but says {num} images of {height} x {width}; "
            "it was cut short, so fetch it again."
        )
    pixels = np.frombuffer(content, dtype=np.uint8, offset=16)
    return pixels.reshape(num, height, width, 1)
