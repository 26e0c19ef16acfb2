"""Files in, verdicts out: image files, folders of images and NumPy archives, streamed.

An `.npz` archive holds `features` [N, D] (with `local` [N, P, D] where the method reads it)
or `images` [N, H, W, C] uint8, and optionally `ids` [N]; if it holds both, features are
read. Rows come out in the order they go in, and memory does not grow with their number: where a
verdict depends on all rows, they wait on disk.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ltood.core.batches import BATCH_ROWS
from ltood.core.errors import ConfigError, DataError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.discoveries import settled
from ltood.deployment.images import Embedder, fit_pixels
from ltood.deployment.incoming import listed
from ltood.deployment.rules import RateRule
from ltood.deployment.verdicts import BadInputs, Verdict, verdicts
from ltood.images.folders import images_below
from ltood.runtime.console import log
from ltood.store.archives import Archive

_ARCHIVE = ".npz"
#: Top folders that hold no files of users, and some of them no end of others.
_SYSTEM = (("dev",), ("proc",), ("sys",))


def predict_files(
    detector: DeployedDetector,
    inputs: Sequence[Path],
    *,
    checkpoint: Path | None = None,
    batch_size: int = 256,
    bad: BadInputs | None = None,
) -> Iterator[Verdict]:
    """Classify every image and every archived row of `inputs` as ID or OOD.

    Args:
        detector: A loaded detector.
        inputs: Image files, folders (searched for image files, also in their folders, in
            alphabetical order) and `.npz` archives.
        checkpoint: Folder of the backbone's checkpoint; needed for images only.
        batch_size: Images that go through the backbone at once.
        bad: What to do with unusable images and rows; stop at the first if not given.

    Yields:
        Verdicts in the order of the inputs.

    Raises:
        ConfigError: If `batch_size` is below 1.
        DataError: If an input is missing or malformed, or holds an unusable image or row and
            `bad` does not skip it.
        MissingNeedError: If there are images and no checkpoint, or local features are missing.
        StoreError: If the checkpoint is not whole.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}; it must be 1 or more.")
    bad = bad or BadInputs()
    rows = _verdicts(detector, inputs, checkpoint, batch_size, bad)
    rule = detector.rule
    if isinstance(rule, RateRule) and rule.is_joint:
        rows = settled(rows, rule)
    yield from rows


def _verdicts(
    detector: DeployedDetector,
    inputs: Sequence[Path],
    checkpoint: Path | None,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Verdicts of all inputs, one after the other."""
    embedder: Embedder | None = None
    for path in inputs:
        if path.suffix.lower() == _ARCHIVE and not path.is_dir():
            with Archive(path) as archive:
                if "features" in archive.names:
                    yield from _archived_features(detector, archive, bad)
                    continue
                _check_images(archive)
                embedder = embedder or Embedder.open(checkpoint, detector)
                yield from _archived_images(detector, archive, embedder, batch_size, bad)
        else:
            files = image_files(path)
            embedder = embedder or Embedder.open(checkpoint, detector)
            yield from _image_files(detector, files, embedder, batch_size, bad)


def image_files(path: Path) -> list[Path]:
    """The image file `path`, or all image files below the folder `path` in order.

    Raises:
        DataError: If nothing is there, or it is a folder of the system or without an image.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist; give image files, folders of images or .npz archives."
        )
    where = path.resolve()
    if where == Path(where.anchor) or where.parts[1:2] in _SYSTEM:
        raise DataError(
            f"{path} is a folder of the system, not of images; give the folder that holds them."
        )
    found = images_below(path)
    for note in found.notes():
        log(f"{path}: {note}")
    return [path / name for name in found.paths]


def _image_files(
    detector: DeployedDetector,
    files: Sequence[Path],
    embedder: Embedder,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    def decode(file: Path) -> NDArray[np.uint8] | DataError:
        try:
            return embedder.read(file)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            names, images = [], []
            for file, decoded in zip(batch, pool.map(decode, batch), strict=True):
                if isinstance(decoded, DataError):
                    bad.meet(decoded)
                else:
                    names.append(str(file))
                    images.append(decoded)
            if images:
                features, local = embedder.features(np.stack(images))
                yield from verdicts(detector, names, [None] * len(names), features, local, bad)


def _archived_images(
    detector: DeployedDetector,
    archive: Archive,
    embedder: Embedder,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    ids = _ids(archive, archive.shape("images")[0])
    done = 0
    with _blocks(archive, ["images"], len(ids), batch_size) as blocks:
        for (block,) in blocks:
            spec, geometry = embedder.spec, embedder.geometry
            images = np.stack([fit_pixels(image, spec, geometry) for image in block])
            features, local = embedder.features(images)
            numbers = ids[done : done + len(block)]
            paths = [str(archive.path)] * len(block)
            yield from verdicts(detector, paths, numbers, features, local, bad)
            done += len(block)


def _archived_features(
    detector: DeployedDetector, archive: Archive, bad: BadInputs
) -> Iterator[Verdict]:
    path, shape = archive.path, archive.shape("features")
    if len(shape) != 2 or shape[1] != detector.head.dim:
        raise DataError(
            f"{path}: features have shape {list(shape)} but the detector was fitted on "
            f"{detector.head.dim} columns; extract them with the backbone it belongs to."
        )
    ids = _ids(archive, shape[0])
    keys = ["features"]
    if detector.needs_local and "local" in archive.names:
        if archive.shape("local")[:1] != shape[:1]:
            raise DataError(
                f"{path}: local has shape {list(archive.shape('local'))} for {shape[0]} rows of "
                "features; both must have the same rows."
            )
        keys.append("local")
    for key in keys:
        if archive.dtype(key).kind not in "fiu":
            raise DataError(f"{path}: {key} are {archive.dtype(key)}; they must be numbers.")
    done = 0
    with _blocks(archive, keys, shape[0], BATCH_ROWS) as streams:
        for blocks in streams:
            fine = _finite(path, blocks, done, bad)
            numbers = ids[done : done + len(fine)][fine]
            kept = [block[fine] for block in blocks]
            local = kept[1] if len(kept) > 1 else None
            paths = [str(path)] * len(numbers)
            yield from verdicts(detector, paths, numbers, kept[0], local, bad)
            done += len(fine)


def _finite(
    path: Path, blocks: Sequence[NDArray[Any]], start: int, bad: BadInputs
) -> NDArray[np.bool_]:
    """Which rows of aligned blocks hold only finite values, [n]; the others are reported."""
    fine = np.ones(len(blocks[0]), dtype=bool)
    for block in blocks:
        with np.errstate(over="ignore"):  # What float32 cannot hold is infinite to a detector.
            values = block.reshape(len(block), -1).astype(np.float32, copy=False)
        fine &= np.isfinite(values).all(axis=1)
    if not fine.all():
        rows = (start + np.flatnonzero(~fine)).tolist()
        bad.meet(
            DataError(
                f"{path}: features of rows {listed(rows)} hold NaN or infinity ({len(rows)} such "
                f"rows among rows {start} to {start + len(fine) - 1}); extract them again."
            ),
            len(rows),
        )
    return fine


@contextmanager
def _blocks(
    archive: Archive, keys: Sequence[str], rows: int, step: int
) -> Iterator[Iterator[tuple[NDArray[Any], ...]]]:
    """Aligned row blocks of some arrays, whose streams are closed also after an error."""
    sizes = [min(step, rows - start) for start in range(0, rows, step)]
    with ExitStack() as stack:
        streams = []
        for key in keys:
            stream = cast(Generator[NDArray[Any]], archive.blocks(key, sizes))
            streams.append(stack.enter_context(closing(stream)))
        yield zip(*streams, strict=True)


def _check_images(archive: Archive) -> None:
    """Refuse an archive that holds neither features nor images.

    Raises:
        DataError: With what it holds.
    """
    if "images" not in archive.names:
        raise DataError(
            f"{archive.path} holds {', '.join(archive.names) or 'nothing'}; it needs an array "
            "features [N, D] or images [N, H, W, C]."
        )
    shape, dtype = archive.shape("images"), archive.dtype("images")
    if len(shape) != 4 or shape[3] not in (1, 3) or dtype != np.uint8:
        raise DataError(
            f"{archive.path}: images are {dtype} of shape {list(shape)}; they must be uint8 of "
            "shape [N, H, W, C] with C 1 (grey) or 3 (RGB)."
        )


def _ids(archive: Archive, rows: int) -> NDArray[np.int64]:
    """Ids of the rows, their numbers where the archive names none."""
    if "ids" not in archive.names:
        return np.arange(rows, dtype=np.int64)
    ids = archive.load("ids")
    if ids.shape != (rows,) or ids.dtype.kind not in "iu":
        raise DataError(
            f"{archive.path}: ids are {ids.dtype} of shape {list(ids.shape)}; they must be whole "
            f"numbers of shape [{rows}]."
        )
    return ids.astype(np.int64)
