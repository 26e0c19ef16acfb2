"""Limits of a setting as part of its type: `k: Count` is a whole number of 1 or more.

A value is converted to its type or refused in one place, whether it comes from a file, from the
command line or from Python. All numbers are finite unless their limits say otherwise.
"""

import math
import numbers
import operator
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal


class RefusedValueError(ValueError):
    """A value does not fit its type; the text describes valid values."""


@dataclass(frozen=True)
class Limits:
    """Range of a number.

    Attributes:
        at_least: Smallest value, or None.
        above: Largest value that is too small, or None.
        at_most: Largest value, or None.
        below: Smallest value that is too large, or None.
        finite: Whether infinity is refused; NaN always is.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    finite: bool = True

    def allow(self, value: float) -> bool:
        """Whether `value` is within the limits."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def words(self) -> str:
        """The limits in words, such as "above 0 and at most 1"."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:,} to {self.at_most:,}"
        bounds = {name.replace("_", " "): bound for name, bound in self.plain().items()}
        text = " and ".join(f"{name} {bound:,}" for name, bound in bounds.items())
        return f"of {text}" if text.startswith("at") else text

    def plain(self) -> dict[str, float]:
        """Limits that are set, by name."""
        named = {name: getattr(self, name) for name in ("at_least", "above", "at_most", "below")}
        return {name: bound for name, bound in named.items() if bound is not None}


#: How many of something there are, where more than this is a slip of the keyboard.
Count = Annotated[int, Limits(at_least=1, at_most=10**9)]
#: Seed of a random number generator.
Seed = Annotated[int, Limits(at_least=0, at_most=2**63 - 1)]
#: A scale, temperature or exponent.
Positive = Annotated[float, Limits(above=0)]
#: A weight that may switch its term off.
NonNegative = Annotated[float, Limits(at_least=0)]
#: A share of a whole that must not be empty.
Share = Annotated[float, Limits(above=0, at_most=1)]
#: A rate of decay or dropout.
Decay = Annotated[float, Limits(at_least=0, below=1)]
#: Percent of a distribution.
Percent = Annotated[float, Limits(at_least=0, at_most=100)]


def convert(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """`value` as the type `hint` has it: a float for a whole number, a tuple for a list.

    A class of its own converts by its method `of_setting` and has its valid values in `words`.

    Raises:
        RefusedValueError: If it does not fit.
    """
    if hasattr(hint, "of_setting"):
        return hint.of_setting(value)
    origin = typing.get_origin(hint)
    for kinds, converter in _ORIGINS.items():
        if origin in kinds:
            return converter(value, hint)
    converted = _TYPES[hint](value)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise RefusedValueError("a finite number")
    return converted


def in_words(hint: Any) -> str:  # noqa: ANN401
    """A type in plain words, such as "a number above 0 or null"."""
    if hasattr(hint, "of_setting"):
        return str(hint.words)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return " or ".join(in_words(option) for option in inner)
    if origin is Literal:
        return " or ".join(repr(option) for option in inner)
    if origin is Annotated:
        return f"{in_words(inner[0])} {limits(hint).words()}".rstrip()
    if origin is tuple:
        several = {float: "numbers", int: "whole numbers", str: "texts"}
        return f"a list of {several.get(inner[0], f'values, each {in_words(inner[0])}')}"
    return _WORDS[hint]


def limits(hint: Any) -> Limits:  # noqa: ANN401
    """Limits of the numbers that a type allows; none where it names none."""
    for part in (*getattr(hint, "__metadata__", ()), *typing.get_args(hint)):
        found = part if isinstance(part, Limits) else limits(part)
        if found != Limits():
            return found
    return Limits()


def _union(value: Any, hint: Any) -> Any:  # noqa: ANN401
    for option in typing.get_args(hint):
        try:
            return convert(value, option)
        except RefusedValueError:
            continue
    raise RefusedValueError(in_words(hint))


def _literal(value: Any, hint: Any) -> Any:  # noqa: ANN401
    for option in typing.get_args(hint):
        if type(value) is type(option) and value == option:
            return value
    raise RefusedValueError(in_words(hint))


def _tuple(value: Any, hint: Any) -> Any:  # noqa: ANN401
    inner = typing.get_args(hint)
    if not isinstance(value, list | tuple):
        raise RefusedValueError(in_words(hint))
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        raise RefusedValueError(f"{in_words(hint)}, {len(inner)} of them")
    items = tuple(convert(item, kind) for item, kind in zip(value, inner, strict=True))
    # What needs no conversion stays the same object, which `sklearn.base.clone` insists on.
    is_same = type(value) is tuple and all(map(operator.is_, items, value))
    return value if is_same else items


def _limited(value: Any, hint: Any) -> Any:  # noqa: ANN401
    kind, bounds = typing.get_args(hint)[0], limits(hint)
    try:
        number = _TYPES[kind](value)
    except RefusedValueError:
        raise RefusedValueError(in_words(hint)) from None
    if not bounds.allow(number) or (bounds.finite and math.isinf(number)):
        raise RefusedValueError(in_words(hint))
    return number


def _float(value: Any) -> float:  # noqa: ANN401
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RefusedValueError("a number that float64 holds") from None
    raise RefusedValueError(_WORDS[float])


def _int(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return operator.index(value)
    raise RefusedValueError(_WORDS[int])


def _instance(kind: type) -> Callable[[Any], Any]:
    def same(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, kind):
            return value
        raise RefusedValueError(_WORDS[kind])

    return same


_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}
_TYPES: dict[Any, Callable[[Any], Any]] = {
    float: _float,
    int: _int,
    **{kind: _instance(kind) for kind in (str, bool, type(None))},
}
_UNIONS = (types.UnionType, typing.Union)
_ORIGINS: dict[tuple[Any, ...], Callable[[Any, Any], Any]] = {
    _UNIONS: _union,
    (Literal,): _literal,
    (tuple,): _tuple,
    (Annotated,): _limited,
}
