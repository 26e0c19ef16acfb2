"""Runs of a repository as a short table: names, when, main figures and what differs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.errors import ConfigError, LtoodError, quoted
from ltood.evaluation.tables import percent
from ltood.metrics import METRICS
from ltood.runs.groups import common_name, is_setting, meant, without
from ltood.runs.revisions import Revision, experiments, workspace_of
from ltood.runs.settings import differing, label
from ltood.runtime.files import read_json
from ltood.runtime.params import parse_params, section
from ltood.runtime.scratch import scratch_folder
from ltood.runtime.widths import padded, width

#: Figures of `results/summary.json` that are shown, with their headings.
FIGURES = {
    "auroc": "AUROC",
    "fpr95_ood_pos": "OOD+",
    "fpr95_id_pos": "ID+",
    "accuracy": "accuracy",
    "accuracy_few": "few",
}
_SUMMARY = "results/summary.json"
_PARAMS = "params.yaml"
#: Stages that the figures come from; settings of others change none of them.
_STAGES = (
    *("prepare", "train", "extract", "adapt"),
    *("calibrate", "score", "normalise", "evaluate"),
)


@dataclass(frozen=True)
class Listed:
    """One line of the table: a run, or several that differ in one setting alone.

    Attributes:
        name: What it is called.
        date: When it was committed; None for the workspace.
        settings: Its settings by dotted names; those of the first of several runs.
        values: Values of each run by key, in fractions; empty where a run has no results.
        by: What the runs differ in, of each; empty of a single run.
    """

    name: str
    date: str | None
    settings: Mapping[str, Any]
    values: Mapping[str, tuple[float, ...]]
    by: tuple[str, ...] = ()

    def mean(self, key: str) -> float | None:
        """Mean of a figure over the runs."""
        values = self.values.get(key)
        return float(np.mean(values)) if values else None

    def std(self, key: str) -> float | None:
        """Standard deviation over the runs; None of a single one."""
        values = self.values.get(key, ())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def listed(root: Path, by: Sequence[str] = (), sort: str | None = None) -> list[Listed]:
    """The workspace and all experiments of a repository, newest first.

    Args:
        root: Repository.
        by: Settings that runs of one line may differ in, such as "seed".
        sort: Key of `FIGURES` that orders the lines, best first.

    Raises:
        ConfigError: If there is no key `sort`, or no run has a setting of `by`.
    """
    if sort is not None and sort not in FIGURES:
        raise ConfigError(f"--sort is {quoted(sort)}; use {', '.join(FIGURES)}.")
    with scratch_folder() as scratch:
        states = [workspace_of(root), *reversed(experiments(root))]
        found = [line for state in states if (line := _line(state, scratch))]
    if by:
        found = _grouped(found, by)
    if sort is not None:
        sign = 1 if sort not in METRICS or METRICS[sort].higher_is_better else -1
        found.sort(key=lambda line: _place(line.mean(sort), sign))
    return found


def _place(value: float | None, sign: int) -> tuple[bool, float]:
    return value is None, 0.0 if value is None else -sign * value


def _line(state: Revision, scratch: Path) -> Listed | None:
    """A run; None for a workspace without results."""
    try:
        path = state.fetch(_SUMMARY, scratch)
        summary = {} if path is None else read_json(path, "run the evaluate stage again")
    except LtoodError:
        summary = {}
    if not summary and state.commit is None:
        return None
    values = {key: (float(summary[key]),) for key in FIGURES if key in summary}
    return Listed(state.name, state.date, {**state.settings(*_STAGES), **_start(state)}, values)


def _start(state: Revision) -> dict[str, Any]:
    """The weights that training started from, by the setting that names them.

    DVC's lock has their content alone, so this comes from the settings of the state; nothing, where
    there are no readable ones.
    """
    text = state.text(_PARAMS)
    try:
        training = section(parse_params(text or "", Path(_PARAMS)), "training")
    except LtoodError:
        return {}
    return {"training.weights": training["weights"]} if "weights" in training else {}


def _grouped(lines: Sequence[Listed], by: Sequence[str]) -> list[Listed]:
    for wanted in by:
        if not any(is_setting(name, wanted) for line in lines for name in line.settings):
            raise ConfigError(f"--by is {quoted(wanted)}, which no run records; name a setting.")
    found: dict[str, list[Listed]] = {}
    for line in lines:
        found.setdefault(without(line.settings, by), []).append(line)
    return [_joined(members, by) for members in found.values()]


def _joined(members: Sequence[Listed], by: Sequence[str]) -> Listed:
    if len(members) == 1:
        return members[0]
    values = {
        key: tuple(value for line in members for value in line.values.get(key, ()))
        for key in FIGURES
    }
    own = [label(line.settings, meant(line.settings, by)) for line in members]
    kept = {
        name: value
        for name, value in members[0].settings.items()
        if not any(is_setting(name, wanted) for wanted in by)
    }
    name = common_name([line.name for line in members])
    return Listed(name, members[0].date, kept, values, tuple(own))


def as_text(lines: Sequence[Listed]) -> str:
    """The table for a terminal, in percent."""
    if not lines:
        return (
            "no runs yet: `dvc repro` makes the first, `dvc exp run --name NAME -S KEY=VALUE` "
            "further ones."
        )
    shown = {key: title for key, title in FIGURES.items() if any(key in x.values for x in lines)}
    names = differing([line.settings for line in lines])
    rows = [["run", "date", *shown.values(), "differs"]]
    for line in lines:
        cells = [_cell(line, key) for key in shown]
        runs = f"; {len(line.by)} runs: {', '.join(line.by)}" if line.by else ""
        rows.append([line.name, line.date or "-", *cells, f"{label(line.settings, names)}{runs}"])
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    text = []
    for row in rows:
        left, right = row[:2], row[2:-1]
        parts = [padded(cell, columns) for cell, columns in zip(left, widths, strict=False)]
        parts += [cell.rjust(columns) for cell, columns in zip(right, widths[2:], strict=False)]
        text.append("  ".join([*parts, row[-1]]).rstrip())
    notes = ["percent, mean over the OOD sets; OOD+ and ID+: FPR95 with that side positive"]
    if shown and "auroc" not in shown:
        notes = ["percent; no run has an OOD set"]
    if any(line.by for line in lines):
        notes.append("± standard deviation over the runs of a line")
    return "\n".join([*text, *notes])


def _cell(line: Listed, key: str) -> str:
    std = line.std(key)
    return percent(line.mean(key)) + ("" if std is None else f" ± {percent(std)}")


def as_json(lines: Sequence[Listed]) -> str:
    """The table with all settings, in fractions."""
    return json.dumps(
        [
            {
                "name": line.name,
                "date": line.date,
                "by": list(line.by),
                "figures": {key: list(values) for key, values in line.values.items()},
                "settings": dict(line.settings),
            }
            for line in lines
        ],
        indent=2,
        default=str,
    )
