"""The deployed detector: all fitted slots, the head and a threshold, ready for new rows.

Rows go the way they go in `ltood score`: calibrate, logits from the head, score,
normalise. The verdict is exact: a row is ID where `score <= threshold`, else OOD; or it is that
of a rule, which keeps a promise by calibration rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.arrays import Rows, as_labels
from ltood.core.batches import BATCH_ROWS, FeatureBatch, Ids, Labels
from ltood.core.errors import DataError, LtoodError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.deployment.calibration import CalibrationRows, surprises
from ltood.deployment.examples import Examples
from ltood.deployment.incoming import finite, listed, shaped, shaped_local
from ltood.deployment.predictions import Predictions, joined
from ltood.deployment.promises import Promise
from ltood.deployment.rules import Judgement, Rule, make_rule
from ltood.ops.calibrated import calibrated
from ltood.ops.conformal import RankMap
from ltood.runtime.devices import scoring_on

#: Training classes that are named with a verdict.
NUM_NEAREST = 3


class NotFiniteScoresError(LtoodError):
    """Scores of some rows are not finite.

    Attributes:
        rows: Numbers of these rows in the call, as far as it got.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        """Take the message and the row numbers."""
        super().__init__(message)
        self.rows = list(rows)


@dataclass(frozen=True)
class DeployedDetector:
    """Fitted calibrator, method and normaliser with head, class means and threshold.

    Attributes:
        method: Fitted method.
        calibrator: Fitted calibrator, or None.
        normaliser: Fitted normaliser, or None.
        head: Classifier head, [C, D].
        class_means: Mean calibrated training feature of each class, [C, D] float32.
        class_rows: Training rows of each class, [C] int64; may hold zeros.
        threshold: Largest score of a row that counts as ID.
        description: Plain values: names, settings, threshold, provenance and versions.
        calibration: Held-out ID rows that promises rest on; None where there are none.
        rule: Decides instead of the threshold; see `promising`.
        examples: Training images that verdicts name as the most similar; None where there are none.
    """

    method: Method
    calibrator: Calibrator | None
    normaliser: Normaliser | None
    head: ClassifierHead
    class_means: Tensor
    class_rows: Tensor
    threshold: float
    description: Mapping[str, Any]
    calibration: CalibrationRows | None = None
    rule: Rule | None = None
    examples: Examples | None = None

    @property
    def class_names(self) -> list[str]:
        """Names of the ID classes, [C]."""
        return list(self.description["class_names"])

    @property
    def device(self) -> torch.device:
        """Device that computes the scores."""
        return self.head.weight.device

    @property
    def needs_local(self) -> bool:
        """Whether the method reads local features."""
        return "local" in self.method.arrays

    @property
    def has_head(self) -> bool:
        """Whether classes come from a classifier head, not from the nearest class mean."""
        return bool(self.description.get("has_head", True))

    @cached_property
    def ranks(self) -> RankMap | None:
        """Scores to p-values among the calibration rows; None where there are none."""
        rows = self.calibration
        return RankMap.fit(rows.scores) if rows is not None and len(rows) else None

    @cached_property
    def explained(self) -> tuple[str, ...]:
        """Names of the columns by which the method explains its scores."""
        if type(self.method).explain is Method.explain:
            return ()
        row = self.class_means[:1]
        local = row[:, None] if self.needs_local else None
        with torch.inference_mode():
            (batch,) = self._batches(row, local, logits=True)
            return tuple(self.method.explain(batch))

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Which rows of the split val a slot has learned from, [N] bool; see `Entry`."""
        learned = self.method.learned_rows(ids, labels)
        for entry in (self.calibrator, self.normaliser):
            if entry is not None:
                learned = learned | entry.learned_rows(ids, labels)
        return learned

    def score(self, features: Rows, *, local: Rows | None = None) -> Tensor:
        """OOD scores, [N] float32; higher means more OOD.

        Args:
            features: Pooled features of the backbone the detector was fitted for, [N, D], or
                [D] for a single row; not calibrated, not normalised.
            local: Local features, [N, P, D]; for methods that read them.

        Raises:
            DataError: If a shape is wrong or a row holds NaN or infinity.
            MissingNeedError: If the method reads local features and none are given.
            NotFiniteScoresError: If a score is not finite.
        """
        read = {*self.method.arrays, *(self.normaliser.arrays if self.normaliser else ())}
        batches = self._batches(features, local, logits=bool(read & {"logits", "aux_outputs"}))
        with scoring_on(self.device), torch.inference_mode():
            parts = [self._scores(batch) for batch in batches]
        return torch.cat(parts)

    def logits(self, features: Rows) -> Tensor:
        """Logits of the classes after calibration, [N, C] float32; see `score`.

        Raises:
            DataError: If a shape is wrong or a row holds NaN or infinity.
        """
        with torch.inference_mode():
            rows = finite(shaped(features, self.head.dim), "features", self.device, 0)
            batch = calibrated(FeatureBatch({"features": rows}), self.calibrator, self.head)
            return batch.logits

    def predict(self, features: Rows, *, local: Rows | None = None) -> Predictions:
        """Scores, verdicts, classes and nearest training classes; see `score`.

        Raises:
            DataError: If a shape is wrong or a row holds NaN or infinity.
            MissingNeedError: If the method reads local features and none are given.
            NotFiniteScoresError: If a score is not finite.
        """
        with scoring_on(self.device), torch.inference_mode():
            parts = [self._predict(batch) for batch in self._batches(features, local, logits=True)]
            return joined(parts, self.rule)

    def promising(self, promise: Promise) -> "DeployedDetector":
        """The same detector, whose verdicts keep a promise instead of the threshold.

        Raises:
            MissingNeedError: If it has no calibration rows.
            ConfigError: If it has too few of them, or a class mix does not fit.
            DataError: If true classes are needed and not known.
        """
        if self.calibration is None:
            raise MissingNeedError(self._without_calibration())
        return replace(self, rule=make_rule(promise, self.calibration, self.description))

    def _without_calibration(self) -> str:
        """Why there are no calibration rows, and what to do."""
        split = self.description.get("threshold", {}).get("split")
        if "calibration" not in self.description:
            why = "was written by a version that kept no calibration rows"
        else:
            why = f"has no calibration rows, since a slot has learned from split {split}"
        return (
            f"the detector {why}, and fpr, fdr and sets rest on them; export the detector again "
            "with held-out ID rows (split val), or use its threshold."
        )

    def calibration_rows(
        self, features: Rows, labels: Rows | None = None, *, local: Rows | None = None
    ) -> CalibrationRows:
        """What the detector says about held-out ID rows, as `promising` needs it.

        Args:
            features: As for `score`.
            labels: True classes, [N]; -1 or no array where they are not known.
            local: As for `score`.

        Raises:
            DataError: If a shape is wrong, a row holds NaN or a label is not a class.
            MissingNeedError: If the method reads local features and none are given.
            NotFiniteScoresError: If a score is not finite.
        """
        known = self._known_labels(labels, len(shaped(features, self.head.dim)))
        parts = []
        with torch.inference_mode():
            for batch in self._batches(features, local, logits=True):
                own, logits = known[batch.ids], batch.logits
                columns = self._scores(batch), logits.argmax(dim=1), own, surprises(logits, own)
                parts.append(CalibrationRows(*columns))
        return CalibrationRows.of(parts)

    def _known_labels(self, labels: Rows | None, num: int) -> Tensor:
        """Labels of `num` rows, [num] int64; -1 where they are not known."""
        if labels is None:
            return torch.full((num,), -1, device=self.device)
        known = as_labels(labels).to(self.device)
        if len(known) != num or not ((known >= -1) & (known < self.head.num_classes)).all():
            raise DataError(
                f"there are {len(known)} labels for {num} rows, or one of them is not a class; "
                f"give one label for each row, 0 to {self.head.num_classes - 1}, or -1 where it "
                "is not known."
            )
        return known

    def _batches(
        self, features: Rows, local: Rows | None, *, logits: bool
    ) -> Iterator[FeatureBatch]:
        """Rows as the method sees them, converted and checked batch by batch; at least one."""
        rows, patches = shaped(features, self.head.dim), None
        if self.needs_local:
            patches = shaped_local(local, len(rows), self.description["method"]["name"])
        for start in range(0, len(rows), BATCH_ROWS) or range(1):
            stop = min(start + BATCH_ROWS, len(rows))
            arrays = {
                "features": finite(rows[start:stop], "features", self.device, start),
                "ids": torch.arange(start, stop, device=self.device),
            }
            if patches is not None:
                part = patches[start:stop]
                arrays["local"] = finite(part, "local features", self.device, start)
            yield calibrated(FeatureBatch(arrays), self.calibrator, self.head, logits=logits)

    def _predict(self, batch: FeatureBatch) -> Predictions:
        """Predictions for one batch, as far as they do not depend on other rows."""
        scores, classes = self._scores(batch), batch.logits.argmax(dim=1)
        nearest, similarities = self._nearest(batch.features)
        thresholds = scores.new_full((len(batch),), self.threshold, dtype=torch.float64)
        judged = (
            Judgement(None, scores > self.threshold, thresholds)
            if self.rule is None
            else self.rule.judge(scores, classes, batch.logits)
        )
        p_values = judged.p_values
        if self.rule is None and self.ranks is not None:
            p_values = self.ranks.p_values(scores)
        shares = batch.logits.softmax(dim=1).amax(dim=1) if self.has_head else None
        images = (None, None) if self.examples is None else self.examples.nearest(batch.features)
        return Predictions(
            scores,
            judged.is_ood,
            classes,
            nearest,
            similarities,
            judged.thresholds,
            p_values,
            judged.sets,
            self.method.explain(batch) if len(batch) else {},
            shares,
            *images,
        )

    def _scores(self, batch: FeatureBatch) -> Tensor:
        """Normalised scores of one batch, [n] float32; higher means more OOD."""
        if len(batch) == 0:
            return batch.features.new_zeros(0)
        scores = self.method._score(batch)
        if self.normaliser is not None:
            scores = self.normaliser._normalise(scores, batch)
        bad = ~torch.isfinite(scores)
        if bad.any():
            name = self.description["method"]["name"]
            rows = batch.ids[bad].tolist()
            raise NotFiniteScoresError(
                f"method {name} gave {len(rows)} scores that are not finite (rows "
                f"{listed(rows)}); such features lie far outside what the detector was fitted on. "
                "Check that they come from the same backbone.",
                rows,
            )
        return scores

    def _nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Most similar class means, [n, 3], and their cosines; equal ones in class order."""
        cosines = normalize(features, dim=1) @ normalize(self.class_means, dim=1).T
        # A class without training rows has no mean, so it is near to nothing.
        cosines = cosines.clamp(-1, 1).masked_fill(self.class_rows == 0, -torch.inf)
        columns = min(NUM_NEAREST, int((self.class_rows > 0).sum()))
        values, classes = cosines.topk(columns, dim=1)
        # Which of equal values `topk` takes, and in which order, is its own affair.
        tied = (cosines >= values[:, -1:]).sum(dim=1) > columns
        tied |= (values[:, 1:] == values[:, :-1]).any(dim=1)
        if tied.any():
            ranked = cosines[tied].sort(dim=1, descending=True, stable=True)
            classes[tied] = ranked.indices[:, :columns]
        return classes, values
