"""Ensembles against single methods on many feature sets: the figures and their page.

    python -m benchmarks.ensembles --features STORES_FOLDER ... --out docs/results/ensembles.md \
        --raw ensembles.json [--cache FOLDER]

Every `*.zarr` of the folders is one feature set; it needs val, test and at least one OOD set.
Scores of the whole cross product (NAME.npz) and the figures of each set (NAME.json) are kept in the
cache; remove a file to compute it anew. The page keeps what it says before "## Results": protocol
and criterion were written before any result.
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
    passing,
    regret,
    results,
    screened,
    single_results,
)

#: The recommended ensemble: the page says on which sets it was chosen.
MEMBERS = tuple(
    f"logit_adjustment+{method}"
    for method in (
        "mahalanobis",
        "class_gaussian",
        "relative_mahalanobis",
        "vim",
        "fdbd",
        "cosine",
        "scale",
    )
)
SECOND = tuple(
    f"logit_adjustment+{method}"
    for method in ("mahalanobis", "relative_mahalanobis", "vim", "knn", "lts", "fdbd")
)
RULE, SCREEN = "z_mean", 0.55
#: Screens that are compared over several cuts of val.
SCREENS, CUTS = (0.0, 0.5, 0.55, 0.6, 0.65), 8
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
#: Other sets of members, not screened: the first choice with its runner-up, and a first try.
OTHERS = {
    "first choice": ("mahalanobis", "relative_mahalanobis", "vim", "knn", "openmax"),
    "its runner-up": ("class_gaussian", "relative_mahalanobis", "vim", "knn"),
    "five of a first try": ("mahalanobis", "knn", "lts", "vim", "gen"),
    "four of a first try": ("relative_mahalanobis", "knn", "lts", "vim"),
}
SPLITS = 100


def plain(scores: Scores) -> list[str]:
    """Methods alone, without calibrator and normaliser."""
    return [title for title in scores.rows if "+" not in title]


def one_set(scores: Scores) -> dict[str, Any]:
    """All figures of one feature set, as plain values."""
    singles = single_results(scores)
    detectors: dict[str, Floats] = {}
    ours = parts_of(scores, MEMBERS)
    groups = {"default": screened(ours, SCREEN), "default without the screen": ours}
    groups["second choice"] = screened(parts_of(scores, SECOND), SCREEN)
    named = {**OTHERS, "all methods": tuple(plain(scores))}
    groups |= {title: parts_of(scores, members) for title, members in named.items()}
    for title, parts in groups.items():
        for rule in RULES:
            detectors[f"{title}: {rule}"] = results(*ensemble_scores(parts, rule))
    passed = passing(ours.maps, ours.wrong, SCREEN)
    detectors["average member"] = np.mean([singles[name] for name in MEMBERS], axis=0)
    return {
        "ood": {name: rows.shape[1] for name, rows in scores.ood.items()},
        "rows": {"val": scores.val.shape[1], "test": scores.test.shape[1]},
        "kept": [m for m, ok in zip(MEMBERS, passed, strict=True) if ok],
        "singles": {title: found.tolist() for title, found in singles.items()},
        "detectors": {title: found.tolist() for title, found in detectors.items()},
        "screens": over_cuts(scores, singles),
        "bootstrap": against_best(scores, singles),
        "level": levels(scores),
        "ablations": ablated(scores, singles),
    }


def over_cuts(scores: Scores, singles: dict[str, Floats]) -> dict[str, list[tuple[float, float]]]:
    """Mean AUROC and worst regret by screen, for several cuts of val."""
    table: dict[str, list[tuple[float, float]]] = {f"{least:g}": [] for least in SCREENS}
    for seed in range(CUTS):
        parts = parts_of(scores, MEMBERS, seed=seed)
        for least in SCREENS:
            found = results(*ensemble_scores(screened(parts, least), RULE))
            row = float(found[:, 0].mean()), float(regret(found, singles).max())
            table[f"{least:g}"].append(row)
    return table


def against_best(scores: Scores, singles: dict[str, Floats]) -> dict[str, Any]:
    """The ensemble beside the single method that is best in hindsight, by mean AUROC."""
    best = max(singles, key=lambda title: float(singles[title][:, 0].mean()))
    test, ood = ensemble_scores(screened(parts_of(scores, MEMBERS), SCREEN), RULE)
    place = scores.row(best)
    pairs = [(ood[name], scores.ood[name][place]) for name in scores.ood]
    mean, low, high = ablations.difference((test, scores.test[place]), pairs)
    return {"best": best, "difference": mean, "low": low, "high": high}


def levels(scores: Scores) -> dict[str, Any]:
    """Realised false alarms with the second map, and without."""
    places = [scores.row(title) for title in MEMBERS]
    found = rates(list(draws(scores, fuse_by(RULE, SCREEN), places, SPLITS)))
    table = {name: {lev: asdict(rate) for lev, rate in row.items()} for name, row in found.items()}
    return {"mapped": table, "uncorrected": uncorrected(scores, places, SPLITS // 2)}


def ablated(scores: Scores, singles: dict[str, Floats]) -> dict[str, Any]:
    """Ablations with the default members."""
    parts = parts_of(scores, MEMBERS)
    whole = parts_of(scores, MEMBERS, share=1.0)
    everything = parts_of(scores, plain(scores))
    kept = passing(parts.maps, parts.wrong, SCREEN)
    chosen = [place for place, ok in enumerate(kept) if ok]
    weakest = min(chosen, key=lambda place: float(singles[MEMBERS[place]][:, 0].mean()))
    found: dict[str, Any] = {"copied": MEMBERS[weakest]}
    for rule in ("z_mean", "stouffer", "simes", "min_p"):
        table = ablations.random_members(everything, rule, singles, 20)
        found[rule] = {"members": {size: asdict(one) for size, one in table.items()}}
    for rule in ("z_mean", "stouffer"):
        tables = {
            "useless": ablations.useless_members(parts, rule, SCREEN, singles),
            "useless, no screen": ablations.useless_members(parts, rule, 0.0, singles),
            "copies": ablations.copied_member(parts, weakest, rule, SCREEN, singles),
            "map rows": ablations.map_rows(whole, rule, SCREEN, singles, 3),
        }
        found[rule] |= {
            name: {size: asdict(one) for size, one in table.items()}
            for name, table in tables.items()
        }
    fuse = fuse_by(RULE, SCREEN)
    found["decision rows"] = ablations.decision_rows(scores, MEMBERS, fuse, SPLITS)
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
        figures = options.cache / f"{store.stem}.json"
        if not figures.is_file():
            found = one_set(scores_of(store, options.cache))
            figures.write_text(json.dumps(found), encoding="utf-8")
            print(f"{store.stem}: done", flush=True)
        # Read back, so that figures are the same whether they are new or kept.
        sets[store.stem] = json.loads(figures.read_text(encoding="utf-8"))
    raw = {"members": MEMBERS, "rule": RULE, "screen": SCREEN, "sets": sets, "ranks": ranks(sets)}
    options.raw.write_text(json.dumps(raw), encoding="utf-8")
    write_page(options.out, raw)


if __name__ == "__main__":
    main()
