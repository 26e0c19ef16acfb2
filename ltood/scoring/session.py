"""A feature store opened for stage two: what is fitted on it, and its rows as batches."""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource
from ltood.core.building import NONE, EntrySpec, Slot, build_calibrator
from ltood.core.crew import ALONE, Crew
from ltood.core.entry import Entry
from ltood.core.errors import MissingNeedError, StoreError
from ltood.core.extras import extra_arrays, missing_extra, parted_extra
from ltood.core.head import ClassifierHead
from ltood.core.holding import HOLDS
from ltood.core.inputs import FitInputs, Need
from ltood.core.other_stores import parts_of
from ltood.core.registry import constant
from ltood.core.slots import Calibrator, Method, Normaliser, check_needs
from ltood.ops.calibrated import CalibratedSource, calibrated_head
from ltood.ops.statistics import class_statistics
from ltood.runtime.console import progress
from ltood.runtime.crew import crew_of
from ltood.runtime.devices import choose_device, scoring_on
from ltood.runtime.distributed import Ranks
from ltood.runtime.large import in_memory_bytes
from ltood.runtime.workspace import locate
from ltood.scoring.joining import JoinedSource, Others, joined
from ltood.scoring.sources import StoredSource
from ltood.store.adapted import with_adapted_head
from ltood.store.features import FeatureSplit, FeatureStore
from ltood.store.fitted import FittedEntry
from ltood.store.layout import AUX_SPLIT, VAL_SPLIT, VIEWS_SPLIT
from ltood.store.reading import SplitReader, StoreReader, head_remedy


class ScoringSession:
    """A feature store opened for stage two on one device, seen through an optional calibrator.

    Splits are opened once, and what methods learn from is computed once. Views through other
    calibrators share the opened splits.

    Attributes:
        store: Feature store.
        device: Where tensors live.
        calibrator: Fitted calibrator, or None.
        own_head: Classifier head, with its bias as the calibrator adjusts it; None where the
            store has none.
        crew: Processes that share the rows.
    """

    def __init__(
        self,
        store: StoreReader,
        stored_head: ClassifierHead | None,
        device: torch.device,
        calibrator: Calibrator | None = None,
        crew: Crew = ALONE,
    ) -> None:
        """See `store` through `calibrator`; use `open`."""
        self.store, self.device, self.calibrator, self.crew = store, device, calibrator, crew
        self.own_head = self._stored_head = stored_head
        if calibrator is not None and stored_head is not None:
            self.own_head = calibrated_head(stored_head, calibrator)
        self._splits: dict[str, SplitReader] = {}
        self._inputs: dict[str, FitInputs] = {}
        self._others: dict[str, ScoringSession] = {}

    @classmethod
    def open(
        cls,
        store: StoreReader,
        device: str = "auto",
        ranks: Ranks | None = None,
        *,
        shares_banks: bool = False,
    ) -> "ScoringSession":
        """Open the head on `device` ("auto", "cpu", "cuda", "cuda:1").

        Args:
            store: Feature store.
            device: Where to compute; ranks spread over the GPUs.
            ranks: This process among those that share the rows; alone if not given.
            shares_banks: Whether each of several holds a part of a bank of training rows.

        Raises:
            MissingNeedError: If neither a head nor training rows say what the classes are.
            ConfigError: If the device or the limit of arrays in memory is not one.
        """
        ranks = ranks or Ranks()
        chosen = choose_device(ranks.device_name(device))
        in_memory_bytes()  # A wrong setting is not the failure of whichever method asks for it.
        head = store.head_arrays()
        if not head and "train" not in store.splits:
            raise MissingNeedError(
                f"{store.path} has neither a head nor a split train (only "
                f"{', '.join(store.splits)}), and classes are predicted by the head or by the "
                "nearest class mean; extract or import one of the two."
            )
        stored = ClassifierHead.from_arrays(head, chosen) if head else None
        crew = crew_of(ranks, chosen, shares_banks=shares_banks)
        return cls(store, stored, chosen, crew=crew)

    def with_calibrator(self, calibrator: Calibrator | None) -> "ScoringSession":
        """The same store and its own head, seen through this calibrator alone."""
        seen = ScoringSession(self.store, self._stored_head, self.device, calibrator, self.crew)
        seen._splits, seen._others = self._splits, self._others
        return seen

    @cached_property
    def head(self) -> ClassifierHead:
        """The head that predicts classes: the own one, or that of the nearest class mean."""
        return _nearest_mean_head(self.inputs()) if self.own_head is None else self.own_head

    @cached_property
    def has_logits(self) -> bool:
        """Whether rows have logits: the head's or, where no calibrator is between, stored ones."""
        names = [name for name in self.store.splits if name != VIEWS_SPLIT]
        stored = all("logits" in self.store.split_spec(name)[0].arrays for name in names)
        return self.own_head is not None or (self.calibrator is None and stored)

    def meet(self) -> None:
        """Make what all processes make together, before each predicts rows of its own."""
        if not self.has_logits:
            self.crew.agreed(lambda: self.head)

    @property
    def predicts_from(self) -> str:
        """Array of a batch that `predict` reads."""
        return "logits" if self.has_logits else "features"

    def predict(self, batch: FeatureBatch) -> Tensor:
        """Predicted classes, [N], of rows as the calibrator shows them."""
        logits = batch.logits if self.has_logits else self.head.logits(batch.features)
        return logits.argmax(dim=1)

    def split(self, name: str) -> SplitReader:
        """One stored split, whose markers and checksums are read once.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        if name not in self._splits:
            self._splits[name] = self.store.split(name)
        return self._splits[name]

    def source(self, split: str) -> FeatureSource:
        """Rows of one split, as the calibrator shows them, and beside them those of other stores.

        Arrays of other stores are asked for by names such as "features@PATH".
        """
        rows = self.split(split)
        return JoinedSource(self.source_of(rows), Others(rows, self._source_beside))

    def source_of(self, split: SplitReader) -> FeatureSource:
        """Rows of a split, which may be of another store, as the calibrator shows them."""
        source = StoredSource(split, len(self.store.class_names), self.device)
        if self.calibrator is None:
            return source
        return CalibratedSource(source, self.calibrator, self.own_head)

    def beside(self, path: str) -> "ScoringSession":
        """Another feature store of the same classes, opened once for all views.

        Args:
            path: Path of the store, perhaps with the head to see it through; see
                `core/other_stores.py`.

        Raises:
            StoreError: If there is none, or its classes are others.
        """
        if path not in self._others:
            place, head = parts_of(path)
            opened = FeatureStore.open(locate(place))
            store = with_adapted_head(opened, None if head is None else locate(head))
            if store.class_names != self.store.class_names:
                raise StoreError(
                    f"{path} has other class names than {self.store.path}, or another order of "
                    "them; rows are joined by ids of the same data set."
                )
            other = ScoringSession.open(store, str(self.device))
            other.crew = self.crew
            self._others[path] = other
        return self._others[path]

    def _source_beside(self, path: str, own: SplitReader) -> FeatureSource:
        """Rows of a split as another store has them."""
        other = self.beside(path)
        if own.name not in other.store.splits:
            raise StoreError(
                f"{path} has no split {own.name} (only {', '.join(other.store.splits)}); extract "
                "the same splits into both stores."
            )
        split = other.store.split(own.name)
        assert isinstance(split, FeatureSplit)  # It was opened from a path.
        return other.source_of(joined(own, split, path))

    def inputs(self, train_split: str = "train") -> FitInputs:
        """Everything an entry may learn from; splits that the store lacks are None."""
        if train_split not in self._inputs:
            train, aux, val = (
                self.source(name) if name in self.store.splits else None
                for name in (train_split, AUX_SPLIT, VAL_SPLIT)
            )
            prior = self.store.prior()
            own = (train, aux, self.own_head, prior, val)
            self._inputs[train_split] = FitInputs(
                *own, lambda path: self.beside(path).inputs(), self.crew
            )
        return self._inputs[train_split]

    def check_needs(self, what: str, entry: Entry, train_split: str = "train") -> None:
        """Refuse an entry that needs what the store does not hold.

        Args:
            what: What the user called, such as "method knn".
            entry: The entry, not fitted.
            train_split: Split that it learns from.

        Raises:
            MissingNeedError: On the first need that is not met.
        """
        needs = entry.needs
        lacking = reads_logits(entry) and not self.has_logits
        if isinstance(entry, Calibrator):  # It changes logits by a method of its own.
            changes = type(entry)._adjust_logits is not Calibrator._adjust_logits
            lacking = changes and self.own_head is None
        if lacking:
            needs |= {Need.HEAD}
        for array in extra_arrays(entry.arrays):
            if self.calibrator is not None and parted_extra(array)[1] != "features":
                raise MissingNeedError(
                    f"{what} reads the extra array {array}, which no calibrator can show; choose "
                    "the calibrator none."
                )
            if not self.splits_with((array,)):
                raise missing_extra(what, array)
        inputs = self.inputs(train_split)
        remedies = {Need.HEAD: head_remedy(self.store), **self.store.remedies}
        check_needs(what, needs, inputs, self.has_local(), remedies)

    def splits_with(self, arrays: tuple[str, ...]) -> list[str]:
        """Splits of images whose rows hold all of some extra arrays; all where there are none.

        Raises:
            MissingNeedError: If a split test, val or of OOD images lacks one that another has.
        """
        wanted = extra_arrays(arrays)
        names = self.store.image_splits
        held = [n for n in names if all(a in self.split(n).arrays for a in wanted)]
        lacking = [n for n in names if n not in (*held, "train", AUX_SPLIT)]
        if held and lacking:
            raise missing_extra(f"split {lacking[0]}", wanted[0])
        return held

    def has_local(self) -> bool:
        """Whether every split holds local features."""
        specs = (self.store.split_spec(name)[0] for name in self.store.image_splits)
        return all("local" in spec.arrays for spec in specs)


def shares_banks(methods: Iterable[str]) -> bool:
    """Whether each of several processes may hold a part of the banks that methods compare with.

    A method that holds others scores them when it likes, and not in step with other processes.
    """
    return all(constant("methods", name, HOLDS) is None for name in methods)


def reads_logits(entry: Entry) -> bool:
    """Whether an entry reads what a head makes of features."""
    return bool({"logits", "aux_outputs"} & set(entry.arrays))


def _nearest_mean_head(inputs: FitInputs) -> ClassifierHead:
    """The linear head whose largest logit is that of the nearest class mean."""
    classes = class_statistics(inputs)
    means = classes.means
    bias = -means.square().sum(dim=1) / 2
    # A class without training rows has no mean and is never the nearest.
    bias[classes.counts == 0] = torch.finfo(torch.float32).min
    return ClassifierHead(means.float(), bias.float())


def fit_calibrator(session: ScoringSession, slot: Slot[Calibrator]) -> FittedEntry:
    """Fit a calibrator on the store.

    Returns:
        What it learned, as `restore_calibrator` takes it.

    Raises:
        MissingNeedError: If the store lacks what the calibrator learns from.
    """
    calibrator = slot.entry
    if slot.is_none:
        return FittedEntry(NONE.name, {}, session.store.fingerprint)
    inputs = session.inputs(calibrator.train_split)
    session.check_needs(f"calibrator {slot.name}", calibrator, calibrator.train_split)
    with scoring_on(session.device):
        session.crew.agreed(lambda: calibrator._fit(inputs))
    state = {name: tensor.detach().cpu().numpy() for name, tensor in calibrator.state().items()}
    fingerprint = session.store.fingerprint
    return FittedEntry(slot.name, slot.settings, fingerprint, calibrator.derived(), state)


def calibrate(
    session: ScoringSession, slot: Slot[Calibrator]
) -> tuple[ScoringSession, FittedEntry]:
    """Fit a calibrator and see the store through it; "none" leaves it as it is.

    Raises:
        MissingNeedError: If the store lacks what the calibrator learns from.
    """
    fitted = fit_calibrator(session, slot)
    return session.with_calibrator(None if slot.is_none else slot.entry), fitted


def restore_calibrator(session: ScoringSession, entry: FittedEntry) -> ScoringSession:
    """See the store through a calibrator that was fitted before; "none" leaves it as it is.

    Raises:
        StoreError: If the calibrator was fitted on another store.
    """
    if entry.name == NONE.name:
        return session.with_calibrator(None)
    if entry.features_fingerprint != session.store.fingerprint:
        raise StoreError(
            f"calibrator {entry.name} was fitted on features {entry.features_fingerprint[:12]} but "
            f"the store has {session.store.fingerprint[:12]}; run the calibrate stage again."
        )
    calibrator = build_calibrator(EntrySpec(entry.name, entry.settings)).entry
    tensors = {
        name: torch.tensor(values, device=session.device) for name, values in entry.state.items()
    }
    return session.with_calibrator(calibrator.restore(tensors))


def fit_method(session: ScoringSession, slot: Slot[Method]) -> Method:
    """Fit a method on the store.

    Raises:
        MissingNeedError: If the store lacks what the method needs.
    """
    session.check_needs(f"method {slot.name}", slot.entry)
    with scoring_on(session.device), progress(f"fit {slot.name}", None):
        return session.crew.agreed(lambda: slot.entry._fit(session.inputs()))


def fit_normaliser(session: ScoringSession, slot: Slot[Normaliser]) -> Normaliser:
    """Fit a normaliser on the store.

    Raises:
        MissingNeedError: If the store lacks what the normaliser needs.
    """
    session.check_needs(f"normaliser {slot.name}", slot.entry)
    with scoring_on(session.device):
        return session.crew.agreed(lambda: slot.entry._fit(session.inputs()))
