"""Outliers, test sets and auxiliary ones alike, in the forms in which they are published.

A source is a path, and where it leads decides how it is read:

    archive.npz           `images`, and `id_labels` where some show an ID class
    images.npy            uint8 [N, H, W, 3], such as the 300K random images of TinyImages
    test_32x32.mat        SVHN's cropped digits
    t10k-images-idx3-ubyte.gz    MNIST and its like, packed or not
    test_batch.bin        test images of CIFAR-10, test.bin those of CIFAR-100
    list.txt              image files by OpenOOD's or SC-OOD's lists; list.txt@FOLDER
    folder                all images below it, or the one file of a form above in it

A bare name such as `svhn` is what `ltood data download` puts at data/sets/svhn. `#30000` after
a source takes its first 30,000 rows. Images of another size are brought to that of the ID
images, bilinearly: squashed, as the SC-OOD benchmark does, unless the ID images are cropped. Of
grey or colour the ID images decide. Labels of the sources' own classes are dropped, for they
would pass for ID classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.datasets._cifar_files import CIFAR10, CIFAR100
from ltood.images.archives import read_archive
from ltood.images.arrays import ImageSplit
from ltood.images.checking import load
from ltood.images.decoding import Geometry, Mode, decode
from ltood.images.files import ImageFiles, OnError
from ltood.images.folders import images_below
from ltood.images.lists import read_list
from ltood.images.published import read_idx, read_npy, read_svhn
from ltood.images.sources import WatchedFiles
from ltood.runtime.console import log
from ltood.runtime.workspace import locate
from ltood.sets.catalogue import SETS, known_sets
from ltood.store.layout import CSID_PREFIX, OOD_PREFIX, VAL_OOD_PREFIX, may_name_split

#: Separates a list from the folder that its paths start from.
_ROOT_MARK = "@"
_FIRST_MARK = "#"
#: The name of a known set, and how many rows are taken.
_BARE = re.compile(r"\w+(#\d+)?")
#: Test files of the two CIFAR sets, which are OOD sets of one another.
_CIFAR = {files.test: files for files in (CIFAR10, CIFAR100)}
#: Weights of red, green and blue in the luma of ITU-R BT.601, as Pillow's mode L takes them.
_LUMA = np.array([299, 587, 114]) / 1000
_BLOCK = 4096


class _Place(NamedTuple):
    """Location of a source.

    Attributes:
        path: A file of a known form, or a folder of images.
        root: Folder that the paths of a list start from; None looks for it.
    """

    path: Path
    root: Path | None = None


class OutlierSettings(Protocol):
    """Settings of a dataset that say where images from elsewhere are."""

    section: ClassVar[str]

    @property
    def ood(self) -> tuple[str, ...]:
        """OOD test sets."""

    @property
    def csid(self) -> tuple[str, ...]:
        """Sets of ID classes under covariate shift."""

    @property
    def val_ood(self) -> tuple[str, ...]:
        """Outliers to tune on."""

    @property
    def aux(self) -> str | None:
        """Auxiliary outliers to train with."""


def outlier_sources(settings: OutlierSettings) -> dict[str, str]:
    """Sources of all images from elsewhere, by split name.

    Args:
        settings: Items such as "svhn=data/svhn.npz", or bare names of known sets.

    Raises:
        ConfigError: If an item has no source or no usable name, a name comes twice, or aux is
            empty.
    """
    sources: dict[str, str] = {}
    if settings.aux is not None:
        if not settings.aux:
            raise ConfigError(
                f"{settings.section}.aux is empty; name a file or folder, or set it to null."
            )
        sources["aux"] = settings.aux
    kinds = {"ood": OOD_PREFIX, "csid": CSID_PREFIX, "val_ood": VAL_OOD_PREFIX}
    for kind, prefix in kinds.items():
        where = f"{settings.section}.{kind}"
        for item in getattr(settings, kind):
            name, source = _named(item, where)
            if not may_name_split(f"{prefix}{name}"):
                raise ConfigError(
                    f"{where} names a set {name!r}; give it a name of letters, digits, - and _, "
                    "the first a letter or digit."
                )
            if f"{prefix}{name}" in sources:
                raise ConfigError(f"{where} names {name!r} twice; give each set its own name.")
            sources[f"{prefix}{name}"] = source
    return sources


def _named(item: str, where: str) -> tuple[str, str]:
    """Name and source of one set; a bare name is both."""
    name, _, source = item.partition("=")
    if _BARE.fullmatch(item):
        name, source = item.partition(_FIRST_MARK)[0], item
    if not name or not source:
        raise ConfigError(
            f"{where} holds {item!r}; each item is a name and where its images are, such "
            "as svhn=data/svhn.npz, or the name of a known set (`ltood data list`)."
        )
    return name, source


def open_outliers(
    sources: Mapping[str, str],
    name: str,
    shape: tuple[int, int, int] | None,
    *,
    on_error: OnError = "raise",
    class_names: Sequence[str] = (),
    mode: Mode = "squash",
    jpeg_side: int | None = None,
) -> ImageSplit | ImageFiles:
    """Images of the split `name`, which come from elsewhere.

    Args:
        sources: As `outlier_sources` gives them.
        name: Name of the split.
        shape: Height, width and channels of the ID images; None leaves image files on disk.
        on_error: What is done about files that cannot be decoded.
        class_names: Names of the ID classes, [C], for folders of a csid split.
        mode: How images of another size are brought to the shape.
        jpeg_side: As `images.decoding.decode_image` takes it.

    Returns:
        Their images, with labels of -1 but where a row shows an ID class; in a csid split every
        row has a class.

    Raises:
        DataError: If the source is missing, unreadable or breaks a rule.
    """
    text, first = _parts(sources[name], name)
    place = _place(text, name)
    is_csid = name.startswith(CSID_PREFIX)
    source = _read_classes(place, class_names, on_error) if is_csid else _read(place, on_error)
    if first is not None:
        source = source.take(np.arange(min(first, len(source))))
    if isinstance(source, ImageFiles):
        source = replace(source, jpeg_side=jpeg_side)
    relabelled = int((source.labels >= 0).sum())
    if is_csid and relabelled < len(source):
        raise DataError(
            f"{len(source) - relabelled} of {len(source)} images of {name} have no class; sets "
            "under covariate shift show ID classes. Give a list with a class for each image, an "
            "archive with labels, or one folder for each class."
        )
    if relabelled and not is_csid:
        log(f"{name}: {relabelled} of {len(source)} images show an ID class and count as ID.")
    return source if shape is None else fitted(source, shape, name, mode)


def watched_outliers(sources: Mapping[str, str], *, stay: bool) -> dict[str, WatchedFiles]:
    """Files of all outliers, by split; those of a list with the list.

    Args:
        sources: As `outlier_sources` gives them.
        stay: Whether image files are left on disk.

    Raises:
        DataError: If a source is missing, or a list or folder unusable.
    """
    found = {}
    for name, source in sources.items():
        text, first = _parts(source, name)
        path, root = _place(text, name)
        if path.is_dir():
            files = WatchedFiles(path, tuple(images_below(path).paths), stay=stay, first=first)
        elif path.suffix == ".txt":
            listed = read_list(path, root)
            found[f"{name} list"] = WatchedFiles.of(path)
            files = WatchedFiles(listed.root, listed.paths, stay=stay, first=first)
        else:
            files = WatchedFiles.of(path, first=first)
        found[name] = files
    return found


def fitted(
    source: ImageSplit | ImageFiles,
    shape: tuple[int, int, int],
    name: str,
    mode: Mode = "squash",
) -> ImageSplit:
    """Images brought to the height, width and channels of others.

    Args:
        source: Images in memory or on disk.
        shape: Height, width and channels.
        name: Its name in messages.
        mode: How images of another size are brought to the shape.
    """
    height, width, channels = shape
    geometry = Geometry((height, width), mode)
    if isinstance(source, ImageFiles):
        colour = load(source, geometry, name)
    elif source.shape == shape:
        return source
    else:
        log(f"{name}: images of {list(source.shape)} are resized to {list(shape)}.")
        colour = _squashed(source, geometry)
    if channels == 3:
        return colour
    grey = (colour.images @ _LUMA).round().astype(np.uint8)
    return replace(colour, images=grey[..., None])


def _squashed(source: ImageSplit, geometry: Geometry) -> ImageSplit:
    """Images in colour and of another size."""
    if source.shape[:2] == geometry.size:
        if source.shape[2] == 3:
            return source
        return replace(source, images=np.repeat(source.images, 3, axis=3))
    blocks = [
        decode(source, range(start, min(start + _BLOCK, len(source))), geometry)
        for start in range(0, len(source), _BLOCK)
    ]
    return replace(source, images=np.concatenate(blocks))


def _parts(source: str, name: str) -> tuple[str, int | None]:
    """A source without its number of rows, and that number."""
    text, _, first = source.rpartition(_FIRST_MARK)
    if not text or locate(source).exists():  # The mark may be part of a folder's name.
        return source, None
    if not first.isdigit() or not int(first):
        raise DataError(
            f"{name} is {source!r}; write the number of rows to take after {_FIRST_MARK}, "
            "such as #30000."
        )
    return text, int(first)


def _place(text: str, name: str) -> _Place:
    """Location of a source; a bare name is looked up among the known sets."""
    file, _, folder = text.partition(_ROOT_MARK)
    if locate(text).exists():
        file, folder = text, ""
    path = locate(file)
    if path.exists():
        return _Place(_single(path), locate(folder) if folder else None)
    bare = "/" not in text and not path.suffix
    known = locate(SETS / text)
    if bare and known.exists():
        return _known(known, name)
    where = f"{path} or {SETS / text}" if bare else str(path)
    raise DataError(
        f"the images of {name} are not at {where}; put them there (`ltood data info` says where "
        "known sets come from) or correct the path."
    )


def _known(folder: Path, name: str) -> _Place:
    """Files to read from the folder of a known set."""
    parts = known_sets()[folder.name].parts if folder.name in known_sets() else ()
    found = [part for part in parts if (folder / part.path).exists()]
    if not found:
        return _Place(_single(folder))
    if len(found) > 1:
        raise DataError(
            f"{name} names {folder.name}, which has {len(found)} parts; name one of them, such as "
            f"{found[0].source(folder)}."
        )
    path = folder / found[0].path
    if found[0].form == "records":
        for file in _CIFAR:
            if (path / file).is_file():
                return _Place(path / file)
    image_root = found[0].image_root
    return _Place(_single(path), folder / image_root if image_root else None)


def _single(path: Path) -> Path:
    """The one file of a known form in a folder, where there is just one; else the path."""
    if not path.is_dir():
        return path
    forms = [found for found in sorted(path.iterdir()) if _is_form(found)]
    tests = [found for found in forms if found.name.startswith(("test", "t10k"))]
    chosen = tests or forms
    return chosen[0] if len(chosen) == 1 else path


def _read(place: _Place, on_error: OnError) -> ImageSplit | ImageFiles:
    path, root = place
    if path.is_dir():
        listing = images_below(path)
        paths, notes = tuple(listing.paths), listing.notes()
        outside, rows = np.full(len(paths), -1), np.arange(len(paths))
        return ImageFiles(path, paths, outside, rows, on_error=on_error, notes=notes)
    if path.suffix == ".npz":
        return read_archive(path, outliers=True)
    if path.suffix == ".txt":
        return read_list(path, root, on_error=on_error)
    images = _images(path)
    try:
        return ImageSplit(images, np.full(len(images), -1), np.arange(len(images)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read_classes(
    place: _Place, class_names: Sequence[str], on_error: OnError
) -> ImageSplit | ImageFiles:
    """Images of ID classes: a list, an archive with labels, or one folder for each class."""
    path = place.path
    if path.suffix == ".npz":
        return read_archive(path, outliers=False)
    found = _read(place, on_error)
    if not path.is_dir() or not isinstance(found, ImageFiles):
        return found
    numbers = {str(number): number for number in range(len(class_names))}
    numbers |= {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers.get(name.partition("/")[0], -1) for name in found.paths])
    return replace(found, labels=labels)


def _images(path: Path) -> NDArray[np.uint8]:
    """Images of a file that holds nothing else."""
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix == ".mat":
        return read_svhn(path)
    if "idx3-ubyte" in path.name:
        return read_idx(path)
    if path.name in _CIFAR:
        return _CIFAR[path.name].read(path.parent, "test").images
    raise DataError(
        f"{path} is not in a known format of image sets; give an .npz or .npy archive, SVHN's "
        ".mat, an idx3-ubyte file, CIFAR's test file, a list .txt, or a folder of images."
    )


def _is_form(path: Path) -> bool:
    return path.suffix in (".npz", ".npy", ".mat") or "images-idx3-ubyte" in path.name
