"""A feature store opened for stage two: what is fitted on it, and its rows as batches."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from ltood.core.batches import FitInputs
from ltood.core.errors import StoreError
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator, Method, check_needs
from ltood.runtime.console import progress
from ltood.runtime.devices import choose_device
from ltood.scoring.slots import NONE, EntrySpec, build_calibrator, build_method
from ltood.scoring.sources import StoredSource
from ltood.store.features import FeatureStore
from ltood.store.fitted import FittedEntry


@dataclass(frozen=True)
class ScoringSession:
    """A feature store opened for stage two on one device, with an optional calibrator."""

    store: FeatureStore
    head: ClassifierHead
    device: torch.device
    calibrator: Calibrator | None = None

    @classmethod
    def open(cls, store: FeatureStore, device: str = "auto") -> "ScoringSession":
        """Open the head on `device` ("auto", "cpu", "cuda", "cuda:1")."""
        chosen = choose_device(device)
        return cls(store, ClassifierHead.from_arrays(store.head_arrays(), chosen), chosen)

    def with_calibrator(self, calibrator: Calibrator | None) -> "ScoringSession":
        """The same store, and its head, seen through a fitted calibrator."""
        # From the stored head, so that a second calibrator never adds to a first.
        head = ClassifierHead.from_arrays(self.store.head_arrays(), self.device)
        if calibrator is not None:
            head = replace(head, bias=calibrator._adjust_logits(head.bias))
        return ScoringSession(self.store, head, self.device, calibrator)

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


def fit_calibrator(session: ScoringSession, spec: EntrySpec) -> FittedEntry:
    """Fit a calibrator on the store.

    Raises:
        MissingNeedError: If the store lacks what the calibrator learns from.
    """
    calibrator, settings = build_calibrator(spec)
    inputs = session.inputs(calibrator.train_split)
    check_needs(f"calibrator {spec.name}", calibrator.needs, inputs, session.has_local())
    calibrator._fit(inputs)
    state = {name: tensor.detach().cpu().numpy() for name, tensor in calibrator.state().items()}
    return FittedEntry(spec.name, settings, session.store.fingerprint, calibrator.derived(), state)


def restore_calibrator(session: ScoringSession, entry: FittedEntry) -> ScoringSession:
    """See the store through a fitted calibrator; "none" leaves it as it is.

    Raises:
        StoreError: If the calibrator was fitted on another store.
    """
    if entry.name == NONE.name:
        return session.with_calibrator(None)
    if entry.features != session.store.fingerprint:
        raise StoreError(
            f"calibrator {entry.name} was fitted on features {entry.features[:12]} but the store "
            f"has {session.store.fingerprint[:12]}; run the calibrate stage again."
        )
    calibrator, _ = build_calibrator(EntrySpec(entry.name, entry.settings))
    tensors = {
        name: torch.tensor(values, device=session.device) for name, values in entry.state.items()
    }
    return session.with_calibrator(calibrator.restore(tensors))


def fit_method(session: ScoringSession, spec: EntrySpec) -> tuple[Method, dict[str, Any]]:
    """Build a method and fit it on the store.

    Returns:
        The fitted detector and its complete settings.

    Raises:
        MissingNeedError: If the store lacks what the method needs.
    """
    detector, settings = build_method(spec)
    inputs = session.inputs()
    check_needs(f"method {spec.name}", detector.needs, inputs, session.has_local())
    with progress(f"fit {spec.name}", None):
        detector._fit(inputs)
    return detector, settings
