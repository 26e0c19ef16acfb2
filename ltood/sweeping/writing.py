"""A finished sweep as files: table, figure, and the winning section of `params.yaml`."""

import csv
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltood.metrics import METRICS
from ltood.runtime.extras import command, is_there
from ltood.runtime.files import replace_together, to_json_bytes
from ltood.sweeping.candidates import Settings
from ltood.sweeping.searching import Candidate, Sweep, described, is_number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

TABLE, RECORD, BEST, FIGURE = "sweep.csv", "sweep.json", "best.yaml", "sweep"

#: More cells than this have no room for their numbers.
NAMED_CELLS = 150

#: Positive values whose ends differ by this factor stand on a logarithmic axis.
WIDE = 50

_STYLE: "dict[RcKeyType, object]" = {
    "svg.hashsalt": "ltood",
    "svg.fonttype": "none",
    "font.size": 8.5,
    "text.parse_math": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
}


def write_sweep(folder: Path, result: Sweep) -> None:
    """Write `sweep.csv`, `sweep.json`, `sweep.svg`, `sweep.png` and `best.yaml`.

    Without Matplotlib there is no figure, nor one of an earlier sweep, and a warning says so.

    Args:
        folder: Where to write; made if it is not there.
        result: A finished sweep.
    """
    figures = [folder / f"{FIGURE}.{kind}" for kind in ("svg", "png")]
    drawn = is_there("matplotlib")
    if not drawn:
        warnings.warn(
            f"no figure was drawn, which needs Matplotlib; run {command('matplotlib')}",
            stacklevel=2,
        )
        for path in figures:
            path.unlink(missing_ok=True)
    replace_together(
        {
            **{path: draw(result, path.suffix[1:]) for path in figures if drawn},
            folder / BEST: _section(result).encode(),
            folder / TABLE: _table(result).encode(),
            folder / RECORD: to_json_bytes(_record(result)),
        }
    )


def _table(result: Sweep) -> str:
    """One row per candidate in the order tried; metrics as fractions."""
    keys, metrics = list(result.winner.swept), list(result.winner.metrics)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, *metrics, "problem"])
    for item in result.candidates:
        numbers = [repr(item.metrics[key]) if item.metrics else "" for key in metrics]
        settings = [plain(item.swept[key]) for key in keys]
        writer.writerow([*settings, *numbers, item.problem or ""])
    return text.getvalue()


def _record(result: Sweep) -> dict[str, Any]:
    def entry(item: Candidate) -> dict[str, Any]:
        return {"settings": item.swept, "metrics": item.metrics or None, "problem": item.problem}

    return {
        "method": result.method,
        "calibrator": {
            "name": result.calibrator.name,
            "settings": dict(result.calibrator.settings),
        },
        "metric": result.metric,
        "validation": dict(result.validation),
        "features_fingerprint": result.features_fingerprint,
        "warnings": list(result.warnings),
        "best": {"section": result.winner.section, **entry(result.winner)},
        "candidates": [entry(item) for item in result.candidates],
    }


def _section(result: Sweep) -> str:
    """The winning section, ready for `params.yaml`."""
    from ruamel.yaml import YAML

    sides = f"{result.validation['id']} against {result.validation['ood']}"
    value = result.winner.metrics[result.metric]
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    # A name of a file may be longer than a line, and a comment has no way to go on.
    heading = f"{result.metric} {value:.4f} on {sides}, best of {len(result.candidates)}"
    text = io.StringIO()
    yaml.dump({"methods": {result.method: result.winner.section}}, text)
    return f"# {' '.join(heading.split())}\n{text.getvalue()}"


def draw(result: Sweep, kind: str) -> bytes:
    """The metric over the swept settings; the same sweep gives the same bytes.

    One setting gives a line, a full grid of two a heat map, anything else one panel of
    dots for each setting.

    Args:
        result: A finished sweep.
        kind: "svg" or "png".
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    keys = list(result.winner.swept)
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.8 * (1 if _is_grid(result) else len(keys)), 3.4))
        figure.set_layout_engine("constrained")
        if _is_grid(result):
            _heat_map(figure, result, keys)
        else:
            axes = figure.subplots(1, len(keys), squeeze=False)[0]
            for panel, key in zip(axes, keys, strict=True):
                _panel(panel, result, key, as_line=len(keys) == 1)
            axes[0].set_ylabel(f"{result.metric}, %")
        figure.suptitle(f"{result.method}: best {described(result.winner.swept)}", fontsize=9)
        out = io.BytesIO()
        figure.savefig(out, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})
    return out.getvalue()


def _is_grid(result: Sweep) -> bool:
    """Whether two settings were swept, each value of one with each of the other."""
    swept = [item.swept for item in result.candidates]
    if len(swept[0]) != 2:
        return False
    first, second = (_values(result, key) for key in swept[0])
    return min(len(first), len(second)) > 1 and len(first) * len(second) == len(swept)


def _values(result: Sweep, key: str) -> list[Any]:
    """Different values of one setting: numbers in ascending order, then words."""
    different = {plain(item.swept[key]): item.swept[key] for item in result.candidates}
    numbers = sorted(value for value in different.values() if is_number(value))
    return numbers + [value for value in different.values() if not is_number(value)]


def _usable(result: Sweep) -> list[tuple[Settings, float]]:
    """Settings and metric in percent of each candidate that was scored."""
    return [
        (item.swept, 100 * item.metrics[result.metric])
        for item in result.candidates
        if item.problem is None
    ]


def _panel(axes: "Axes", result: Sweep, key: str, *, as_line: bool) -> None:
    values = _values(result, key)
    numeric = all(is_number(value) for value in values)
    places = {plain(v): float(v) if numeric else float(i) for i, v in enumerate(values)}
    dots = sorted((places[plain(swept[key])], metric) for swept, metric in _usable(result))
    x, y = zip(*dots, strict=True)
    axes.plot(x, y, "-o" if as_line and numeric else "o", markersize=3.5, color="#3b6fb6")
    best = places[plain(result.winner.swept[key])]
    axes.plot(
        [best],
        [100 * result.winner.metrics[result.metric]],
        "o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor="#c2410c",
    )
    if not numeric:
        axes.set_xticks(list(places.values()), list(places))
    elif values[0] > 0 and values[-1] >= WIDE * values[0]:
        axes.set_xscale("log")
    axes.set_xlabel(key)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _heat_map(figure: "Figure", result: Sweep, keys: list[str]) -> None:
    axes = figure.subplots()
    rows, columns = (_values(result, key) for key in keys)
    row_of = {plain(value): place for place, value in enumerate(rows)}
    column_of = {plain(value): place for place, value in enumerate(columns)}
    cells = np.full((len(rows), len(columns)), np.nan)
    for swept, metric in _usable(result):
        cells[row_of[plain(swept[keys[0]])], column_of[plain(swept[keys[1]])]] = metric
    colours = "viridis" if METRICS[result.metric].higher_is_better else "viridis_r"
    image = axes.imshow(cells, aspect="auto", origin="lower", cmap=colours)
    figure.colorbar(image, label=f"{result.metric}, %")
    if cells.size <= NAMED_CELLS:
        middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
        for (row, column), value in np.ndenumerate(cells):
            light = (value < middle) == METRICS[result.metric].higher_is_better
            text = "-" if np.isnan(value) else f"{value:.1f}"
            colour = "white" if light and not np.isnan(value) else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    best = result.winner.swept
    axes.plot(
        [column_of[plain(best[keys[1]])]],
        [row_of[plain(best[keys[0]])]],
        "s",
        markersize=17,
        markerfacecolor="none",
        markeredgecolor="#c2410c",
    )
    for axis, key, names in ((axes.yaxis, keys[0], row_of), (axes.xaxis, keys[1], column_of)):
        # Beyond twenty names every n-th is written, so that none covers another.
        shown = range(0, len(names), -(-len(names) // 20))
        axis.set_ticks(list(shown), [list(names)[place] for place in shown])
        axis.set_label_text(key)
