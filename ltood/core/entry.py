"""Base of all entries of stage two: settings, learned tensors and a public `fit`.

No entry sees an image, a model, a path, a device name or `params.yaml`. What an entry learns in
`fit` it keeps in tensor attributes whose names end in an underscore, so that a fitted entry can
be saved and restored as plain arrays.

Each entry has two faces. Its core, `_fit` and its kin, works on `FitInputs` and `FeatureBatch`:
entries implement it and drivers call it. Its public face takes tensors, NumPy arrays and lists,
checks them, and is the same for all entries.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, get_args

import torch
from torch import Tensor

from ltood.core.arrays import Rows, as_tensor, check_finite, like
from ltood.core.batches import FeatureBatch, Ids, Labels, TensorSource
from ltood.core.errors import ConfigError, DataError, NotFittedError
from ltood.core.head import ClassifierHead, Head
from ltood.core.inputs import FitInputs, Need
from ltood.core.prior import Counts
from ltood.core.settings import parse, to_section

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    C = TypeVar("C", default=Any)  # `Method` is then a method with any settings.
else:
    from typing import TypeVar

    C = TypeVar("C")


class Entry(Generic[C]):
    """A calibrator, method or normaliser, written as `class KNN(Method[Config])`.

    Attributes:
        config: Settings.
        Config: Class of the settings.
        arrays: Arrays of a batch that the entry reads; others are not loaded.
        needs: What must be present to fit; the driver checks it before reading anything.
            `_configure` may narrow it to what the settings need.
        may_read: What fit also learns from where it is there, and does without otherwise.
        dim_axis: Learned tensor and its axis that is as long as features are wide, D; such as
            that of the head's weight, [C, D]. Where there is no such tensor nothing is known.
        classes_axis: The same for the number of classes, C.
    """

    config: C
    Config: ClassVar[type[Any]]
    needs: frozenset[Need] = frozenset()
    may_read: frozenset[Need] = frozenset()
    arrays: tuple[str, ...] = ()
    dim_axis: tuple[str, int] = ("weight_", 1)
    classes_axis: tuple[str, int] = ("weight_", 0)

    _head: ClassifierHead | None = None
    _widths: Mapping[str, int] = {}

    def __init_subclass__(cls) -> None:
        """Find the class of the settings in `Method[Config]`."""
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            for config in get_args(base):
                if isinstance(config, type):
                    cls.Config = config

    def __init__(self, config: C | None = None, /, **settings: Any) -> None:  # noqa: ANN401
        """Take the settings, as a `Config` or by name: `KNN(k=50)`; none are all defaults.

        Raises:
            ConfigError: On an unknown setting, a wrong type or a value out of range.
        """
        name, by_name = type(self).__name__, config is None
        if config is None:
            config = parse(settings, self.Config, f"{name}:")
        elif settings:
            raise ConfigError(f"{name} takes a Config or settings by name; give one of the two.")
        elif not isinstance(config, self.Config):
            raise ConfigError(
                f"{name} got a {type(config).__name__} of {type(config).__module__}; give the "
                f"Config of {self.Config.__module__}, or settings by name."
            )
        self.config = config
        with self._in_own_words() if by_name else nullcontext():
            self._configure()

    @classmethod
    def _own_words(cls, message: str) -> str:
        """A message with settings as callers in Python name them: "KNN: k", not "methods.knn.k"."""
        where = f"{cls.Config.section}."
        return message.replace(where, f"{cls.__name__}: ", 1).replace(where, "")

    @classmethod
    @contextmanager
    def _in_own_words(cls) -> Iterator[None]:
        """Raise errors of settings in `_own_words`, not in those of `params.yaml`."""
        try:
            yield
        except ConfigError as error:
            if (text := cls._own_words(str(error))) == str(error):
                raise
            raise ConfigError(text) from None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name, for scikit-learn.

        Args:
            deep: Makes no difference; settings hold no other entries.
        """
        del deep
        return {field.name: getattr(self.config, field.name) for field in fields(self.Config)}

    def set_params(self, **settings: Any) -> Self:  # noqa: ANN401
        """Change settings by name, and forget what was learned with the old ones.

        Raises:
            ConfigError: On an unknown setting, a wrong type or a value out of range; nothing is
                changed then.
        """
        changed = type(self)(**{**self.get_params(), **settings})
        vars(self).clear()
        vars(self).update(vars(changed))
        return self

    def _configure(self) -> None:
        """Derive from the settings what `needs` and other attributes must be."""

    def __repr__(self) -> str:
        """Class and settings, such as `GEN(gamma=0.1, k=100)`."""
        settings = ", ".join(f"{key}={value!r}" for key, value in to_section(self.config).items())
        return f"{type(self).__name__}({settings})"

    def fit(
        self,
        features: Rows | FeatureBatch | FitInputs | None = None,
        labels: Rows | None = None,
        *,
        head: Head | None = None,
        prior: Counts | None = None,
        aux: Rows | None = None,
        logits: Rows | None = None,
        local: Rows | None = None,
        val: Rows | FeatureBatch | None = None,
        val_labels: Rows | None = None,
        negatives: Rows | None = None,
    ) -> Self:
        """Learn from training rows, forgetting what an earlier fit has learned.

        Args:
            features: Training features, [N, D]; tensor, NumPy array or nested lists. Or
                a `FeatureBatch` with labels, where an entry reads more of these rows than
                features. Or `FitInputs`, which several entries then share, instead of all that
                follows.
            labels: Their classes, [N] whole numbers.
            head: Classifier head: a `ClassifierHead`, a linear layer, or a pair (weight, bias).
                It also makes the logits of rows that are scored later.
            prior: Class counts, [C]; counted from `labels` where not given.
            aux: Auxiliary outlier features, [M, D].
            logits: Training logits, [N, C]; made by the head where not given.
            local: Local training features, [N, P, D].
            val: Features of ID rows held out of training, [V, D], for entries that need them; or
                a `FeatureBatch`, where they read more of these rows than features.
            val_labels: Classes of these rows, [V] whole numbers.
            negatives: Text features of negative labels, [M, D], beside a head of text features.

        Raises:
            DataError: If a shape does not fit, a number is not finite or a label is not a class.
            MissingNeedError: If something is missing that this entry learns from.
        """
        others = (labels, head, prior, aux, logits, local, val, val_labels, negatives)
        if isinstance(features, FitInputs):
            if any(value is not None for value in others):
                raise DataError("FitInputs hold all that fit learns from; pass nothing else.")
            inputs = features
        else:
            inputs = FitInputs.of(
                features,
                labels,
                head=head,
                prior=prior,
                aux=aux,
                logits=logits,
                local=local,
                val=val,
                val_labels=val_labels,
                negatives=negatives,
            )
        self._forget()
        with nullcontext() if inputs is features else self._in_own_words():
            self._fit(inputs)
        self._head, self._widths = inputs.head, _widths(inputs, self.needs)
        return self

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn from `inputs`; an entry that learns nothing keeps this default."""
        del inputs
        return self

    def _batch(
        self,
        features: Rows | None,
        logits: Rows | None,
        local: Rows | None,
        *,
        extras: Mapping[str, Rows] | None = None,
        use_head: bool = True,
    ) -> FeatureBatch:
        """Rows that a caller wants scored, checked, and where the learned tensors are."""
        given = {"features": features, "logits": logits, "local": local, **(extras or {})}
        held = {name: as_tensor(rows, name) for name, rows in given.items() if rows is not None}
        if not held:
            raise DataError("there are no rows; give features, logits or local.")
        for learned in [*self.state().values()][:1]:
            held = {name: rows.to(learned.device) for name, rows in held.items()}
        wants_head = use_head and {"logits", "aux_outputs"} & set(self.arrays)
        head = self._head if wants_head else None
        more = {name: held.pop(name) for name in list(held) if name in (extras or {})}
        return self._same_widths(FeatureBatch.of(**held, extras=more, head=head))

    def _same_widths(self, batch: FeatureBatch) -> FeatureBatch:
        """The batch, if its rows are as wide as those that this entry was fitted on.

        Raises:
            DataError: With both widths.
        """
        widths = self._widths or self._learned_widths()
        for name, tensor in batch.arrays.items():
            # Features of moved images are as wide as those of the images.
            width = widths.get("features" if name.endswith("/features") else name)
            if tensor is not None and width and tensor.shape[-1] != width:
                raise DataError(
                    f"{name} have {tensor.shape[-1]} columns but {type(self).__name__} was fitted "
                    f"on {width}; fit and score rows of the same network."
                )
        return batch

    def _learned_widths(self) -> dict[str, int]:
        """Last size of each array, from the learned tensors, which are all that is restored."""
        state, widths = self.state(), {}
        axes = {"features": self.dim_axis, "local": self.dim_axis, "logits": self.classes_axis}
        for name, (learned, axis) in axes.items():
            if learned in state:
                widths[name] = state[learned].shape[axis]
        return widths

    def _handed_back(self, given: Rows | None, result: Tensor, what: str) -> Any:  # noqa: ANN401
        """A result as the kind of array that was given, if float32 holds all of it.

        Raises:
            DataError: With the number of rows for which it does not.
        """
        check_finite(
            result,
            f"{what} of {type(self).__name__}",
            "check that these rows come from the network it was fitted on, and its settings",
        )
        return like(given, result)

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by name; empty where there is nothing to learn."""
        return {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and isinstance(value, Tensor)
        }

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """Load learned tensors given by `state()` of a fitted entry of the same settings."""
        self._forget()
        for name, value in state.items():
            setattr(self, name, value)
        return self

    def _forget(self) -> None:
        """Drop all learned values, since one fit may set what the next does not."""
        for name in [*self.state(), "_head", "_widths"]:
            vars(self).pop(name, None)

    def learned(self, name: str) -> Tensor:
        """Learned tensor `name`; an error if not fitted.

        Raises:
            NotFittedError: If `fit` has not run.
        """
        value = vars(self).get(name)
        if not isinstance(value, Tensor):
            entry = type(self).__module__.rpartition(".")[2]
            raise NotFittedError(f"{entry} is not fitted: call fit before you use it.")
        return value

    def derived(self) -> dict[str, float]:
        """Values that `fit` derived from data and a reader should see, such as a clip."""
        return {}

    def findings(self) -> dict[str, Any]:
        """Facts that `fit` found and a reader should see, as JSON holds them; none by default."""
        return {}

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Which held-out rows `fit` has learned from, [N] bool; none by default.

        A promise about new rows, such as a threshold, must rest on the others.

        Args:
            ids: Ids of rows of the split val, [N].
            labels: Their classes, [N].
        """
        del labels
        return torch.zeros_like(ids, dtype=torch.bool)


def _widths(inputs: FitInputs, needs: frozenset[Need]) -> dict[str, int]:
    """Last size of each array that was fitted on; an array of unknown size is skipped."""
    widths: dict[str, int] = {}
    if inputs.head is not None:
        widths = {"features": inputs.head.dim, "local": inputs.head.dim}
        widths["logits"] = inputs.head.num_classes
        return widths
    if inputs.train is not None:
        widths["features"] = inputs.train.dim
    if isinstance(inputs.train, TensorSource):
        widths["logits"] = inputs.train.width("logits")
    if inputs.prior is not None and Need.PRIOR in needs:
        widths["logits"] = inputs.prior.num_classes
    return widths
