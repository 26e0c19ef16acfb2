"""How far the choice of `auto` is from the best candidate in hindsight.

    python -m benchmarks.choice STORE [STORE ...] [--raw FILE.json] [--seeds 3]

For each feature store: `auto` chooses with several seeds, by ID rows alone. Then, and only then,
every candidate it has ranked is fitted on all training rows and scored on the test sets. Printed
as the tables of docs/results/auto.md: the mean AUROC of the choice over the OOD sets, its regret
against the best candidate, and Kendall's tau between the ranks of `auto` and the test AUROCs.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from ltood.choosing.candidates import Candidate
from ltood.methods.auto import Auto
from ltood.metrics.auroc import auroc
from ltood.ops.held_methods import HeldMethod, read_for_all
from ltood.scoring.session import ScoringSession
from ltood.store.features import FeatureStore


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="setting of auto, KEY=JSON")
    given = parser.parse_args(arguments)
    settings = {key: json.loads(value) for key, value in (item.split("=", 1) for item in given.set)}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    studies = {path.stem: study(path, given.seeds, settings) for path in given.stores}
    print(page(studies))
    if given.raw:
        given.raw.write_text(json.dumps(studies, indent=1))
    return 0


def study(path: Path, seeds: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Choices of several seeds, and what every candidate does on the test sets."""
    session = ScoringSession.open(FeatureStore.open(path), "cpu")
    inputs = session.inputs()
    choices = []
    for seed in range(seeds):
        start = time.process_time()
        auto = Auto(seed=seed, **settings)._fit(inputs)
        found = auto.findings()["choice"]
        choices.append({**found, "cpu_seconds": time.process_time() - start})
    titles = [row["title"] for row in choices[0]["candidates"]]
    members = {candidate.title: candidate for candidate in Auto(**settings).config.members}
    return {"choices": choices, "test": hindsight(session, [members[name] for name in titles])}


@torch.inference_mode()
def hindsight(session: ScoringSession, candidates: list[Candidate]) -> dict[str, dict[str, float]]:
    """AUROC of each candidate on each test OOD set."""
    held = []
    for candidate in candidates:
        held.append(HeldMethod(candidate))
        held[-1].fit(session.inputs())
    arrays = sorted({*(name for one in held for name in one.arrays), "ids", "labels"})

    def scores(split: str) -> np.ndarray:
        parts = []
        for batch in session.source(split).batches(arrays=arrays):
            read_for_all(held, batch)
            parts.append(torch.stack([one.score(batch).float() for one in held]))
        return torch.cat(parts, dim=1).numpy()

    known = scores("test")
    sets = {name: scores(name) for name in session.store.ood_splits}
    return {
        candidate.title: {name: auroc(known[place], found[place]) for name, found in sets.items()}
        for place, candidate in enumerate(candidates)
    }


def page(studies: dict[str, Any]) -> str:
    """Tables of all studies: each choice and its regret, then every candidate."""
    lines = [
        "| features | best in hindsight | mean candidate | median | chosen, by seed | regret | "
        "Kendall's tau | processor seconds |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for name, found in studies.items():
        test = means(found)
        best = max(test, key=lambda title: test[title])
        values = 100 * np.array(list(test.values()))
        chosen = [choice["chosen"] for choice in found["choices"]]
        regrets = [100 * (test[best] - test[title]) for title in chosen]
        taus = [tau(choice, test) for choice in found["choices"]]
        seconds = np.mean([choice["cpu_seconds"] for choice in found["choices"]])
        lines.append(
            f"| {name} | {best}, {100 * test[best]:.2f} | {values.mean():.2f} | "
            f"{np.median(values):.2f} | {', '.join(chosen)} | "
            f"{', '.join(f'{regret:.2f}' for regret in regrets)} | "
            f"{', '.join(f'{value:.2f}' for value in taus)} | {seconds:.0f} |"
        )
    titles = sorted({title for found in studies.values() for title in found["test"]})
    lines += ["", "Mean AUROC of every candidate over the test OOD sets:", ""]
    lines += [f"| candidate | {' | '.join(studies)} |", f"|---|{'---:|' * len(studies)}"]
    for title in titles:
        cells = (means(found).get(title) for found in studies.values())
        texts = ("–" if value is None else f"{100 * value:.2f}" for value in cells)  # noqa: RUF001
        lines.append(f"| {title} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def means(found: dict[str, Any]) -> dict[str, float]:
    """Mean AUROC of each candidate over the test sets."""
    return {title: float(np.mean(list(row.values()))) for title, row in found["test"].items()}


def tau(choice: dict[str, Any], test: dict[str, float]) -> float:
    """Kendall's tau between the ranks of a choice and the AUROCs on the test sets."""
    ranks = {row["title"]: row["mean_rank"] for row in choice["candidates"]}
    found: float = kendalltau([-rank for rank in ranks.values()], [test[it] for it in ranks])[0]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
