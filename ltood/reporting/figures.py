"""Figures of the report: what each of them draws, whatever it is drawn for."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.metrics.curves import Curve
from ltood.reporting.drawing import ROLES, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.floating[Any]]

#: Sets beyond eight share a colour but never a colour and a dash.
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
#: Lines in a histogram: key, colour, dashes, and what they are.
_LINES = (
    ("ood", "ood", (0, (4, 2)), "95 % of OOD to its right"),
    ("id", "id", (0, (1.5, 1.5)), "95 % of ID to its left"),
    ("detector", "ink", (0, (4, 2)), "threshold of the detector"),
)
#: More names than this would cover one another.
_NAMED_CLASSES = 20
_MARKERS = {"many": "o", "medium": "s", "few": "^"}


def histogram(
    id_shares: Mapping[str, Values],
    ood_shares: Values | None,
    bins: Values,
    thresholds: Mapping[str, float],
    label: str,
) -> Drawing:
    """Scores of ID images (stacked by class group), against those of one OOD set if there is one.

    Args:
        id_shares: Share of the ID images in each bin, [B], by group, or under the one
            key "id"; the groups together sum to 1.
        ood_shares: Share of the OOD images in each bin, [B]; None draws the ID images alone.
        bins: Bin borders, [B + 1].
        thresholds: Scores that keep 95 % of a side, by side ("ood", "id"), and that of a detector
            ("detector"); those that are there are drawn.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        base = np.zeros(len(bins) - 1)
        for name, shares in id_shares.items():
            upper = base + 100 * shares
            text = "ID" if name == "id" else f"ID, {name}"
            axes.stairs(upper, bins, baseline=base, fill=True, color=ROLES[name], label=text)
            base = upper
        top = float(base.max()) / 100
        if ood_shares is not None:
            axes.stairs(100 * ood_shares, bins, fill=True, color=ROLES["ood"], alpha=0.25)
            axes.stairs(100 * ood_shares, bins, color=ROLES["ood"], linewidth=1.6, label="OOD")
            top = max(top, float(ood_shares.max()))
        for side, role, dashes, text in _LINES:
            if side in thresholds:
                place = float(np.clip(thresholds[side], bins[0], bins[-1]))
                axes.axvline(place, color=ROLES[role], linewidth=1.2, linestyle=dashes, label=text)
        axes.set_xlabel("OOD score")
        axes.set_ylabel("images, % of their side")
        axes.set_xlim(bins[0], bins[-1])
        axes.locator_params(axis="x", nbins=5)  # Scores of five figures have room beside others.
        axes.set_ylim(0, 104 * top)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7.5)

    return Drawing(draw, (3.6, 2.75), label)


def roc(curve: Curve, marks: Mapping[str, tuple[float, float]], label: str) -> Drawing:
    """ROC curve of one OOD set; both FPR95 conventions are points on it.

    Args:
        curve: ID images flagged (x) and OOD images caught (y).
        marks: Points (x, y) by name: "ood" and "id", the side held at 95 %.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=ROLES["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
        axes.plot(100 * curve.x, 100 * curve.y, color=ROLES["ink"])
        for side, marker, text in (("ood", "o", "95 % OOD caught"), ("id", "s", "95 % ID kept")):
            if side in marks:
                x, y = marks[side]
                axes.plot([100 * x], [100 * y], marker, color=ROLES[side], markersize=6, label=text)
        _percent_axes(axes, "ID flagged, %", "OOD caught, %")
        axes.legend(loc="lower right", fontsize=7.5)

    return Drawing(draw, (2.9, 2.7), label)


def precision_recall(ood_curve: Curve, id_curve: Curve, share_ood: float, label: str) -> Drawing:
    """Precision over recall of one OOD set, once for each side as positive.

    Args:
        ood_curve: Recall (x) and precision (y) with OOD positive.
        id_curve: The same with ID positive.
        share_ood: Precision with OOD positive of a detector that flags everything.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        for curve, role, level, dashes, text in (
            (ood_curve, "ood", share_ood, "solid", "OOD positive"),
            (id_curve, "id", 1 - share_ood, (0, (5, 1.5)), "ID positive"),
        ):
            axes.axhline(100 * level, color=ROLES[role], linewidth=0.8, linestyle=(0, (2, 2)))
            axes.plot(
                100 * curve.x,
                100 * curve.y,
                color=ROLES[role],
                linestyle=dashes,
                label=text,
            )
        _percent_axes(axes, "recall, %", "precision, %")
        axes.legend(loc="lower left", fontsize=7.5)

    return Drawing(draw, (2.9, 2.7), label)


def overlay(curves: Mapping[str, Curve], axis_names: tuple[str, str], label: str) -> Drawing:
    """One line per OOD set in a joint figure."""

    def draw(axes: "Axes") -> None:
        for number, (name, curve) in enumerate(curves.items()):
            axes.plot(
                100 * curve.x,
                100 * curve.y,
                color=ROLES[f"s{number % 8}"],
                linestyle=_DASHES[(number + number // 8) % len(_DASHES)],
                label=_short(name, 24),
            )
        _percent_axes(axes, *axis_names)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=7.5)

    return Drawing(draw, (4.0, 3.6 + 0.17 * math.ceil(len(curves) / 2)), label)


def class_accuracy(
    counts: NDArray[np.int64],
    accuracies: Values,
    names: Sequence[str],
    groups: Sequence[str],
    label: str,
) -> Drawing:
    """Accuracy of each class over its number of training images.

    Args:
        counts: Training images, [C].
        accuracies: Fractions, [C]; NaN for a class without test images.
        names: Class names, written at the points where they fit.
        groups: Group of each class.
        label: What the figure shows, for readers who do not see it.
    """
    member = np.asarray(groups)

    def draw(axes: "Axes") -> None:
        for group in GROUPS:
            rows = (member == group) & (counts > 0)
            axes.plot(
                counts[rows],
                100 * accuracies[rows],
                _MARKERS[group],
                color=ROLES[group],
                markersize=6 if len(counts) <= _NAMED_CLASSES else 3.5,
                alpha=0.9,
                label=group,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.grid(visible=False, axis="x", which="minor")
        axes.set_ylim(-4, 108)
        axes.margins(x=0.12)
        if len(counts) <= _NAMED_CLASSES:
            shown = (counts > 0) & np.isfinite(accuracies)
            for row, is_above in labels_above(counts, accuracies, np.flatnonzero(shown)).items():
                axes.annotate(
                    _short(names[row], 14),
                    (counts[row], 100 * accuracies[row]),
                    xytext=(0, 6 if is_above else -12),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=ROLES["muted"],
                )
        axes.set_xlabel("training images of the class (logarithmic)")
        axes.set_ylabel("accuracy, %")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=3, fontsize=7.5)

    return Drawing(draw, (4.6, 3.2), label)


def labels_above(
    counts: NDArray[np.int64], accuracies: Values, rows: NDArray[np.int64]
) -> dict[int, bool]:
    """Whether the name of each class goes above its point, away from its nearest neighbour.

    Args:
        counts: Training images, [C].
        accuracies: Fractions, [C].
        rows: Classes to name.
    """
    ordered = rows[np.argsort(counts[rows], kind="stable")]
    gaps = np.diff(np.log(counts[ordered]), prepend=-np.inf, append=np.inf)
    above: dict[int, bool] = {}
    for turn, row in enumerate(ordered.tolist()):
        is_first_nearer = gaps[turn] <= gaps[turn + 1]
        place = min(max(turn - 1 if is_first_nearer else turn + 1, 0), len(ordered) - 1)
        higher = accuracies[row] - accuracies[ordered[place]]
        above[row] = bool(higher > 0) if higher else turn % 2 == 0
    return above


def group_bars(rows: Mapping[str, Mapping[str, float | None]], label: str) -> Drawing:
    """Bars of the three class groups for each OOD set.

    Args:
        rows: Fractions by OOD set, then by group; None leaves the bar out.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        places = np.arange(len(rows))[::-1]
        for number, group in enumerate(GROUPS):
            shares = [values[group] for values in rows.values()]
            offset = 0.26 * (1 - number)
            lengths = [100 * (share or 0.0) for share in shares]
            bars = axes.barh(places + offset, lengths, 0.24, color=ROLES[group], label=group)
            texts = ["" if share is None else f"{100 * share:.1f}" for share in shares]
            axes.bar_label(bars, texts, fontsize=7, padding=2, color=ROLES["muted"])
        axes.set_yticks(places, [_short(name, 24) for name in rows])
        axes.set_xlabel("ID images flagged while 95 % of OOD are caught, %")
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=7.5, borderaxespad=0.2
        )

    return Drawing(draw, (4.6, max(2.2, 0.9 + 0.5 * len(rows))), label)


def mean_ranks(ranks: Mapping[str, tuple[float, float]], chosen: str, label: str) -> Drawing:
    """Mean rank of each candidate with its standard error, best on top.

    Args:
        ranks: Mean rank and its standard error by candidate.
        chosen: The candidate that stands out.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        places = np.arange(len(ranks))[::-1]
        for place, (name, (rank, error)) in zip(places, ranks.items(), strict=True):
            colour = ROLES["id" if name == chosen else "muted"]
            axes.errorbar(rank, place, xerr=error, fmt="o", color=colour, markersize=4, capsize=2)
        axes.set_yticks(places, [_short(name, 40) for name in ranks])
        axes.set_xlabel("mean rank, 1 is best; bars: one standard error")
        axes.grid(visible=False, axis="y")

    return Drawing(draw, (5.4, max(1.6, 0.8 + 0.21 * len(ranks))), label)


def _short(name: str, length: int) -> str:
    """A name that fits; matplotlib would leave one with a leading "_" out of a legend."""
    name = name if len(name) <= length else f"{name[: length - 1]}…"
    return f" {name}" if name.startswith("_") else name


def _percent_axes(axes: "Axes", x_name: str, y_name: str) -> None:
    axes.set_xlim(-1, 101)
    axes.set_ylim(-1, 101)
    axes.set_xticks(range(0, 101, 25))
    axes.set_yticks(range(0, 101, 25))
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
