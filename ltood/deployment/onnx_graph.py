"""What an ONNX file computes: pixels to features, logits, score and verdict, as one module.

Rows are judged one by one, and all rows at once by `torch.vmap`, so that the number of rows stays
open. A method may decide by its numbers how it computes them (`if x.any():`), which a graph cannot.
So it is watched on a few rows first: where it decides alike for all of them, the graph goes that
way, and a row that would have gone another one gets the score NaN and is called OOD.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ltood.core.batches import FeatureBatch
from ltood.core.errors import LtoodError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.onnx_ops import REPLACED
from ltood.deployment.pooling import as_stored, recorded_pooling
from ltood.networks.backbone import Backbone
from ltood.ops.calibrated import calibrated
from ltood.ops.graphs import writing

#: Names of what the graph takes and gives; the last two may be left out.
INPUT, OUTPUTS = "images", ("features", "logits", "class", "score", "is_ood")
_WITHOUT_SCORES = 3

#: What leads from tensors to Python values.
_LEAVES: Mapping[Any, str] = {
    getattr(Tensor, name): name
    for name in ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy")
}

Left = tuple[str, Any]


class NotTraceableError(LtoodError):
    """A detector whose score cannot be written as one graph; says why."""


class _Watch(TorchFunctionMode):
    """Notes the Python values that are made of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Left] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call `func`, and note what it gives if that is a Python value."""
        found = func(*args, **(kwargs or {}))
        if func in _LEAVES:
            self.seen.append((_LEAVES[func], found))
        return found


class _Replay(TorchFunctionMode):
    """Gives the values that were noted before, and checks on each row that they are right."""

    def __init__(self, seen: Sequence[Left]) -> None:
        super().__init__()
        self._next: Iterator[Left] = iter(seen)
        self.checks: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call `func`, or give the noted value in its place."""
        if func not in _LEAVES:
            return REPLACED.get(func, func)(*args, **(kwargs or {}))
        name, value = next(self._next, ("", None))
        if name != _LEAVES[func]:
            raise NotTraceableError("it takes another way than it did before.")
        tensor: Tensor = args[0]
        wanted = torch.as_tensor(value, dtype=tensor.dtype)
        self.checks.append((tensor == wanted).all())
        return value


class Judge(nn.Module):
    """A network with a detector behind it, from pixels [N, H, W, C] uint8 to verdicts.

    Computes what `Embedder.features` and `DeployedDetector` compute, in float32.
    """

    def __init__(self, backbone: Backbone, dtype: torch.dtype, detector: DeployedDetector) -> None:
        """Join both; the graph has no score until `watch` was called.

        Args:
            backbone: In evaluation mode, on the CPU.
            dtype: Number format in which features were stored.
            detector: The detector, on the CPU.
        """
        super().__init__()
        self._backbone, self._dtype, self._detector = backbone, dtype, detector
        self._pooling = recorded_pooling(detector.description["provenance"])
        self._left: list[Left] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs in their order."""
        return OUTPUTS if self.has_scores else OUTPUTS[:_WITHOUT_SCORES]

    @property
    def has_scores(self) -> bool:
        """Whether the graph holds the score."""
        return self._left is not None

    def forget(self) -> None:
        """Leave the score out again."""
        self._left = None

    def detector_bytes(self) -> int:
        """Size of what the graph holds of the detector."""
        slots = (self._detector.method, self._detector.calibrator, self._detector.normaliser)
        states = [slot.state() for slot in slots if slot is not None] if self.has_scores else []
        tensors = [*self._detector.head.arrays().values(), *(t for s in states for t in s.values())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def watch(self, pooled: Tensor, local: Tensor | None) -> None:
        """See how the score of a few rows is computed, for a graph that holds it.

        Args:
            pooled: Features, [N, D].
            local: Local features, [N, P, D], or None.

        Raises:
            NotTraceableError: If rows are scored in different ways.
        """
        found: list[list[Left]] = []
        for row in range(-1, len(pooled)):  # The first one fills what is kept from row to row.
            own = slice(max(row, 0), max(row, 0) + 1)
            with torch.inference_mode(), writing(), _Watch() as watched:
                self._score(self._batch(pooled[own], None if local is None else local[own]))
            found.append(watched.seen)
        if any(_plain(seen) != _plain(found[1]) for seen in found[2:]):
            raise NotTraceableError(
                "it computes scores in ways that depend on the row, which a graph cannot."
            )
        self._left = found[1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features [N, D], logits [N, C], class [N]; score [N] and is_ood [N] where watched."""
        scaled = images.permute(0, 3, 1, 2).float() / 255
        means, local = self._backbone.embed(scaled)
        # Rounded as the stored features were, so that equal images get equal scores.
        pooled = as_stored(means, lambda: self._maps(scaled), self._pooling, self._dtype)
        return self.judge(pooled, None if local is None else local.half().float())

    def _maps(self, scaled: Tensor) -> Tensor:
        """The last feature map, whose mean `Embedder.features` has compared with the features."""
        maps = self._backbone.feature_maps(scaled)
        assert maps is not None
        return maps

    def judge(self, pooled: Tensor, local: Tensor | None) -> tuple[Tensor, ...]:
        """What `forward` gives, from features [N, D] and local features [N, P, D] or None."""
        if local is None or not self._detector.needs_local:
            return (pooled, *torch.vmap(lambda row: self._row(row, None))(pooled))
        return (pooled, *torch.vmap(self._row)(pooled, local))

    def _row(self, pooled: Tensor, local: Tensor | None) -> tuple[Tensor, ...]:
        """Outputs but features for one row, [D] and [P, D]."""
        batch = self._batch(pooled[None], None if local is None else local[None])
        logits = batch.logits[0]
        found = (logits, logits.argmax(dim=0))
        if self._left is None:
            return found
        with writing(), _Replay(self._left) as replayed:
            score = self._score(batch)[0]
        for check in replayed.checks:
            score = torch.where(check, score, torch.nan)
        return (*found, score, ~(score <= self._detector.threshold))

    def _batch(self, pooled: Tensor, local: Tensor | None) -> FeatureBatch:
        arrays = {"features": pooled}
        if local is not None:
            arrays["local"] = local
        return calibrated(FeatureBatch(arrays), self._detector.calibrator, self._detector.head)

    def _score(self, batch: FeatureBatch) -> Tensor:
        """Normalised scores of a batch, [n] float32."""
        score = self._detector.method._score(batch)
        if self._detector.normaliser is not None:
            score = self._detector.normaliser._normalise(score, batch)
        return score


def _plain(seen: Sequence[Left]) -> list[tuple[str, str]]:
    """Noted values in a form that compares whole arrays."""
    return [(n, repr(v.tolist() if isinstance(v, np.ndarray) else v)) for n, v in seen]
