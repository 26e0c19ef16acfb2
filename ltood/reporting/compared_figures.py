"""Figures of several runs or methods beside one another."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.metrics.curves import Curve
from ltood.reporting.drawing import ROLES, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.floating[Any]]
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
#: A confusion matrix of more classes has no room for numbers.
_WITH_SHARES = 12
_MARKS = (("ood", "o", "95 % of OOD caught"), ("id", "s", "95 % of ID kept"))


@dataclass(frozen=True)
class Line:
    """ROC curves of one run, or of several that are shown as one.

    Attributes:
        name: What the legend says.
        curves: One curve for each run.
        marks: Points of both readings of FPR95, mean over the runs, by the side held at 95 %.
    """

    name: str
    curves: Sequence[Curve]
    marks: Mapping[str, tuple[float, float]]


def rocs(lines: Sequence[Line], label: str) -> Drawing:
    """ROC curves over one another, each with both readings of FPR95."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=ROLES["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
        for number, line in enumerate(lines):
            colour, dashes = _look(number)
            for place, curve in enumerate(line.curves):
                axes.plot(
                    100 * curve.x,
                    100 * curve.y,
                    color=colour,
                    linestyle=dashes,
                    linewidth=1.6 if len(line.curves) == 1 else 1.0,
                    label=_short(line.name, 30) if place == 0 else "_",
                )
            for side, marker, _ in _MARKS:
                if side in line.marks:
                    x, y = line.marks[side]
                    axes.plot([100 * x], [100 * y], marker, color=colour, markersize=5)
        for _, marker, words in _MARKS:
            axes.plot([], [], marker, color=ROLES["muted"], markersize=5, label=words)
        axes.set_xlim(-1, 101)
        axes.set_ylim(-1, 101)
        axes.set_xticks(range(0, 101, 25))
        axes.set_yticks(range(0, 101, 25))
        axes.set_xlabel("ID flagged, %")
        axes.set_ylabel("OOD caught, %")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=7.5)

    rows = math.ceil((len(lines) + len(_MARKS)) / 2)
    return Drawing(draw, (4.0, 3.6 + 0.17 * rows), label)


def with_intervals(
    rows: Mapping[str, tuple[float, float | None, float | None]], axis_name: str, label: str
) -> Drawing:
    """A value of each row with its interval, first one on top.

    Args:
        rows: Value and ends of the interval in fractions, by name.
        axis_name: What the values are.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        places = np.arange(len(rows))[::-1]
        values = np.array([value for value, _, _ in rows.values()])
        ends = [(v if low is None else low, v if high is None else high) for v, low, high in
                rows.values()]  # fmt: skip
        lows, highs = np.array(ends).T
        axes.barh(places, 100 * values, 0.66, color=ROLES["id"], alpha=0.35)
        axes.hlines(places, 100 * lows, 100 * highs, color=ROLES["ink"], linewidth=1.4)
        axes.plot(100 * values, places, "o", color=ROLES["id"], markersize=3.5)
        axes.set_yticks(places, [_short(name, 40) for name in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        least = float(min(lows.min(), values.min()))
        axes.set_xlim(100 * max(0.0, min(least - 0.1 * (1 - least), 0.99)), 100)
        axes.set_xlabel(axis_name)
        axes.grid(visible=False, axis="y")

    return Drawing(draw, (5.0, max(1.6, 0.7 + 0.22 * len(rows))), label)


def shares(bins: Values, id_shares: Values, ood_shares: Values, label: str) -> Drawing:
    """Scores of ID images against those of an OOD set, small and without a legend.

    Args:
        bins: Bin borders, [B + 1].
        id_shares: Share of the ID images in each bin, [B].
        ood_shares: Share of the OOD images in each bin, [B].
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        for values, role in ((id_shares, "id"), (ood_shares, "ood")):
            axes.stairs(100 * values, bins, fill=True, color=ROLES[role], alpha=0.3)
            axes.stairs(100 * values, bins, color=ROLES[role], linewidth=1.3)
        axes.set_xlim(bins[0], bins[-1])
        axes.set_ylim(0, 104 * float(max(id_shares.max(), ood_shares.max())))
        axes.set_xlabel("OOD score")
        axes.set_ylabel("% of side")
        axes.grid(visible=False, axis="x")

    return Drawing(draw, (2.7, 1.7), label)


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Drawing:
    """Which classes are taken for which: the darker, the larger the share of a row.

    Args:
        counts: Images by true (first axis) and predicted class, [C, C].
        names: Names of the classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(names)

    def draw(axes: "Axes") -> None:
        from matplotlib.patches import Rectangle

        for row, column in zip(*np.nonzero(counts), strict=True):
            share = float(shares[row, column])
            role = ROLES["id" if row == column else "ood"]
            place = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, facecolor=role, alpha=share, linewidth=0))
            if size <= _WITH_SHARES and share >= 0.005:
                words = f"{100 * share:.0f}"
                ink = "white" if share > 0.6 else ROLES["ink"]
                axes.text(column, row, words, ha="center", va="center", fontsize=6.5, color=ink)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        shown = [_short(name, 16) for name in names]
        axes.set_xticks(range(size), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(size), shown, fontsize=7)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.grid(visible=False)

    label = "Confusion matrix of the ID test images, shares of the true class"
    return Drawing(draw, (4.4, 4.2), label)


def _look(number: int) -> tuple[str, Any]:
    """Colour and dash; beyond eight lines a colour comes again, never with the same dash."""
    return ROLES[f"s{number % 8}"], _DASHES[(number + number // 8) % len(_DASHES)]


def _short(name: str, length: int) -> str:
    """A name that fits; Matplotlib would leave one with a leading "_" out of a legend."""
    name = name if len(name) <= length else f"{name[: length - 1]}…"
    return f" {name}" if name.startswith("_") else name
