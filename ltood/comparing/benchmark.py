"""Time methods on this machine for features of a given size.

Features are drawn around one random centre for each class, the head is that of the nearest
centre. Every method is fitted and scores by itself, so that its time is its own; `ltood compare`
shares among methods and takes less.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ltood.core import registry
from ltood.core.batches import BATCH_ROWS, FeatureBatch
from ltood.core.errors import ConfigError, LtoodError, MissingNeedError
from ltood.core.extras import extra_name
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.slots import Method, check_needs
from ltood.core.streams import StreamMethod
from ltood.runtime.devices import choose_device, scoring_on

#: Most numbers of all features and logits; beyond it is a slip of the keyboard.
MOST_NUMBERS = 2**33
#: Negative labels of each class; NegLabel has 10,499 for ImageNet's 1,000.
_NEGATIVES = 10
#: Places of a feature map; networks for CIFAR have 16 to 64, those for ImageNet 49.
_PLACES = 49


@dataclass(frozen=True)
class Shape:
    """Sizes of the features.

    Attributes:
        rows: Training rows N.
        dim: Feature width D.
        classes: Classes C.
        test_rows: Rows to score.
        patches: Local features of each row P; 0 leaves out the methods that read them.
        seed: Of the draws.
    """

    rows: int = 50_000
    dim: int = 512
    classes: int = 100
    test_rows: int = 20_000
    patches: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name, least in {
            "rows": 1,
            "dim": 1,
            "classes": 2,
            "test_rows": 1,
            "patches": 0,
        }.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name.replace('_', ' ')} is {getattr(self, name)}; it must be {least} or "
                    "more."
                )
        numbers = (self.rows + self.test_rows) * (self.dim * (1 + self.patches) + self.classes)
        if numbers > MOST_NUMBERS:
            raise ConfigError(
                f"features and logits of that size are {numbers:,} numbers; at most "
                f"{MOST_NUMBERS:,} (32 GiB). Choose fewer rows, columns or classes."
            )
        if self.rows < self.classes:
            raise ConfigError(
                f"there are {self.rows} rows for {self.classes} classes; each needs one or more."
            )


@dataclass(frozen=True)
class MethodTiming:
    """Timing of one method.

    Attributes:
        method: Its name.
        status: "ok", "left out" where it needs what random features lack, or "failed".
        fit_seconds: Wall seconds of learning.
        score_seconds: Wall seconds of scoring all test rows.
        reason: Why it was left out or failed, or empty.
    """

    method: str
    status: Literal["ok", "left out", "failed"]
    fit_seconds: float = 0.0
    score_seconds: float = 0.0
    reason: str = ""


def bench(
    methods: Sequence[str], shape: Shape | None = None, device: str = "auto"
) -> Iterator[MethodTiming]:
    """Fit and score methods with their default settings, one after the other.

    Args:
        methods: Their names.
        shape: Sizes of the features.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Yields:
        One row for each method as soon as it is done.

    Raises:
        UnknownNameError: If there is no such method.
        ConfigError: If the device is wrong.
    """
    shape, chosen = shape or Shape(), choose_device(device)
    built: list[tuple[str, Method]] = [
        (name, registry.load("methods", name).Entry()) for name in methods
    ]
    data = _Data(shape, chosen)
    for name, detector in built:
        try:
            with scoring_on(chosen):
                timing = _timed(name, detector, data)
            yield timing
        except MissingNeedError as error:
            yield MethodTiming(name, "left out", reason=str(error))
        except (LtoodError, ArithmeticError, RuntimeError) as error:
            yield MethodTiming(name, "failed", reason=" ".join(str(error).split())[:200])


class _Data:
    """Random features with their head."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(shape.seed)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator)

        centres = normal(shape.classes, shape.dim)
        self.labels = torch.arange(shape.rows) % shape.classes
        train = (centres[self.labels] + normal(shape.rows, shape.dim)).clamp_(min=0)
        own = torch.arange(shape.test_rows) % shape.classes
        test = (centres[own] + normal(shape.test_rows, shape.dim)).clamp_(min=0)
        weight = (centres - centres.mean(0)) / shape.dim**0.5
        self.head = ClassifierHead(
            weight.to(device),
            (-(weight * centres).sum(1) / 2).to(device),
            bn_weight=torch.ones(shape.dim, device=device),
            bn_bias=torch.full((shape.dim,), 0.5, device=device),
            # A detector node and a class of outliers.
            extra_weight=(-weight.mean(0, keepdim=True)).repeat(2, 1).to(device),
            extra_bias=torch.zeros(2, device=device),
            outlier_classes=torch.tensor(1.0, device=device),
            negative_weight=normal(_NEGATIVES * shape.classes, shape.dim).to(device),
            no_weight=(-weight).to(device),
        )
        self.local: Tensor | None = None
        if shape.patches:
            # One block serves for all batches: patches of all rows would fill the memory.
            block = normal(min(shape.test_rows, BATCH_ROWS), shape.patches, shape.dim)
            self.local = block.half().to(device)
        self.train, self.labels, self.test = (
            train.to(device),
            self.labels.to(device),
            test.to(device),
        )
        self.train_logits = self.head.logits(self.train)
        self.device = device

    def batches(self) -> Iterator[FeatureBatch]:
        """Test rows as read from a store, logits included."""
        for rows in torch.split(self.test, BATCH_ROWS):
            local = None if self.local is None else self.local[: len(rows)]
            yield FeatureBatch.of(
                rows, self.head.logits(rows), local=local, extras=_extras(rows), head=self.head
            )

    def finish(self) -> float:
        """The time, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _extras(rows: Tensor) -> dict[str, Tensor]:
    """Extra arrays, as far as times go: features of the images, also as maps and as a layer."""
    moved = dict.fromkeys((extra_name(group, "features") for group in ("odin", "adascale")), rows)
    maps = rows[:, None].expand(-1, _PLACES, -1)
    return {**moved, "maps/features": maps, **_layers(rows)}


def _layers(rows: Tensor) -> dict[str, Tensor]:
    """Features as the only layer, [N, 1, D], and as its row sums of one order, [N, 1, 1, D]."""
    return {
        extra_name("layers", "means"): rows[:, None],
        extra_name("gram", "sums"): rows[:, None, None],
    }


@torch.no_grad()
def _timed(name: str, detector: Method, data: _Data) -> MethodTiming:
    # Nothing that another method found is at hand.
    seen = data.train[:BATCH_ROWS]  # As good as held-out rows, as far as times go.
    inputs = FitInputs.of(
        FeatureBatch.of(
            data.train,
            data.train_logits,
            labels=data.labels,
            extras=_layers(data.train),
            head=data.head,
        ),
        head=data.head,
        val=FeatureBatch.of(
            seen, labels=data.labels[:BATCH_ROWS], extras=_extras(seen), head=data.head
        ),
    )
    if "local" in detector.arrays and data.local is None:
        raise MissingNeedError("it reads local features; add some with --patches 196.")
    check_needs(f"method {name}", detector.needs, inputs, has_local=data.local is not None)
    start = data.finish()
    detector._fit(inputs)
    fitted = data.finish() - start
    scored = 0.0
    # Each batch is a stream of its own: nothing else has a meaning for random rows.
    score = detector.score if isinstance(detector, StreamMethod) else detector._score
    for batch in data.batches():
        start = data.finish()
        score(batch)
        scored += data.finish() - start
    return MethodTiming(name, "ok", fitted, scored)
