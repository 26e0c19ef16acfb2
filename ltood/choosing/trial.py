"""One draw: classes are held out, every candidate is fitted without them and tells them apart."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.choosing.candidates import Candidate, is_text
from ltood.choosing.heads import refitted, sliced
from ltood.choosing.held_classes import Draw
from ltood.choosing.kept_rows import KeptRows, with_outputs
from ltood.choosing.material import Material
from ltood.choosing.pseudo import Kind, outliers
from ltood.core.batches import BATCH_ROWS, FeatureBatch
from ltood.core.errors import DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.outcomes import Failed, attempt
from ltood.core.prior import ClassPrior
from ltood.metrics.auroc import auroc
from ltood.ops.held_methods import HeldMethod, read_for_all

#: Kinds of outliers beside those that are made: rows of the held-out classes, of a declared set.
HELD_OUT, DECLARED = "held_out", "declared"
#: Name of the ID rows among the sets that are scored.
_ID = "id"

#: Scores of one candidate by set, or why there are none.
_Scores = dict[str, NDArray[np.float32]] | Failed


@dataclass(frozen=True)
class Trial:
    """How one draw is made.

    Attributes:
        material: Rows.
        draw: Classes held out.
        kinds: Kinds of outliers that are made of ID rows.
        decay: Weight decay of the head that is fitted anew; None takes rows of the given one.
    """

    material: Material
    draw: Draw
    kinds: tuple[Kind, ...]
    decay: float | None

    @property
    def all_kinds(self) -> list[str]:
        """All kinds of outliers, in the order of results."""
        declared = [] if self.material.declared is None else [DECLARED]
        return [HELD_OUT, *self.kinds, *declared]

    def run(
        self, candidates: Sequence[Candidate], until: Callable[[], bool] | None = None
    ) -> list[list[float] | Failed]:
        """AUROC of each candidate on each of `all_kinds`, or why there is none.

        A kind of which the draw has no rows has NaN for every candidate: midpoints need two
        classes, and few held-out rows may all be of one.

        Args:
            candidates: Candidates in the order in which they are fitted.
            until: Whether to fit no more; asked after the second one and each that follows.

        Returns:
            One result for each candidate that was fitted.
        """
        inputs = self.inputs()
        # What a candidate has to warn of is for those who use it, not for those who try it.
        with warnings.catch_warnings(action="ignore"):
            return self._run(candidates, inputs, until)

    def _run(
        self, candidates: Sequence[Candidate], inputs: FitInputs, until: Callable[[], bool] | None
    ) -> list[list[float] | Failed]:
        detectors: list[HeldMethod | Failed] = []
        for candidate in candidates:
            detectors.append(attempt((), _fitted, candidate, inputs))
            if until is not None and len(detectors) >= 2 and until():
                break
        fitted = [detector for detector in detectors if isinstance(detector, HeldMethod)]
        if not fitted:
            return [detector for detector in detectors if isinstance(detector, Failed)]
        sets = self.sets(inputs.head, fitted)
        scored = iter(_scored(fitted, sets))
        return [
            detector if isinstance(detector, Failed) else _aurocs(next(scored), self.all_kinds)
            for detector in detectors
        ]

    def inputs(self) -> FitInputs:
        """What candidates learn from: rows, head and prior of the kept classes."""
        material, kept = self.material, torch.tensor(self.draw.kept)
        given = material.inputs
        head = self.head()
        prior = given.prior
        aux = given.aux
        return FitInputs(
            KeptRows(given.require_train(), kept, head),
            None if aux is None else KeptRows(aux, None, head, material.aux_to_learn),
            head,
            None if prior is None else ClassPrior(prior.counts[list(self.draw.kept)]),
            KeptRows(given.require_val(), kept, head, material.is_used),
        )

    def head(self) -> ClassifierHead | None:
        """Head of the kept classes; one of text is sliced, which is exact for it."""
        given, kept = self.material.inputs, torch.tensor(self.draw.kept)
        if given.head is None:
            return None
        head = sliced(given.head, kept)
        if self.decay is None or is_text(given):
            return head
        return refitted(head, KeptRows(given.require_train(), kept, head), self.decay)

    def sets(
        self, head: ClassifierHead | None, detectors: Sequence[HeldMethod]
    ) -> dict[str, FeatureBatch]:
        """ID rows from which no candidate has learned, and the outliers of each kind with rows.

        Raises:
            DataError: If no ID row is left.
        """
        material, kept = self.material, torch.tensor(self.draw.kept)
        is_kept = torch.isin(material.labels, kept.to(material.labels.device))
        unseen = material.is_used & is_kept & ~self._learned(is_kept, detectors)
        if not unseen.any():
            raise DataError(
                "the candidates have learned from all rows of val that the choice may use, so none "
                "is left to judge them by; hold more ID rows out of training."
            )
        arrays = ["features"]
        arrays += ["local"] * any("local" in detector.arrays for detector in detectors)
        known = material.rows_of(unseen, arrays)
        rows = {
            _ID: _only(known, arrays),
            HELD_OUT: _only(material.rows_of(material.is_used & ~is_kept, arrays), arrays),
        }
        rows |= {kind: outliers(kind, known, self._seed) for kind in self.kinds}
        declared = material.declared_rows(arrays)
        if declared is not None:
            rows[DECLARED] = _only(declared, arrays)
        return {
            name: with_outputs(tensors, head)
            for name, tensors in rows.items()
            if len(tensors["features"])
        }

    @property
    def _seed(self) -> int:
        """Seed of the outliers of this draw."""
        return self.material.seed + self.draw.number

    def _learned(self, is_kept: Tensor, detectors: Sequence[HeldMethod]) -> Tensor:
        """Which rows of val some candidate has learned from, [N] bool."""
        material = self.material
        chosen = material.is_used & is_kept
        ids, labels = material.ids[chosen], material.labels[chosen]
        labels = torch.searchsorted(torch.tensor(self.draw.kept, device=labels.device), labels)
        learned = torch.zeros_like(chosen)
        for detector in detectors:
            learned[chosen] |= detector.learned_rows(ids, labels)
        return learned


def _only(rows: FeatureBatch, arrays: Sequence[str]) -> dict[str, Tensor]:
    """Some arrays of a batch."""
    return {
        name: tensor
        for name, tensor in rows.arrays.items()
        if tensor is not None and name in arrays
    }


def _fitted(candidate: Candidate, inputs: FitInputs) -> HeldMethod:
    detector = HeldMethod(candidate)
    detector.fit(inputs)
    return detector


@torch.inference_mode()
def _scored(detectors: Sequence[HeldMethod], sets: Mapping[str, FeatureBatch]) -> list[_Scores]:
    """Scores of all detectors, set by set; each batch is read once for all of them."""
    found: list[_Scores] = [{} for _ in detectors]
    for name, rows in sets.items():
        parts: list[list[NDArray[np.float32]]] = [[] for _ in detectors]
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows.slice(start, start + BATCH_ROWS)
            # Where one of them fails, each reads alone below, and the one at fault fails alone.
            attempt((), read_for_all, detectors, batch)
            for place, detector in enumerate(detectors):
                scores = attempt((), _score, detector, batch)
                if isinstance(scores, Failed):
                    found[place] = scores
                else:
                    parts[place].append(scores)
        for scored, pieces in zip(found, parts, strict=True):
            if not isinstance(scored, Failed):
                scored[name] = np.concatenate(pieces)
    return found


def _score(detector: HeldMethod, batch: FeatureBatch) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = detector.score(batch).float().cpu().numpy()
    return scores


def _aurocs(scores: _Scores, kinds: Sequence[str]) -> list[float] | Failed:
    """AUROC of the ID rows against each kind, NaN where a kind has no rows."""
    if isinstance(scores, Failed):
        return scores

    def measure() -> list[float]:
        return [auroc(scores[_ID], scores[kind]) if kind in scores else math.nan for kind in kinds]

    return attempt((), measure)
