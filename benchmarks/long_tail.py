"""Methods for long tails on networks trained on one: the group `long_tail` of `ltood compare`.

    python -m benchmarks.long_tail STORE [STORE ...]

The stores hold features of the same network and data from several seeds. First the ridge of `hpm`
is chosen among three shares by `auto`, from classes that are held out; then, and only then, the
group and a few others are scored on the test sets. Prints the tables of docs/results/long-tail.md:
means and standard deviations over the stores.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.choice import study
from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.store.features import FeatureStore

#: Shares of the mean variance among which the default of `hpm` was chosen, fixed beforehand.
GRID = (0.001, 0.01, 0.1)
#: Shares whose test figures are shown beside, which nothing was chosen by.
BEYOND = (1.0,)
OTHERS = ("mds_plus", "mahalanobis", "caref", "cadref", "kpca", "vim", "energy", "msp")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stores", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(ridges(given.stores))
    print(leaderboard(given.stores))
    return 0


def ridges(stores: list[Path]) -> str:
    """What held-out classes say of each ridge, and what the test sets say afterwards."""
    candidates = [
        {"method": "hpm", "settings": {"ridge": share}, "name": f"{share:g}"}
        for share in (*GRID, *BEYOND)
    ]
    found = [study(path, 1, {"candidates": candidates}) for path in stores]
    ranked = [{row["title"]: row for row in one["choices"][0]["candidates"]} for one in found]
    lines = [
        "| ridge | mean rank | AUROC of held-out classes | AUROC on the test sets |",
        "|---|---:|---:|---:|",
    ]
    for title in (f"{share:g}" for share in (*GRID, *BEYOND)):
        ranks = [one[title]["mean_rank"] for one in ranked]
        near = [100 * one[title]["auroc"]["held_out"] for one in ranked]
        test = [100 * np.mean(list(one["test"][title].values())) for one in found]
        lines.append(f"| {title} | {np.mean(ranks):.2f} | {spread(near)} | {spread(test)} |")
    return "\n".join(lines) + "\n"


def leaderboard(stores: list[Path]) -> str:
    """The group and other methods, best mean AUROC first."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in stores:
        store = FeatureStore.open(path)
        for config in (Config("long_tail"), Config(OTHERS)):
            board, _ = compare(store, config, {}, device="cpu")
            for row in board["rows"]:
                rows.setdefault(row["title"], []).append(row["mean"])
    group = {row.title for row in Config("long_tail").combinations()}
    lines = [
        "| row | AUROC | FPR95, OOD positive | false alarms many | medium | few |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for title in sorted(rows, key=lambda it: -np.mean([row["auroc"] for row in rows[it]])):
        cells = [
            spread([100 * row[key] for row in rows[title]]) for key in ("auroc", "fpr95_ood_pos")
        ]
        cells += [
            f"{100 * np.mean([row['false_alarms'][size] for row in rows[title]]):.1f}"
            for size in ("many", "medium", "few")
        ]
        name = f"**{title}**" if title in group else title
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the stores."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
