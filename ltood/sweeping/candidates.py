"""Settings that a sweep tries: a full grid, or random draws from lists and ranges."""

import itertools
import math
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltood.core.errors import ConfigError
from ltood.core.registry import load
from ltood.runtime.params import parse_value

#: Stands between values of a list: "0,10,...,90" continues in equal steps.
ELLIPSIS = "..."

#: Most settings of one sweep; a grid beyond this is a slip of the keyboard.
MOST_CANDIDATES = 100_000

#: Largest whole number that an interval may hold; floats are exact up to here.
LARGEST_WHOLE = 2**53

Settings = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """An interval to draw from.

    Attributes:
        low: Smallest value.
        high: Largest value, above `low`.
        logarithmic: Draw the logarithm evenly, not the value; `low` is then above 0.
    """

    low: float
    high: float
    logarithmic: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """One number, rounded to 6 digits."""
        return min(max(float(f"{self._value(rng):.6g}"), self.low), self.high)

    def draw_whole(self, rng: np.random.Generator) -> int:
        """One whole number; there must be one inside."""
        low, high = math.ceil(self.low), math.floor(self.high)
        if self.logarithmic:
            return min(max(round(self._value(rng)), low), high)
        return int(rng.integers(low, high, endpoint=True))

    def _value(self, rng: np.random.Generator) -> float:
        if self.logarithmic:
            return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return rng.uniform(self.low, self.high)

    @property
    def holds_whole(self) -> bool:
        """Whether a whole number lies inside."""
        return math.ceil(self.low) <= math.floor(self.high)

    @property
    def is_exact(self) -> bool:
        """Whether all whole numbers inside are exact as floats."""
        return max(abs(self.low), abs(self.high)) <= LARGEST_WHOLE


def chosen_candidates(
    method: str,
    grid: Sequence[str],
    ranges: Sequence[str],
    draws: int | None,
    seed: int = 0,
) -> list[Settings]:
    """Candidates for the options of a command line: a full grid, or `draws` random ones.

    Args:
        method: Method name.
        grid: As `parse_grid` takes them.
        ranges: As `parse_ranges` takes them; for random draws only.
        draws: Number of random candidates; None for the full grid.
        seed: Seed of random draws.

    Raises:
        ConfigError: As the functions below.
    """
    lists, intervals = parse_grid(grid), parse_ranges(ranges)
    if draws is not None:
        config = load("methods", method).Config
        return random_candidates(lists, intervals, config, draws, seed)
    if intervals:
        raise ConfigError("--range draws at random; say how many settings with --random.")
    return grid_candidates(lists)


def parse_grid(assignments: Sequence[str]) -> dict[str, list[Any]]:
    """Turn `["percentile=0,10,...,90", "clip=0.5,null"]` into lists of values.

    Args:
        assignments: KEY=V1,V2,... items; values read as in `params.yaml`, and `...`
            between the second and the last value continues in equal steps.

    Raises:
        ConfigError: If an item is not such a list or a key is given twice.
    """
    grid: dict[str, list[Any]] = {}
    for item in assignments:
        key, text = _halves(item, "--grid", "percentile=0,10,...,90", grid)
        values = parse_value(f"[{text}]")
        if not values:
            raise ConfigError(f"--grid {item} has no values; list at least one after the =.")
        values = _continued(values, item)
        if len({_identity(value) for value in values}) < len(values):
            raise ConfigError(f"--grid {item} lists a value twice; list each once.")
        grid[key] = values
    return grid


def parse_ranges(assignments: Sequence[str]) -> dict[str, Range]:
    """Turn `["percentile=0:95", "k=1:1000:log"]` into intervals.

    Raises:
        ConfigError: If an item is not such an interval or a key is given twice.
    """
    ranges: dict[str, Range] = {}
    for item in assignments:
        key, text = _halves(item, "--range", "percentile=0:95", ranges)
        ends, colon, kind = text.partition(":log")
        low, _, high = ends.partition(":")
        try:
            ranges[key] = found = Range(float(low), float(high), bool(colon))
        except ValueError:
            found = None
        # The width must be finite, too: draws are taken from it.
        if found is None or kind or not 0 < found.high - found.low < math.inf:
            raise ConfigError(
                f"--range {item} is not an interval; give KEY=LOW:HIGH with LOW below HIGH, such "
                "as percentile=0:95, and :log behind it to draw the logarithm evenly."
            )
        if found.logarithmic and found.low <= 0:
            raise ConfigError(f"--range {item} starts at {low}; a :log range starts above 0.")
    return ranges


def _halves(item: str, option: str, example: str, known: Mapping[str, Any]) -> tuple[str, str]:
    key, equals, text = item.partition("=")
    if not key or not equals:
        raise ConfigError(f"{option} takes KEY=VALUES, such as {example}; got {item!r}.")
    if key in known:
        raise ConfigError(f"{option} {key} is given twice; give all its values at once.")
    return key, text


def _identity(value: object) -> Hashable:
    """Hashable key of a value, since lists cannot be hashed."""
    return value if isinstance(value, Hashable) else repr(value)


def _continued(values: list[Any], item: str) -> list[Any]:
    """Replace `a, b, ..., z` by all values from a to z in steps of b - a."""
    if ELLIPSIS not in values:
        return values
    place = values.index(ELLIPSIS)
    around = values[max(0, place - 2) : place] + values[place + 1 : place + 2]
    if len(around) == 3 and all(_is_number(value) for value in around):
        first, second, last = around
        steps = (last - first) / (second - first) if second != first else math.nan
        if steps > MOST_CANDIDATES:
            raise ConfigError(
                f"--grid {item} stands for {steps:,.0f} values; the limit of a sweep is "
                f"{MOST_CANDIDATES:,} settings. Take larger steps, or draw some with --random."
            )
        if steps > 1 and abs(steps - round(steps)) < 1e-6:
            whole = all(isinstance(value, int) for value in around)
            places = (first + (second - first) * step for step in range(round(steps) + 1))
            # Twelve digits hide that 0.1 + 2 * 0.1 is not 0.3.
            filled = [value if whole else float(f"{value:.12g}") for value in places]
            return _continued(values[: place - 2] + filled + values[place + 2 :], item)
    raise ConfigError(
        f"--grid {item}: ... stands between two numbers and a last one that equal steps reach, "
        "such as 0,10,...,90."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def grid_candidates(grid: Mapping[str, Sequence[Any]]) -> list[Settings]:
    """Every combination of the listed values; the last key changes fastest.

    Raises:
        ConfigError: If nothing is swept or there are too many combinations.
    """
    if not grid:
        raise ConfigError("nothing is swept; give --grid KEY=V1,V2,... at least once.")
    number = math.prod(len(values) for values in grid.values())
    if number > MOST_CANDIDATES:
        raise ConfigError(
            f"the grid has {number:,} combinations; the limit is {MOST_CANDIDATES:,}. "
            "List fewer values, or draw some with --random."
        )
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]


def random_candidates(
    grid: Mapping[str, Sequence[Any]],
    ranges: Mapping[str, Range],
    config: type[Any],
    count: int,
    seed: int = 0,
) -> list[Settings]:
    """Different random combinations.

    Args:
        grid: Lists to pick from, each value equally often.
        ranges: Intervals to draw from; whole numbers for a setting that takes only such.
        config: The method's `Config`, which says what takes whole numbers.
        count: Combinations wanted; fewer come back where there are no more.
        seed: The same seed gives the same combinations.

    Raises:
        ConfigError: If nothing is swept, a key is both listed and drawn, `count` or `seed` is
            out of range, or an interval for whole numbers holds none or too large ones.
    """
    if not grid and not ranges:
        raise ConfigError("nothing is swept; give --range KEY=LOW:HIGH or --grid KEY=V1,V2,....")
    if both := sorted(grid.keys() & ranges.keys()):
        raise ConfigError(f"{both[0]} has both --grid and --range; give one of them.")
    if not 1 <= count <= MOST_CANDIDATES:
        raise ConfigError(f"--random is {count}; draw 1 to {MOST_CANDIDATES:,} settings.")
    if seed < 0:
        raise ConfigError(f"--seed is {seed}; set it to 0 or more.")
    rng = np.random.default_rng(seed)
    whole = {key: _takes_only_whole(config, key) for key in ranges}
    found: dict[str, Settings] = {}
    if empty := [key for key in ranges if whole[key] and not ranges[key].holds_whole]:
        raise ConfigError(
            f"{empty[0]} takes whole numbers and its --range holds none; widen the range."
        )
    if huge := [key for key in ranges if whole[key] and not ranges[key].is_exact]:
        raise ConfigError(
            f"{huge[0]} takes whole numbers and its --range goes beyond {LARGEST_WHOLE:,}; narrow "
            "the range."
        )
    # Small spaces run out; ten draws for each wanted one find nearly all that there is.
    for _ in range(10 * count):
        drawn: Settings = {k: values[int(rng.integers(len(values)))] for k, values in grid.items()}
        for key, item in ranges.items():
            drawn[key] = item.draw_whole(rng) if whole[key] else item.draw(rng)
        found.setdefault(repr(drawn), drawn)
        if len(found) == count:
            break
    return list(found.values())


def _takes_only_whole(config: type[Any], key: str) -> bool:
    hint = typing.get_type_hints(config).get(key)
    options = typing.get_args(hint) or (hint,)
    return int in options and float not in options
