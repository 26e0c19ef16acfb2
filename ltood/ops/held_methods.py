"""Fitted methods that another entry holds, and what they share with others of their kind.

Who fits or scores the same method on the same inputs or the same batch finds it done: members of an
ensemble, candidates of a choice, and the rows of a comparison beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Ids, Labels, Scores
from ltood.core.beside import beside, rows_beside
from ltood.core.entry import Entry
from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.core.members import Member
from ltood.core.slots import Calibrator, Method, Normaliser, check_needs
from ltood.ops.calibrated import calibrated, calibrated_head, calibrated_inputs
from ltood.ops.pairs import read_together

E = TypeVar("E", bound=Entry[Any])

_OUTPUTS = frozenset({"logits", "aux_outputs"})


def _likeness(entry: Entry) -> tuple[object, ...]:
    """What decides what an entry learns from given inputs."""
    return ("fitted", type(entry), getattr(entry, "base", None), repr(entry.config))


def fitted(entry: E, inputs: FitInputs) -> E:
    """The entry fitted on `inputs`, or one of the same settings that was fitted on them before."""
    return inputs.cached(_likeness(entry), lambda: entry._fit(inputs))


def offer_fitted(entry: Entry, inputs: FitInputs) -> None:
    """Let `fitted` find an entry that was fitted on `inputs`."""
    inputs.cached(_likeness(entry), lambda: entry)


def raw_scores(method: Method, batch: FeatureBatch) -> Scores:
    """Scores of a fitted method, [N] float32, taken once for a batch."""
    return batch.cached(("scores", method), lambda: method._score(batch))


def offer_scores(method: Method, batch: FeatureBatch, scores: Scores) -> None:
    """Let `raw_scores` find what a method gave for a batch."""
    batch.cached(("scores", method), lambda: scores)


def inputs_beside(inputs: FitInputs, store: str) -> FitInputs:
    """Inputs of another store.

    Raises:
        MissingNeedError: If there are no stores.
    """
    if inputs.beside is None:
        raise MissingNeedError(
            f"a member sees rows of {store}; features in memory have no store beside them, so "
            "give the path of a feature store (ltood.open_features, ltood score)."
        )
    return inputs.beside(store)


class HeldMethod:
    """A method with a calibrator before it and a normaliser behind it, or without these.

    Attributes:
        method: Method, fitted or not.
        calibrator: Calibrator, or None.
        normaliser: Normaliser, or None.
        store: Feature store whose rows it sees; None for those of whoever holds it.
    """

    def __init__(self, member: Member, *, reads_logits: bool = False) -> None:
        """Build the entries of a member.

        Args:
            member: What a user writes of it.
            reads_logits: Whether its logits are read even if no entry of it does so.

        Raises:
            ConfigError: As `Member.build`.
        """
        slots = member.build()
        self.method: Method = slots.method.entry
        self.calibrator: Calibrator | None = (
            None if slots.calibrator.is_none else slots.calibrator.entry
        )
        self.normaliser: Normaliser | None = (
            None if slots.normaliser.is_none else slots.normaliser.entry
        )
        self.store, self._reads_logits = member.source, reads_logits
        self._head: ClassifierHead | None = None

    def _entries(self) -> dict[str, Entry]:
        """Its entries by slot."""
        slots = {
            "calibrator": self.calibrator,
            "method": self.method,
            "normaliser": self.normaliser,
        }
        return {name: entry for name, entry in slots.items() if entry is not None}

    @property
    def needs(self) -> frozenset[Need]:
        """What must be present to fit it; nothing of the own store where it sees another."""
        if self.store is not None:
            return frozenset()
        return self._own_needs()

    def _own_needs(self) -> frozenset[Need]:
        """What must be present in the store that it sees."""
        needs = frozenset[Need]().union(*(entry.needs for entry in self._entries().values()))
        return needs | ({Need.HEAD} if self.calibrator and self._reads() & _OUTPUTS else set())

    def _reads(self) -> frozenset[str]:
        """Arrays that method and normaliser read, as the calibrator shows them."""
        normaliser = self.normaliser.arrays if self.normaliser else ()
        logits = ("logits",) if self._reads_logits else ()
        return frozenset({*self.method.arrays, *normaliser, *logits})

    @property
    def arrays(self) -> frozenset[str]:
        """Arrays of a batch that it reads."""
        reads = self._reads()
        if self.calibrator is not None:
            reads = (reads - _OUTPUTS) | {"features"}
        if self.store is None:
            return reads
        return frozenset(beside(name, self.store) for name in reads)

    def fit(self, inputs: FitInputs) -> None:
        """Fit all entries, or take over what was fitted on the same inputs before.

        Raises:
            MissingNeedError: If something is missing that an entry learns from.
        """
        if self.store is not None:
            inputs = self._inputs_beside(inputs, self.store)
        seen = inputs
        if self.calibrator is not None:
            view = self.calibrator = fitted(self.calibrator, inputs)
            self._head = calibrated_head(inputs.head, view)
            seen = inputs.cached(("seen", view), lambda: calibrated_inputs(inputs, view))
        self.method = fitted(self.method, seen)
        if self.normaliser is not None:
            self.normaliser = fitted(self.normaliser, seen)

    def _inputs_beside(self, inputs: FitInputs, store: str) -> FitInputs:
        """Inputs of the other store.

        Raises:
            MissingNeedError: If there is none, or it lacks what an entry needs.
        """
        other = inputs_beside(inputs, store)
        needs = self._own_needs() | ({Need.HEAD} if self._reads() & _OUTPUTS else set())
        has_local = other.train is None or other.train.has_local
        check_needs(f"a member of {store}", frozenset(needs), other, has_local)
        return other

    def seen(self, batch: FeatureBatch) -> FeatureBatch:
        """Rows as the method sees them, made once for a batch."""
        view, store = self.calibrator, self.store
        if store is not None:
            raw, place = batch, store
            batch = raw.cached(("beside", place), lambda: rows_beside(raw, place))
        if view is None:
            return batch
        rows = batch
        logits = self._head is not None
        return batch.cached(
            ("seen", view), lambda: calibrated(rows, view, self._head, logits=logits)
        )

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        rows = self.seen(batch)
        scores = raw_scores(self.method, rows)
        return scores if self.normaliser is None else self.normaliser._normalise(scores, rows)

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Which held-out rows its entries have learned from, [N] bool; see `Entry`."""
        learned = self.method.learned_rows(ids, labels)
        for entry in self._entries().values():
            learned = learned | entry.learned_rows(ids, labels)
        return learned

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by slot and name, and the head where a calibrator hides the logits."""
        found = {
            f"{slot}.{name}": tensor
            for slot, entry in self._entries().items()
            for name, tensor in entry.state().items()
        }
        if self._head is not None:
            found |= {f"head.{name}": tensor for name, tensor in self._head.arrays().items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` of a member with the same settings gave."""
        for slot, entry in self._entries().items():
            entry.restore(under(slot, state))
        head = under("head", state)
        self._head = ClassifierHead(**head) if head else None

    def widths(self) -> dict[str, int]:
        """Last size of each array that it was fitted on, as far as its learned tensors say."""
        return {} if self.store else self.method._learned_widths()


def under(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one group, "group.name", by their own names."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def read_for_all(members: Iterable[HeldMethod], batch: FeatureBatch) -> None:
    """Take the products of a batch with each bank once for all fitted members."""
    held = list(members)
    views = {id(rows := member.seen(batch)): rows for member in held}
    for key, rows in views.items():
        read_together([one.method for one in held if id(one.seen(batch)) == key], rows)


def score_together(members: Iterable[HeldMethod], batch: FeatureBatch) -> Tensor:
    """Scores of fitted members, [K, N] float32, in one pass over each bank of rows they look at."""
    held = list(members)
    read_for_all(held, batch)
    return torch.stack([member.score(batch).float() for member in held])
