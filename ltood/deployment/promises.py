"""What a user asks verdicts to promise, and which wishes exclude one another."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import ConfigError, quoted
from ltood.ops.guarantees import check_share

#: Groups of rows by predicted class: many / medium / few of the training rows, or each class.
Groups = Literal["class_group", "class"]
GROUPS: tuple[Groups, ...] = ("class_group", "class")

#: Class mixes with a name: all classes alike, or as among the training rows.
MIXES = ("uniform", "train")

#: Shares of the ID classes at deployment: a name, shares by class name, or shares in class order.
ClassMix = str | Mapping[str, float] | ArrayLike


@dataclass(frozen=True, eq=False)
class Promise:
    """One of three promises, each for ID rows like the calibration rows.

    Attributes:
        fpr: Share of ID rows that may be called OOD.
        confidence: Share of calibration sets for which `fpr` must hold, not only on average.
        per_group: Groups of rows, each of which must keep `fpr` (or take part in `fdr`) alone.
        class_mix: Shares of the ID classes at deployment, where calibration rows have others.
        fdr: Share of ID rows among the rows that are called OOD, in one call.
        sets: Share of the rows of every class that may be called OOD or miss their class in
            the set of classes that comes with each verdict.
    """

    fpr: float | None = None
    confidence: float | None = None
    per_group: str | None = None
    class_mix: ClassMix | None = None
    fdr: float | None = None
    sets: float | None = None

    def __post_init__(self) -> None:
        """Check ranges, and that there is one promise.

        Raises:
            ConfigError: With the option, its value and the rule.
        """
        meanings = {
            "fpr": "the share of ID rows that may be called OOD, such as 0.05",
            "fdr": "the share of ID rows among those called OOD, such as 0.1",
            "sets": "the share of rows that may miss their class, such as 0.05",
            "confidence": "the share of calibration sets for which fpr holds, such as 0.9",
        }
        for name, meaning in meanings.items():
            if (value := getattr(self, name)) is not None:
                check_share(name, value, meaning)
        chosen = [name for name in ("fpr", "fdr", "sets") if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise ConfigError(
                f"verdicts keep one promise, and {' and '.join(chosen) or 'none'} "
                f"{'were' if len(chosen) > 1 else 'was'} given; "
                "choose one of fpr, fdr and sets."
            )
        allowed = {
            "fpr": {"confidence", "per_group", "class_mix"},
            "fdr": {"per_group"},
            "sets": set(),
        }[chosen[0]]
        for name in ("confidence", "per_group", "class_mix"):
            if getattr(self, name) is not None and name not in allowed:
                raise ConfigError(f"{name} does not go with {chosen[0]}; {_REASONS[name]}.")
        if self.class_mix is not None and (self.confidence or self.per_group):
            other = "confidence" if self.confidence else "per_group"
            raise ConfigError(f"class_mix does not go with {other}; {_REASONS['class_mix']}.")
        if self.per_group not in (None, *GROUPS):
            raise ConfigError(
                f"per_group is {quoted(self.per_group)}; it is {' or '.join(GROUPS)}."
            )

    @classmethod
    def asked(cls, **options: Any) -> "Promise | None":  # noqa: ANN401
        """The promise of these options, or None where none is given."""
        return cls(**options) if any(value is not None for value in options.values()) else None

    @property
    def level(self) -> float:
        """The share that was promised."""
        return next(value for value in (self.fpr, self.fdr, self.sets) if value is not None)


_REASONS = {
    "confidence": "it holds a false alarm rate (fpr) for most calibration sets",
    "per_group": "sets hold for every class already",
    "class_mix": "weighted rows promise an fpr on average only; groups (per_group) and sets hold "
    "for every mix of them",
}


def read_class_mix(given: str) -> ClassMix:
    """A named class mix as it is, or that of a JSON file: shares by class name, or in order.

    Raises:
        ConfigError: If it is neither a name nor a readable file.
    """
    if given in MIXES:
        return given
    try:
        found = json.loads(Path(given).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"class_mix is {quoted(given)}, which is neither {' nor '.join(MIXES)} nor a readable "
            f"JSON file ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(found, dict | list):
        raise ConfigError(
            f"class_mix: {given} holds a {type(found).__name__}; give an object of shares by class "
            "name, or a list of shares in class order."
        )
    return found


def class_shares(
    mix: ClassMix, class_names: Sequence[str], class_counts: Sequence[int]
) -> NDArray[np.float64]:
    """Share of each class at deployment, [C], sums to 1.

    Args:
        mix: "uniform", "train", shares by class name (the others are absent) or in class order.
        class_names: Names of the C classes.
        class_counts: Training rows of each class, [C].

    Raises:
        ConfigError: If a name, a number or their count is wrong.
    """
    names = list(class_names)
    if isinstance(mix, str):
        if mix not in MIXES:
            raise ConfigError(
                f"class_mix is {quoted(mix)}; it is {' or '.join(MIXES)}, or shares by class."
            )
        found = np.ones(len(names)) if mix == "uniform" else np.asarray(class_counts, dtype=float)
    elif isinstance(mix, Mapping):
        if unknown := [name for name in mix if name not in names]:
            raise ConfigError(
                f"class_mix names {quoted(unknown[0])}, which is not a class of the detector; "
                f"its classes begin with {', '.join(names[:5])}."
            )
        found = np.array([_number(mix.get(name, 0.0)) for name in names])
    else:
        found = np.array([_number(share) for share in np.asarray(mix).ravel().tolist()])
    if len(found) != len(names) or not (np.isfinite(found) & (found >= 0)).all():
        raise ConfigError(
            f"class_mix holds {len(found)} shares for {len(names)} classes, or one that is "
            "negative or not finite; give one share, 0 or more, for each class."
        )
    if found.sum() == 0:
        raise ConfigError("class_mix gives every class the share 0; give at least one above 0.")
    shares: NDArray[np.float64] = found / found.sum()
    return shares


def _number(share: object) -> float:
    """A share as a number; NaN where it is none, which is refused with the others."""
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    return float(share) if is_number else float("nan")  # type: ignore[arg-type]
