"""From a feature store to a score store: calibrate, fit, score, normalise.

Rows stream through in batches, on the CPU or a GPU; nothing here grows with the
number of rows. A calibrator is a view: methods see calibrated features and the logits
that the head gives for them, and no second copy of the features is written.
"""

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.console import progress
from ltood.core.detector import Calibrator, Detector, Normaliser, check_needs
from ltood.core.devices import choose_device
from ltood.core.errors import ConfigError, DataError, LtoodError, StoreError
from ltood.core.heads import ClassifierHead
from ltood.core.params import parse, to_section
from ltood.core.registry import load
from ltood.core.types import BATCH_ROWS, FeatureBatch, FitInputs
from ltood.store.features import FeatureSplit, FeatureStore
from ltood.store.fitted import FittedEntry
from ltood.store.scores import ScoreSplit, ScoreStore, ScoreWriter

#: Most bytes of one batch on the device; wide rows (local features) get fewer rows.
BATCH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Choice:
    """A slot's entry by name, with its settings as plain values."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


NONE = Choice("none")


def build_method(choice: Choice) -> tuple[Detector, dict[str, Any]]:
    """Build a method.

    Returns:
        The detector, not fitted, and its complete settings.

    Raises:
        ConfigError: On an unknown name or setting.
    """
    module = load("methods", choice.name)
    config = parse(choice.settings, module.Config, f"methods.{choice.name}")
    detector: Detector = module.Entry(config)
    return detector, to_section(config)


def build_calibrator(choice: Choice) -> tuple[Calibrator, dict[str, Any]]:
    """Build a calibrator; see `build_method`."""
    module = load("calibrators", choice.name)
    config = parse(choice.settings, module.Config, f"calibrators.{choice.name}")
    calibrator: Calibrator = module.Entry(config)
    return calibrator, to_section(config)


def build_normaliser(choice: Choice, base: Choice) -> tuple[Normaliser, dict[str, Any]]:
    """Build a normaliser for the scores of method `base`; see `build_method`."""
    module = load("normalisers", choice.name)
    config = parse(choice.settings, module.Config, f"normalisers.{choice.name}")
    normaliser: Normaliser = module.Entry(config, base=base.name)
    if normaliser.wants_default_base:
        usual = to_section(load("methods", base.name).Config())
        changed = [name for name, value in base.settings.items() if value != usual.get(name)]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"methods.{base.name}.{name} is {base.settings[name]!r}, but normaliser "
                f"{choice.name} is set to read the score as it was in training, with the default "
                f"{usual.get(name)!r}; set either back."
            )
    return normaliser, to_section(config)


def to_tensor(rows: NDArray[Any], device: torch.device) -> Tensor:
    """Tensor on `device`, float32 for any float; shares memory where it can."""
    with warnings.catch_warnings():
        # The array is a read-only view of a copy-on-write map: nothing can reach the file.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(rows)
    tensor = tensor.to(device, non_blocking=True)
    return tensor.float() if tensor.is_floating_point() else tensor


class StoredSource:
    """One stored split as batches of tensors, calibrated on the way."""

    def __init__(
        self,
        split: FeatureSplit,
        head: ClassifierHead,
        device: torch.device,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Wrap a split; `calibrator` None leaves features and logits as stored."""
        self._split = split
        self._head = head
        self._device = device
        self._calibrator = calibrator

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._split.dim

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._head.num_classes

    @property
    def has_local(self) -> bool:
        """Whether the split holds local features."""
        return "local" in self._split.arrays

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._split)

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""
        wanted = set(arrays)
        recompute = self._calibrator is not None and "logits" in wanted
        read = (wanted - {"logits", "extra"}) | ({"features"} if recompute else set())
        if not recompute and wanted & {"logits", "extra"}:
            read.add("logits")
        widest = sum(self._split.spec.arrays[name].row_bytes for name in read)
        rows = max(1, min(rows, BATCH_BYTES // max(1, widest)))
        for block in self._split.batches(rows, sorted(read)):
            tensors = {name: to_tensor(values, self._device) for name, values in block.items()}
            yield self._assemble(tensors, recompute)

    def _assemble(self, tensors: dict[str, Tensor], recompute: bool) -> FeatureBatch:
        features, outputs = tensors.get("features"), tensors.get("logits")
        logits = extra = None
        local = tensors.get("local")
        if features is not None and self._calibrator is not None:
            features = self._calibrator.transform(features)
        if local is not None and self._calibrator is not None:
            local = self._calibrator.transform_local(local)
        if recompute and features is not None:
            logits, extra = self._head.logits(features), self._head.extra_logits(features)
        elif outputs is not None:
            logits = outputs[:, : self.num_classes]
            extra = outputs[:, self.num_classes :] if self._head.num_extra else None
        return FeatureBatch(
            features, logits, tensors.get("labels"), tensors.get("ids"), local, extra
        )


@dataclass(frozen=True)
class Workbench:
    """A feature store opened for stage two on one device, with an optional calibrator."""

    store: FeatureStore
    head: ClassifierHead
    device: torch.device
    calibrator: Calibrator | None = None

    @classmethod
    def open(cls, store: FeatureStore, device: str = "auto") -> "Workbench":
        """Open the head on `device` ("auto", "cpu", "cuda", "cuda:1")."""
        chosen = choose_device(device)
        return cls(store, ClassifierHead.from_arrays(store.head_arrays(), chosen), chosen)

    def with_calibrator(self, calibrator: Calibrator | None) -> "Workbench":
        """The same store, and its head, seen through a fitted calibrator."""
        # From the stored head, so that a second calibrator never adds to a first.
        head = ClassifierHead.from_arrays(self.store.head_arrays(), self.device)
        if calibrator is not None:
            head = replace(head, bias=calibrator.adjust_logits(head.bias))
        return Workbench(self.store, head, self.device, calibrator)

    def source(self, split: str) -> StoredSource:
        """Rows of one split."""
        return StoredSource(self.store.split(split), self.head, self.device, self.calibrator)

    def inputs(self, train_split: str = "train") -> FitInputs:
        """Everything a method may learn from; splits the store lacks are None."""
        train = self.source(train_split) if train_split in self.store.splits else None
        aux = self.source("aux") if "aux" in self.store.splits else None
        return FitInputs(train, aux, self.head, self.store.prior())

    def has_local(self) -> bool:
        """Whether every split holds local features."""
        return all(self.source(split).has_local for split in self.store.image_splits)


def fit_calibrator(bench: Workbench, choice: Choice) -> FittedEntry:
    """Fit a calibrator on the store.

    Raises:
        MissingNeedError: If the store lacks what the calibrator learns from.
    """
    calibrator, settings = build_calibrator(choice)
    inputs = bench.inputs(calibrator.train_split)
    check_needs(f"calibrator {choice.name}", calibrator.needs, inputs, bench.has_local())
    calibrator.fit(inputs)
    state = {name: tensor.detach().cpu().numpy() for name, tensor in calibrator.state().items()}
    return FittedEntry(choice.name, settings, bench.store.fingerprint, calibrator.in_use(), state)


def restore_calibrator(bench: Workbench, entry: FittedEntry) -> Workbench:
    """See the store through a fitted calibrator; "none" leaves it as it is.

    Raises:
        StoreError: If the calibrator was fitted on another store.
    """
    if entry.name == NONE.name:
        return bench.with_calibrator(None)
    if entry.features != bench.store.fingerprint:
        raise StoreError(
            f"calibrator {entry.name} was fitted on features {entry.features[:12]} but the store "
            f"has {bench.store.fingerprint[:12]}; run the calibrate stage again."
        )
    calibrator, _ = build_calibrator(Choice(entry.name, entry.settings))
    tensors = {
        name: torch.tensor(values, device=bench.device) for name, values in entry.state.items()
    }
    return bench.with_calibrator(calibrator.restore(tensors))


def fit_method(bench: Workbench, choice: Choice) -> tuple[Detector, dict[str, Any]]:
    """Build a method and fit it on the store.

    Returns:
        The fitted detector and its complete settings.

    Raises:
        MissingNeedError: If the store lacks what the method needs.
    """
    detector, settings = build_method(choice)
    inputs = bench.inputs()
    check_needs(f"method {choice.name}", detector.needs, inputs, bench.has_local())
    with progress(f"fit {choice.name}", None):
        detector.fit(inputs)
    return detector, settings


def write_scores(
    bench: Workbench,
    calibration: FittedEntry,
    choice: Choice,
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    overwrite: bool = False,
) -> ScoreStore:
    """Fit a method and score every row of `splits`.

    Args:
        bench: The store, seen through the calibrator of `calibration`.
        calibration: The fitted calibrator, recorded beside the scores.
        choice: Method and settings.
        out: Score store to write.
        splits: Splits to score; all of the store by default.
        overwrite: Replace an existing score store.

    Returns:
        The score store.

    Raises:
        LtoodError: If the method gives a score that is not finite.
    """
    names = list(splits) if splits is not None else bench.store.image_splits
    rows = {name: len(bench.store.split(name)) for name in names}
    detector, settings = fit_method(bench, choice)
    attributes = {
        "method": {"name": choice.name, "settings": settings, "in_use": detector.in_use()},
        "calibrator": {
            "name": calibration.name,
            "settings": calibration.settings,
            "in_use": calibration.in_use,
        },
        "normaliser": {"name": NONE.name, "settings": {}, "in_use": {}},
        "class_counts": bench.store.prior().counts.tolist(),
        "class_names": bench.store.class_names,
        "features": bench.store.fingerprint,
        "provenance": bench.store.provenance,
    }
    with ScoreWriter(out, rows, attributes, overwrite=overwrite) as writer:
        for name in names:
            with progress(f"score {name}", rows[name]) as advance:
                for part in score_batches(detector, choice.name, bench.source(name), name):
                    writer.append(name, part)
                    advance(len(part))
    return ScoreStore.open(out)


def score_batches(
    detector: Detector, method: str, source: StoredSource, split: str
) -> Iterator[ScoreSplit]:
    """Score a split batch by batch.

    Args:
        detector: A fitted method.
        method: Its name, for messages.
        source: Rows to score.
        split: Their split's name, for messages.

    Yields:
        Scores and predictions of consecutive rows.

    Raises:
        LtoodError: If a score is not finite.
    """
    arrays = sorted({*detector.arrays, "logits", "labels", "ids"})
    for batch in source.batches(arrays=arrays):
        with torch.inference_mode():
            scores = detector.score(batch)
        yield pack_scores(scores, batch, f"method {method}", split)


def pack_scores(scores: Tensor, batch: FeatureBatch, entry: str, split: str) -> ScoreSplit:
    """Scores of one batch as NumPy rows with their predictions.

    Raises:
        LtoodError: If a score is not finite or a row is missing.
    """
    if scores.shape != (len(batch),):
        raise LtoodError(
            f"{entry} gave scores of shape {tuple(scores.shape)} for {len(batch)} rows; "
            "this is a fault of the method."
        )
    bad = ~torch.isfinite(scores)
    if bad.any():
        first = int(batch.ids[bad][0])
        raise LtoodError(
            f"{entry} gave {int(bad.sum())} scores that are not finite in split {split} (first at "
            f"id {first}); check its settings, such as a clip or temperature out of range."
        )
    return ScoreSplit(
        scores.float().cpu().numpy(),
        batch.logits.argmax(dim=1).cpu().numpy(),
        batch.labels.cpu().numpy(),
        batch.ids.cpu().numpy(),
    )


def normalise_scores(
    bench: Workbench, raw: ScoreStore, choice: Choice, out: Path, *, overwrite: bool = False
) -> ScoreStore:
    """Apply a normaliser to a score store.

    Args:
        bench: The feature store, seen through the calibrator the scores were made with.
        raw: Scores to normalise.
        choice: Normaliser and settings.
        out: Score store to write.
        overwrite: Replace an existing score store.

    Returns:
        The normalised score store.

    Raises:
        StoreError: If the scores were made from other features.
    """
    if raw.attributes["features"] != bench.store.fingerprint:
        raise StoreError(
            f"{raw.path} was made from features {raw.attributes['features'][:12]} but "
            f"{bench.store.path} has {bench.store.fingerprint[:12]}; run the score stage again."
        )
    base = raw.attributes["method"]
    normaliser, settings = build_normaliser(choice, Choice(base["name"], base["settings"]))
    inputs = bench.inputs()
    check_needs(f"normaliser {choice.name}", normaliser.needs, inputs, bench.has_local())
    normaliser.fit(inputs)
    arrays = sorted({*normaliser.arrays, "logits", "labels", "ids"})
    attributes = {
        **{key: raw.attributes[key] for key in _CARRIED},
        "normaliser": {"name": choice.name, "settings": settings, "in_use": normaliser.in_use()},
    }
    rows = {name: len(bench.store.split(name)) for name in raw.splits}
    with ScoreWriter(out, rows, attributes, overwrite=overwrite) as writer:
        for name in raw.splits:
            split, done = raw.split(name), 0
            if len(split) != rows[name]:
                raise DataError(
                    f"split {name} has {len(split)} scores and {rows[name]} feature rows; "
                    "run the score stage again."
                )
            with progress(f"normalise {name}", rows[name]) as advance:
                for batch in bench.source(name).batches(arrays=arrays):
                    stop = done + len(batch)
                    scores = to_tensor(split.scores[done:stop], bench.device)
                    with torch.inference_mode():
                        scores = normaliser.normalise(scores, batch)
                    part = pack_scores(scores, batch, f"normaliser {choice.name}", name)
                    predictions = np.asarray(split.predictions[done:stop])
                    writer.append(name, ScoreSplit(part.scores, predictions, part.labels, part.ids))
                    done = stop
                    advance(len(batch))
    return ScoreStore.open(out)


_CARRIED = ("method", "calibrator", "class_counts", "class_names", "features", "provenance")


def score_store(
    store: FeatureStore,
    out: Path,
    method: Choice,
    calibrator: Choice = NONE,
    normaliser: Choice = NONE,
    *,
    splits: Sequence[str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> ScoreStore:
    """Run all three slots on a feature store; what `ltood score` does.

    Args:
        store: Feature store.
        out: Score store to write.
        method: Method and settings.
        calibrator: Calibrator and settings.
        normaliser: Normaliser and settings.
        splits: Splits to score; all of the store by default.
        device: "auto", "cpu", "cuda" or "cuda:1".
        overwrite: Replace an existing score store.

    Returns:
        The final score store.

    Raises:
        StoreError: If `out` exists and `overwrite` is off.
    """
    if out.exists() and not overwrite:
        raise StoreError(f"{out} exists already; pass --overwrite or another path.")
    build_normaliser(normaliser, method)  # A bad setting fails before the work starts.
    bench = Workbench.open(store, device)
    if calibrator.name == NONE.name:
        calibration = FittedEntry(NONE.name, {}, store.fingerprint)
    else:
        calibration = fit_calibrator(bench, calibrator)
    bench = restore_calibrator(bench, calibration)
    if normaliser.name == NONE.name:
        return write_scores(bench, calibration, method, out, splits=splits, overwrite=overwrite)
    raw_path = out.with_name(f".{out.name}.{os.getpid()}.raw")
    try:
        raw = write_scores(bench, calibration, method, raw_path, splits=splits, overwrite=True)
        return normalise_scores(bench, raw, normaliser, out, overwrite=overwrite)
    finally:
        shutil.rmtree(raw_path, ignore_errors=True)
