"""Ensembles against single methods on many feature sets: the figures and their page.

    python -m benchmarks.ensembles --features STORES_FOLDER ... --out docs/results/ensembles.md \
        --raw ensembles.json [--cache FOLDER]

Every `*.zarr` of the folders is one feature set; it needs val, test and at least one OOD set.
Scores of the whole cross product are computed once and kept in the cache. The page keeps what it
says before "## Results": protocol and criterion were written before any result.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ensembles_ablations as ablations
from benchmarks.ensembles_level import draws, fuse_by, rates, uncorrected
from benchmarks.ensembles_page import write_page
from benchmarks.ensembles_scores import Scores, scores_of
from benchmarks.ensembles_statistics import conover_holm
from benchmarks.ensembles_study import (
    Floats,
    ensemble_scores,
    parts_of,
    results,
    single_results,
)

#: The default of methods.ensemble, chosen on the development sets.
MEMBERS = ("mahalanobis", "relative_mahalanobis", "vim", "knn", "openmax")
RULE = "stouffer"
RULES = (
    "simes",
    "min_p",
    "fisher",
    "stouffer",
    "cauchy",
    "top_half",
    "z_mean",
    "rank_mean",
    "majority",
)
#: Feature sets whose OOD results were known before the choice.
DEVELOPMENT = ("cifar10_densenet", "demo")
#: Other sets of members: the runner-up of that choice and those of the first try.
OTHERS = {
    "class_gaussian, relative_mahalanobis, vim, knn": (
        "class_gaussian",
        "relative_mahalanobis",
        "vim",
        "knn",
    ),
    "mahalanobis, knn, lts, vim, gen": ("mahalanobis", "knn", "lts", "vim", "gen"),
    "relative_mahalanobis, knn, lts, vim": ("relative_mahalanobis", "knn", "lts", "vim"),
}
SPLITS = 100


def plain(scores: Scores) -> list[str]:
    """Methods alone, without calibrator and normaliser."""
    return [title for title in scores.rows if "+" not in title]


def one_set(scores: Scores) -> dict[str, Any]:
    """All figures of one feature set, as plain values."""
    singles = single_results(scores)
    detectors: dict[str, Floats] = {}
    groups = {"default": MEMBERS, **OTHERS, "all methods": tuple(plain(scores))}
    for title, members in groups.items():
        parts = parts_of(scores, members)
        for rule in RULES:
            detectors[f"{title}: {rule}"] = results(*ensemble_scores(parts, rule))
    detectors["average member"] = np.mean([singles[name] for name in MEMBERS], axis=0)
    return {
        "ood": {name: rows.shape[1] for name, rows in scores.ood.items()},
        "rows": {"val": scores.val.shape[1], "test": scores.test.shape[1]},
        "singles": {title: found.tolist() for title, found in singles.items()},
        "detectors": {title: found.tolist() for title, found in detectors.items()},
        "bootstrap": against_best(scores, singles),
        "level": levels(scores),
        "ablations": ablated(scores, singles),
    }


def against_best(scores: Scores, singles: dict[str, Floats]) -> dict[str, Any]:
    """The ensemble beside the single method that is best in hindsight, by mean AUROC."""
    best = max(singles, key=lambda title: float(singles[title][:, 0].mean()))
    test, ood = ensemble_scores(parts_of(scores, MEMBERS), RULE)
    place = scores.row(best)
    pairs = [(ood[name], scores.ood[name][place]) for name in scores.ood]
    mean, low, high = ablations.difference((test, scores.test[place]), pairs)
    return {"best": best, "difference": mean, "low": low, "high": high}


def levels(scores: Scores) -> dict[str, Any]:
    """Realised false alarms with the second map, and without."""
    places = [scores.row(title) for title in MEMBERS]
    found = rates(list(draws(scores, fuse_by(RULE), places, SPLITS)))
    table = {name: {lev: asdict(rate) for lev, rate in row.items()} for name, row in found.items()}
    return {"mapped": table, "uncorrected": uncorrected(scores, places, SPLITS // 2)}


def ablated(scores: Scores, singles: dict[str, Floats]) -> dict[str, Any]:
    """Ablations with the default members."""
    parts = parts_of(scores, MEMBERS)
    rules = ("simes", "min_p", "fisher", "stouffer")
    everything = parts_of(scores, plain(scores))
    worst = min(MEMBERS, key=lambda title: float(singles[title][:, 0].mean()))
    found: dict[str, Any] = {"copied": worst}
    for rule in rules:
        tables = {
            "members": ablations.random_members(scores, everything, rule, singles, 20),
            "useless": ablations.useless_members(parts, rule, singles),
            "copies": ablations.copied_member(parts, MEMBERS.index(worst), rule, singles),
            "map rows": ablations.map_rows(scores, MEMBERS, rule, singles, 5),
        }
        found[rule] = {
            name: {size: asdict(one) for size, one in table.items()}
            for name, table in tables.items()
        }
    found["decision rows"] = ablations.decision_rows(scores, MEMBERS, RULE, SPLITS)
    return found


def ranks(sets: dict[str, Any]) -> dict[str, Any]:
    """Mean ranks over all pairs of feature set and OOD set, and who differs from the ensemble."""
    common = set.intersection(*(set(one["singles"]) for one in sets.values()))
    titles = sorted(title for title in common if "+" not in title)
    made = [f"default: {rule}" for rule in RULES]
    blocks = [
        [one["singles"][title][place][0] for title in titles]
        + [one["detectors"][title][place][0] for title in made]
        for one in sets.values()
        for place in range(len(one["ood"]))
    ]
    found = conover_holm(np.array(blocks))
    ours = len(titles) + RULES.index(RULE)
    return {
        "blocks": len(blocks),
        "p_value": found.p_value,
        "mean": dict(zip([*titles, *made], found.mean.tolist(), strict=True)),
        "like ours": [
            title for title, same in zip([*titles, *made], found.clique(ours), strict=True) if same
        ],
    }


def main() -> None:
    """Compute what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("data/work/ensembles"))
    options = parser.parse_args()
    stores = sorted(store for folder in options.features for store in folder.glob("*.zarr"))
    sets = {}
    for store in stores:
        scores = scores_of(store, options.cache)
        sets[store.stem] = one_set(scores)
        print(f"{store.stem}: done", flush=True)
    raw = {"members": MEMBERS, "rule": RULE, "sets": sets, "ranks": ranks(sets)}
    options.raw.write_text(json.dumps(raw), encoding="utf-8")
    write_page(options.out, raw)


if __name__ == "__main__":
    main()
