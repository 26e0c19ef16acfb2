"""A feature store opened for stage two: what is fitted on it, and its rows as batches."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from ltood.core.batches import FitInputs
from ltood.core.errors import StoreError
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator, Detector, check_needs
from ltood.runtime.console import progress
from ltood.runtime.devices import choose_device
from ltood.scoring.slots import NONE, Choice, build_calibrator, build_method
from ltood.scoring.sources import StoredSource
from ltood.store.features import FeatureStore
from ltood.store.fitted import FittedEntry


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
