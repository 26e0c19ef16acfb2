"""Curves of the training: terms of the loss, and what was seen of the validation split."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltood.core.errors import DataError
from ltood.core.words import counted
from ltood.reporting.drawing import ROLES, Drawing
from ltood.reporting.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_X, _LOSS, _VAL_LOSS, _VAL_ACCURACY = "epoch", "loss", "val_loss", "val_accuracy"
_NO_TERMS = {_X, "learning_rate", _VAL_LOSS, _VAL_ACCURACY}

#: Values of one column by epoch; None where nothing was measured.
Column = Sequence[float | None]


@dataclass(frozen=True)
class TrainingPanel:
    """Section of the report on the training.

    Attributes:
        lead: Epochs, and what was reached.
        panels: Figures.
    """

    lead: str
    panels: list[Panel]


def read_history(text: str) -> dict[str, Column]:
    """Columns of a table of epochs, such as history.csv of a checkpoint.

    Raises:
        DataError: If it is not one.
    """
    rows = list(csv.reader(text.splitlines()))
    if not rows:
        return {}
    try:
        columns: dict[str, Column] = {
            name: [float(value) if value else None for value in values]
            for name, *values in zip(*rows, strict=True)
        }
    except ValueError as error:
        raise DataError(
            f"the table of the training's epochs is damaged ({error}); run the stage again that "
            "trained: train, or adapt for a head."
        ) from None
    if _X not in columns:
        raise DataError(
            f"the table of the training's epochs has no column {_X}; run the stage again that "
            "trained: train, or adapt for a head."
        )
    return columns


def epochs_csv(history: Mapping[str, Column]) -> str:
    """What `dvc plots` draws of a history: the same columns whether or not anything was learned."""
    names = (_X, _LOSS, _VAL_ACCURACY)
    epochs = history.get(_X, ())
    columns = [history.get(name) or [None] * len(epochs) for name in names]
    rows = [
        ["" if value is None else f"{value:.10g}" for value in row]
        for row in zip(*columns, strict=True)
    ]
    return "".join(f"{','.join(row)}\n" for row in [list(names), *rows])


def training_panel(history: Mapping[str, Column]) -> TrainingPanel | None:
    """The section, or None where nothing was trained.

    Args:
        history: What `read_history` gives.
    """
    epochs = history.get(_X, ())
    if not epochs:
        return None
    terms = {name: values for name, values in history.items() if name not in _NO_TERMS}
    if _LOSS in terms:
        total = {"all terms" if len(terms) > 2 else "training": terms.pop(_LOSS)}
        # A loss of one term is that term.
        terms = total | (terms if len(terms) > 1 else {})
    seen = _measured(history.get(_VAL_LOSS, ()))
    lines = terms | ({"validation, cross entropy": history[_VAL_LOSS]} if seen else {})
    panels = [
        Panel(
            line_chart(epochs, lines, "loss, mean over the epoch", "Loss by epoch"),
            "Loss over the epochs of the training.",
        )
    ]
    lead = counted(len(epochs), "epoch")
    reached = _measured(history.get(_VAL_ACCURACY, ()))
    if reached:
        shares = [None if value is None else 100 * value for value in history[_VAL_ACCURACY]]
        chart = line_chart(epochs, {"validation": shares}, "accuracy, %", "Accuracy by epoch")
        panels.append(Panel(chart, "Share of validation images given their class."))
        lead += f"; validation accuracy {100 * reached[-1]:.2f} % at the end"
        if max(reached) > reached[-1]:
            lead += f", {100 * max(reached):.2f} % at best"
    return TrainingPanel(f"{lead}.", panels)


def _measured(values: Column) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def line_chart(x: Column, lines: Mapping[str, Column], y_name: str, label: str) -> Drawing:
    """Lines over epochs; what was not measured in an epoch is bridged.

    Args:
        x: Numbers of the epochs.
        lines: Values by name.
        y_name: Name of the axis.
        label: What the figure shows, for readers who do not see it.
    """

    def draw(axes: "Axes") -> None:
        for number, (name, values) in enumerate(lines.items()):
            points = [
                (at, value)
                for at, value in zip(x, values, strict=True)
                if at is not None and value is not None and math.isfinite(value)
            ]
            axes.plot(
                [float(at) for at, _ in points],
                [value for _, value in points],
                # A line of one point would not be seen.
                marker="o" if len(points) == 1 else None,
                color=ROLES[f"s{number % 8}"],
                linestyle="solid" if number == 0 else (0, (5, 1.5)),
                label=f" {name}" if name.startswith("_") else name,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(y_name)
        axes.locator_params(axis="x", integer=True)
        if len(lines) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7.5)

    return Drawing(draw, (4.0, 2.6), label)
