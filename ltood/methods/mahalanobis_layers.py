"""Mahalanobis distances in several layers, each measured in the spread of held-out rows.

Source: Lee, Lee, Lee and Shin, "A Simple Unified Framework for Detecting Out-of-Distribution
Samples and Adversarial Attacks", NeurIPS 2018 (arXiv:1807.03888), section 2.2 and algorithm 1;
code https://github.com/pokaxpoka/deep_Mahalanobis_detector. Extraction computes the means of the
feature maps of the layers that extraction.layers names, the extra array layers/means.

Departures: layers are combined without OOD images, by the mean of their distances in standard
deviations of ID rows held out of training, where the paper fits a logistic regression on OOD
or adversarial images; images are not moved; classes without training rows are left out; layers
whose distances do not vary among the held-out rows are measured from their mean alone.

Formula:
    d_l = min_c (f_l - m_lc)' S_l^+ (f_l - m_lc), f_l means over places of the maps of layer l
    score = mean over l of (d_l - a_l) / s_l, a_l and s_l mean and deviation of d_l over val
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, Scores, WrappedSource
from ltood.core.crew import ALONE, Crew, Part, Seen, numbered_batches
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.gaussian import GaussianConfig, mahalanobis, tied_gaussian, triangular_whitening

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("layers",)

_MEANS = "layers/means"

#: Deviations below this share of the largest distance are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Config(GaussianConfig):
    """Settings of the Mahalanobis distances, as `GaussianConfig` describes them.

    They hold for each layer by itself.
    """


class MahalanobisLayers(Method[Config]):
    """Scores rows by the mean of their standardised distances in several layers."""

    needs: frozenset[Need] = frozenset({Need.TRAIN, Need.VAL})
    arrays: tuple[str, ...] = (_MEANS,)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn a whitening map and class means of each layer, then the spread of distances."""
        source, held_out = inputs.require_train(), inputs.require_val()
        crew = inputs.crew
        used = used_columns(source, crew)
        layers = [self._layer(source, layer, columns, crew) for layer, columns in enumerate(used)]
        # Zeros behind a map and its means add nothing to a distance.
        size = used.shape[1]
        self.widths_ = torch.tensor([len(whitening) for whitening, _ in layers], device=used.device)
        self.whitening_ = torch.stack([_padded(whitening, size, size) for whitening, _ in layers])
        self.means_ = torch.stack([_padded(means, len(means), size) for _, means in layers])

        def of_own() -> Seen:
            parts = [self._distances(batch) for batch in crew.batches(held_out, self.arrays)]
            return (torch.cat(parts),) if parts else None

        seen = crew.joined(of_own)
        if seen is None:
            raise DataError("the held-out split has no rows; a method cannot learn from it.")
        (distances,) = seen
        centre = distances.mean(dim=0)
        spread = (distances - centre).square().mean(dim=0).sqrt()
        # What rounding leaves of equal distances cannot serve as a unit.
        varies = spread > _ROUNDING * distances.abs().amax(dim=0)
        self.centre_, self.spread_ = centre, torch.where(varies, spread, 1.0)
        return self

    def _layer(
        self, source: FeatureSource, layer: int, columns: Tensor, crew: Crew
    ) -> tuple[Tensor, Tensor]:
        """Whitening map, [w, r], and whitened means of the classes with rows, [K, r]."""
        width = int(columns.nonzero().amax()) + 1 if columns.any() else 1
        inputs = FitInputs(train=LayerSource(source, layer, width), crew=crew)
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        whitening = triangular_whitening(model.covariance, self.config.ridge)
        return whitening, model.classes.means[model.classes.present] @ whitening

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        centre, spread = self.learned("centre_"), self.learned("spread_")
        return ((self._distances(batch) - centre) / spread).mean(dim=1).float()

    def _distances(self, batch: FeatureBatch) -> Tensor:
        """Squared distance to the nearest class mean in each layer, [N, L] float64."""
        rows, maps, means = batch.extra(_MEANS), self.learned("whitening_"), self.learned("means_")
        num, size = maps.shape[:2]
        if rows.shape[1:] != (num, size):
            raise DataError(
                f"{_MEANS} of shape {list(rows.shape)} have {rows.shape[-1]} columns but "
                f"{type(self).__name__} was fitted on {size}, of {num} layers; fit and score rows "
                "of the same layers of the same network."
            )
        found = []
        for layer, width in enumerate(self.learned("widths_").tolist()):
            features = rows[:, layer, :width]
            if self.config.normalise:
                features = normalize(features.double(), dim=1)
            whitening = maps[layer, :width, :width].contiguous()
            found.append(mahalanobis(features, whitening, means[layer, :, :width].contiguous()))
        return torch.stack(found, dim=1)

    def learned_rows(self, ids: Tensor, labels: Tensor) -> Tensor:
        """All held-out rows: their distances are the unit of the score."""
        del labels
        return torch.ones_like(ids, dtype=torch.bool)


class LayerSource(WrappedSource):
    """Rows of one layer, as features."""

    def __init__(self, source: FeatureSource, layer: int, width: int) -> None:
        """Take rows with the array layers/means, the place of the layer, and its width."""
        super().__init__(source)
        self._layer, self._width = layer, width

    @property
    def dim(self) -> int:
        """Width of the layer."""
        return self._width

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding features and labels."""
        del arrays
        for batch in self._source.batches(rows, (_MEANS, "labels")):
            yield self._shown(batch)

    def numbered(
        self, part: Part, rows: int, arrays: Sequence[str]
    ) -> Iterator[tuple[int, FeatureBatch]]:
        """Yield the batches of a part, each with its first row; see `PartedSource`."""
        del arrays
        for start, batch in numbered_batches(self._source, part, (_MEANS, "labels"), rows):
            yield start, self._shown(batch)

    def _shown(self, batch: FeatureBatch) -> FeatureBatch:
        features = batch.extra(_MEANS)[:, self._layer, : self._width]
        return FeatureBatch({"features": features, "labels": batch.labels})


def used_columns(source: FeatureSource, crew: Crew = ALONE) -> Tensor:
    """Which columns of each layer hold anything but zeros, [L, W] bool.

    Args:
        source: Rows with means of layers.
        crew: Processes that share them.

    Raises:
        DataError: If there are no rows, or the array has another form.
    """
    seen = crew.joined(lambda: _used_by_own(source, crew))
    if seen is None:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    return seen[0].any(dim=0)


def _used_by_own(source: FeatureSource, crew: Crew) -> Seen:
    """The same of the rows that this process reads, [1, L, W]."""
    used = None
    for batch in crew.batches(source, (_MEANS, "labels")):
        rows = batch.extra(_MEANS)
        if rows.ndim != 3:
            raise DataError(
                f"{_MEANS} has the shape {list(rows.shape)}; it must be [N, layers, width]."
            )
        own = (rows != 0).any(dim=0)
        used = own if used is None else used | own
    return None if used is None else (used[None],)


def _padded(values: Tensor, rows: int, columns: int) -> Tensor:
    """A matrix with zeros behind its rows and columns, [rows, columns]."""
    return pad(values, (0, columns - values.shape[1], 0, rows - values.shape[0]))


Entry = MahalanobisLayers
