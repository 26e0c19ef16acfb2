"""Files in, verdicts out: image files, folders of images and NumPy archives, streamed.

Rows come out in the order they go in, and memory does not grow with their number: where a
verdict depends on all rows, they wait on disk.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from ltood.deployment.inputs import ArchiveInputs, ImageInputs, Inputs, find_inputs, read_ids
from ltood.deployment.judging import BadInputs, Item, judge
from ltood.deployment.rules import RateRule
from ltood.deployment.verdicts import Verdict
from ltood.images.decoding import decoding_threads
from ltood.runtime.console import progress
from ltood.store.archives import Archive

#: Pixels of one image file, or why there are none.
_Decoded = NDArray[np.uint8] | DataError
#: Files of a batch, each with what comes of decoding it.
_Waiting = list[tuple[Path, Future[_Decoded]]]


def predict_files(
    detector: DeployedDetector,
    inputs: Sequence[Path],
    *,
    checkpoint: Path | None = None,
    batch_size: int = 256,
    bad: BadInputs | None = None,
    show_progress: bool = False,
) -> Iterator[Verdict]:
    """Classify every image and every archived row of `inputs` as ID or OOD.

    What does not fit is refused before the first verdict.

    Args:
        detector: A loaded detector.
        inputs: Image files, folders (searched for image files, also in their folders, in
            alphabetical order) and `.npz` archives.
        checkpoint: Folder of the backbone's checkpoint; needed for images only.
        batch_size: Images that go through the backbone at once.
        bad: What to do with inputs that cannot be judged; they get a row if not given.
        show_progress: Whether a terminal shows a bar with rate and time left.

    Returns:
        Verdicts in the order of the inputs.

    Raises:
        ConfigError: If `batch_size` is below 1.
        DataError: If an input is missing or malformed. While verdicts are read: if one cannot be
            judged and `bad` stops there.
        MissingNeedError: If there are images and no checkpoint, or local features are missing.
        StoreError: If the checkpoint is not whole.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}; it must be 1 or more.")
    found = find_inputs(detector, inputs)
    embedder = None
    if any(isinstance(one, ImageInputs) or not one.has_features for one in found):
        embedder = Embedder.open(checkpoint, detector)
    rows = _verdicts(detector, found, embedder, batch_size, bad or BadInputs())
    if show_progress:
        rows = _with_progress(rows, sum(map(len, found)))
    rule = detector.rule
    if isinstance(rule, RateRule) and rule.is_joint:
        rows = settled(rows, rule)
    return rows


def judge_images(
    detector: DeployedDetector, files: Sequence[Path], embedder: Embedder, bad: BadInputs
) -> Iterator[Verdict]:
    """Verdicts on image files that go through the backbone at once, in their order."""
    yield from _image_batches(detector, files, embedder, len(files), bad)


def _with_progress(rows: Iterator[Verdict], total: int) -> Iterator[Verdict]:
    """The same verdicts, while a bar on a terminal shows how far they are."""
    with progress("predict", total, "inputs") as advance:
        for row in rows:
            yield row
            advance(1)


def _verdicts(
    detector: DeployedDetector,
    found: Iterable[Inputs],
    embedder: Embedder | None,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Verdicts of all inputs, one after the other."""
    for inputs in found:
        if isinstance(inputs, ImageInputs):
            assert embedder is not None
            yield from _image_batches(detector, inputs.files, embedder, batch_size, bad)
        elif inputs.has_features:
            yield from _archived_features(detector, inputs, bad)
        else:
            assert embedder is not None
            yield from _archived_images(detector, inputs, embedder, batch_size, bad)


def _image_batches(
    detector: DeployedDetector,
    files: Sequence[Path],
    embedder: Embedder,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Verdicts on image files; a batch is decoded while the one before it is judged."""

    def decode(file: Path) -> _Decoded:
        try:
            return embedder.read(file)
        except DataError as error:
            return error

    pool = ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode")
    try:
        waiting: _Waiting = []
        for start in range(0, len(files), max(1, batch_size)):
            batch = files[start : start + batch_size]
            following = [(file, pool.submit(decode, file)) for file in batch]
            if waiting:
                yield from _image_batch(detector, waiting, embedder, bad)
            waiting = following
        if waiting:
            yield from _image_batch(detector, waiting, embedder, bad)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _image_batch(
    detector: DeployedDetector, waiting: _Waiting, embedder: Embedder, bad: BadInputs
) -> Iterator[Verdict]:
    items, images = [], []
    for file, future in waiting:
        decoded = future.result()
        if isinstance(decoded, DataError):
            bad.meet(decoded)
            items.append(Item(str(file), reason=str(decoded)))
        else:
            items.append(Item(str(file)))
            images.append(decoded)
    if images:
        features, local = embedder.features(np.stack(images))
        yield from judge(detector, items, features, local, bad)
    else:
        yield from judge(detector, items, np.empty((0, detector.head.dim)), None, bad)


def _archived_images(
    detector: DeployedDetector,
    inputs: ArchiveInputs,
    embedder: Embedder,
    batch_size: int,
    bad: BadInputs,
) -> Iterator[Verdict]:
    with _blocks(inputs, batch_size) as (ids, blocks):
        done = 0
        for (block,) in blocks:
            spec, geometry = embedder.spec, embedder.geometry
            images = np.stack([fit_pixels(image, spec, geometry) for image in block])
            features, local = embedder.features(images)
            numbers = ids[done : done + len(block)].tolist()
            items = [Item(str(inputs.path), number) for number in numbers]
            yield from judge(detector, items, features, local, bad)
            done += len(block)


def _archived_features(
    detector: DeployedDetector, inputs: ArchiveInputs, bad: BadInputs
) -> Iterator[Verdict]:
    path = str(inputs.path)
    with _blocks(inputs, BATCH_ROWS) as (ids, streams):
        done = 0
        for blocks in streams:
            fine = _finite(inputs.path, blocks, done, bad)
            numbers = ids[done : done + len(fine)].tolist()
            items = [
                Item(path, number, None if is_fine else _NOT_FINITE)
                for number, is_fine in zip(numbers, fine.tolist(), strict=True)
            ]
            kept = [block[fine] for block in blocks]
            local = kept[1] if len(kept) > 1 else None
            yield from judge(detector, items, kept[0], local, bad)
            done += len(fine)


_NOT_FINITE = "its features hold NaN or infinity; extract them again."


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
    inputs: ArchiveInputs, step: int
) -> Iterator[tuple[NDArray[np.int64], Iterator[tuple[NDArray[Any], ...]]]]:
    """Ids and aligned row blocks of an archive, whose streams are closed also after an error."""
    rows = inputs.rows
    sizes = [min(step, rows - start) for start in range(0, rows, step)]
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(inputs.path))
        streams = []
        for key in inputs.arrays:
            stream = cast(Generator[NDArray[Any]], archive.blocks(key, sizes))
            streams.append(stack.enter_context(closing(stream)))
        yield read_ids(archive, rows), zip(*streams, strict=True)
