"""What the page reads from the raw figures, and its picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ensembles_study import Floats

TITLES = {
    "cifar10_densenet": "CIFAR-10 DenseNet",
    "cifar100_densenet": "CIFAR-100 DenseNet",
    "demo": "demo",
    "demo_first": "first demo",
    "cifar10lt_seed0": "CIFAR-10-LT, seed 0",
    "cifar10lt_seed1": "CIFAR-10-LT, seed 1",
    "cifar10lt_seed2": "CIFAR-10-LT, seed 2",
    "places_efficientnet": "Places, frozen",
}


def name_of(key: str) -> str:
    """Feature set as the reader sees it."""
    return TITLES.get(key, key)


def reached(one: Mapping[str, Any], kind: str, detector: str) -> Floats:
    """Results of a detector on one feature set, [S, 3]."""
    return np.array(one[kind][detector])


def worst(one: Mapping[str, Any], found: Floats) -> float:
    """Largest regret over the OOD sets."""
    best = np.max([np.array(single)[:, 0] for single in one["singles"].values()], axis=0)
    return float((best - found[:, 0]).max())


def ours(raw: Mapping[str, Any], one: Mapping[str, Any]) -> Floats:
    """Results of the recommended ensemble."""
    return reached(one, "detectors", f"default: {raw['rule']}")


def hindsight(one: Mapping[str, Any]) -> tuple[str, Floats]:
    """The single method with the highest mean AUROC."""
    singles = {key: np.array(values) for key, values in one["singles"].items()}
    best = max(singles, key=lambda key: float(singles[key][:, 0].mean()))
    return best, singles[best]


def safest(one: Mapping[str, Any]) -> tuple[str, float]:
    """The single method with the smallest worst regret."""
    found = {key: worst(one, np.array(values)) for key, values in one["singles"].items()}
    best = min(found, key=found.__getitem__)
    return best, found[best]


def draw(raw: Mapping[str, Any], path: Path) -> None:
    """Worst regret of all detectors, one line of marks for each feature set."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "ltood"
    from matplotlib import pyplot

    sets = raw["sets"]
    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(sets) + 1.3), layout="constrained")
    marks: dict[str, list[float]] = {"hindsight": [], "ensemble": []}
    for line, one in enumerate(sets.values()):
        singles = [worst(one, np.array(values)) for values in one["singles"].values()]
        name = "single methods" if line == 0 else None
        axes.plot(singles, [line] * len(singles), "|", color="#888888", ms=13, label=name)
        marks["hindsight"].append(worst(one, hindsight(one)[1]))
        marks["ensemble"].append(worst(one, ours(raw, one)))
    lines = range(len(sets))
    best = {"marker": "o", "mfc": "none", "color": "#1f4e9c", "ms": 9}
    axes.plot(marks["hindsight"], lines, ls="", label="best single in hindsight", **best)
    axes.plot(marks["ensemble"], lines, "D", color="#c2410c", ms=8, label="ensemble")
    axes.set_yticks(range(len(sets)), [name_of(key) for key in sets])
    axes.set_ylim(len(sets) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-0.25, 120)
    ticks = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("worst regret over the OOD sets, AUROC points")
    axes.grid(axis="x", color="#dddddd")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
