"""Rows as a calibrator shows them: a view, of which no second copy is written.

Methods see calibrated features, and the logits that the head gives for them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, WrappedSource
from ltood.core.crew import Part, numbered_batches
from ltood.core.extras import parted_extra
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.slots import Calibrator

_OUTPUTS = ("logits", "aux_outputs")


def calibrated(
    batch: FeatureBatch,
    calibrator: Calibrator | None,
    head: ClassifierHead | None,
    *,
    logits: bool = True,
) -> FeatureBatch:
    """Rows as methods see them: calibrated, with the logits that the head gives for them.

    Args:
        batch: Raw rows; without a calibrator their own logits, where they have some, are kept.
        calibrator: Fitted calibrator, or None.
        head: Classifier head, with its bias as the calibrator adjusts it; None makes no logits.
        logits: Whether the logits or the auxiliary outputs are read.
    """
    if calibrator is None and "logits" in batch.arrays:
        return batch
    arrays = dict(batch.arrays)
    if calibrator is not None:
        for output in _OUTPUTS:
            arrays.pop(output, None)
        if "features" in arrays:
            arrays["features"] = calibrator._transform(batch.features)
        for name in arrays:
            # Features of moved images, or of places of a map, lie in the space of features; other
            # extra arrays do not.
            if parted_extra(name)[0] and parted_extra(name)[1] == "features":
                raw = batch.extra(name)
                arrays[name] = calibrator._transform(raw.flatten(0, -2)).reshape(raw.shape)
        if "local" in arrays:
            arrays["local"] = calibrator._transform_local(batch.local)
    features = arrays.get("features")
    if logits and head is not None and features is not None:
        arrays |= {"logits": head.logits(features), "aux_outputs": head.aux_outputs(features)}
    return FeatureBatch(arrays)


def calibrated_head(head: ClassifierHead | None, calibrator: Calibrator) -> ClassifierHead | None:
    """The head with its bias as the calibrator adjusts it."""
    if head is None:
        return None
    return replace(head, bias=calibrator._adjust_logits(head.bias))


class CalibratedSource(WrappedSource):
    """Rows of a source as a calibrator shows them, calibrated on the way."""

    def __init__(
        self, source: FeatureSource, calibrator: Calibrator, head: ClassifierHead | None
    ) -> None:
        """Wrap a source.

        Args:
            source: Raw rows.
            calibrator: Fitted calibrator.
            head: Classifier head as `calibrated_head` gives it; without one there are no logits.
        """
        super().__init__(source)
        self._calibrator, self._head = calibrator, head

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""
        for batch in self._source.batches(rows, _read(arrays)):
            yield self._shown(batch, arrays)

    def numbered(
        self, part: Part, rows: int, arrays: Sequence[str]
    ) -> Iterator[tuple[int, FeatureBatch]]:
        """Yield the batches of a part, each with its first row; see `PartedSource`."""
        for start, batch in numbered_batches(self._source, part, _read(arrays), rows):
            yield start, self._shown(batch, arrays)

    def _shown(self, batch: FeatureBatch, arrays: Sequence[str]) -> FeatureBatch:
        outputs = bool(set(arrays) & set(_OUTPUTS))
        return calibrated(batch, self._calibrator, self._head, logits=outputs)


def _read(arrays: Sequence[str]) -> list[str]:
    """Arrays of raw rows that some arrays of calibrated ones are made of."""
    wanted = set(arrays)
    outputs = bool(wanted & set(_OUTPUTS))
    return sorted((wanted - set(_OUTPUTS)) | ({"features"} if outputs else set()))


def calibrated_inputs(inputs: FitInputs, calibrator: Calibrator) -> FitInputs:
    """Everything an entry may learn from, as a fitted calibrator shows it.

    Args:
        inputs: What the calibrator was fitted on.
        calibrator: Fitted calibrator.
    """
    head = calibrated_head(inputs.head, calibrator)

    def seen(source: FeatureSource | None) -> FeatureSource | None:
        return None if source is None else CalibratedSource(source, calibrator, head)

    sources = (seen(inputs.train), seen(inputs.aux), head, inputs.prior, seen(inputs.val))
    return FitInputs(*sources, crew=inputs.crew)
