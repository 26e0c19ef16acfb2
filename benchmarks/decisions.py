"""What promised false alarm rates come to on real features, over many random calibration sets.

    python benchmarks/decisions.py FOLDER

FOLDER holds archives as `ltood import` reads them. Each method is fitted on the training rows. The
test rows are split anew in every draw, into calibration rows and new rows, for each promise of
docs/decisions.md. Prints the tables and writes docs/results/decisions.md.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ltood
from ltood.deployment.calibration import CalibrationRows, surprises
from ltood.deployment.promises import Promise
from ltood.deployment.rules import make_rule

RESULT = Path(__file__).resolve().parents[1] / "docs" / "results" / "decisions.md"
METHODS = ("msp", "energy", "gen", "knn", "mahalanobis", "vim", "fdbd")
DRAWS, HELD_OUT, LEVEL = 100, 2000, 0.05
#: Share of ID rows among those called OOD, in calls of so many new ID rows and all rows of a set.
FDR, NEW = 0.1, 2000
#: Calibration rows of the most frequent class for each of the rarest, where the mix is long-tailed.
IMBALANCE = 10
PROMISES: dict[str, dict[str, Any]] = {
    "`--fpr 0.05`": {"fpr": LEVEL},
    "`--fpr 0.05 --confidence 0.9`": {"fpr": LEVEL, "confidence": 0.9},
    "`--fpr 0.05 --per-group class`": {"fpr": LEVEL, "per_group": "class"},
    "`--sets 0.05`": {"sets": LEVEL},
}
SHIFTED: dict[str, dict[str, Any]] = {
    "`--fpr 0.05`": {"fpr": LEVEL},
    "`--fpr 0.05 --class-mix uniform`": {"fpr": LEVEL, "class_mix": "uniform"},
    "`--fpr 0.05 --per-group class`": {"fpr": LEVEL, "per_group": "class"},
    "`--sets 0.05`": {"sets": LEVEL},
}


@dataclass(frozen=True)
class Scored:
    """Test rows as a fitted detector sees them."""

    scores: Tensor
    logits: Tensor
    labels: Tensor
    description: dict[str, Any]
    ood: dict[str, Tensor]

    def held_out(self, rows: Tensor) -> CalibrationRows:
        """Some of the rows as calibration rows."""
        logits, labels = self.logits[rows], self.labels[rows]
        columns = self.scores[rows], logits.argmax(dim=1), labels, surprises(logits, labels)
        return CalibrationRows.of([CalibrationRows(*columns)])


@dataclass
class Rates:
    """Alarms of one promise over the draws, overall, by predicted and by true class."""

    overall: list[float] = field(default_factory=list)
    predicted: list[list[float]] = field(default_factory=list)
    true: list[list[float]] = field(default_factory=list)

    def take(self, is_ood: Tensor, predicted: Tensor, true: Tensor, num_classes: int) -> None:
        """Add the alarms of one draw."""
        self.overall.append(float(is_ood.double().mean()))
        for kept, groups in ((self.predicted, predicted), (self.true, true)):
            kept.append([float(is_ood[groups == c].double().mean()) for c in range(num_classes)])

    def row(self, name: str) -> str:
        """Percentages as a row of a table."""
        worst = [max(np.mean(kind, axis=0)) for kind in (self.predicted, self.true)]
        cells = [np.mean(self.overall), np.mean(np.array(self.overall) <= LEVEL), *worst]
        return f"| {name} | " + " | ".join(f"{100 * cell:.1f}" for cell in cells) + " |"


def scored(folder: Path, method: str) -> Scored:
    arrays = {name: np.load(folder / f"{name}.npz") for name in ("train", "test", "head")}
    head = arrays["head"]["weight"], arrays["head"]["bias"]
    pipe = ltood.Pipeline(method, head=head, device="cpu")
    pipe.fit(arrays["train"]["features"], arrays["train"]["labels"])
    test, labels = arrays["test"]["features"], torch.tensor(arrays["test"]["labels"]).long()
    scores = torch.tensor(pipe.score(test))
    logits = pipe.detector.head.logits(torch.tensor(test))
    description = {**pipe.detector.description, "calibration": {"split": "test"}}
    ood = {
        path.stem.removeprefix("ood_"): torch.tensor(pipe.score(np.load(path)["features"]))
        for path in sorted(folder.glob("ood_*.npz"))
    }
    return Scored(scores, logits, labels, description, ood)


def draws(
    rows: Scored, promises: dict[str, dict[str, Any]], shares: Sequence[float]
) -> dict[str, Rates]:
    """Rates of each promise, with calibration rows of a class mix and all other rows as new."""
    num_classes = len(shares)
    found = {name: Rates() for name in promises}
    wanted = np.array(shares) / sum(shares) * HELD_OUT
    for draw in range(DRAWS):
        order = torch.tensor(np.random.default_rng(draw).permutation(len(rows.labels)))
        place = torch.zeros_like(order)
        for c in range(num_classes):
            mine = rows.labels[order] == c
            place[mine] = torch.arange(int(mine.sum()))
        is_held = place < torch.tensor(wanted).round()[rows.labels[order]]
        if len(set(shares)) == 1:  # Any rows: the class mix of a draw is random, too.
            is_held = torch.arange(len(order)) < HELD_OUT
        held, new = rows.held_out(order[is_held]), balanced(order[~is_held], rows.labels)
        predicted = rows.logits[new].argmax(dim=1)
        for name, options in promises.items():
            rule = make_rule(Promise(**options), held, rows.description)
            judged = rule.judge(rows.scores[new], predicted, rows.logits[new])
            found[name].take(judged.is_ood, predicted, rows.labels[new], num_classes)
    return found


def discoveries(rows: Scored, ood: Tensor) -> tuple[float, float, float]:
    """Mean share of ID rows among those called OOD, of OOD rows found, and of OOD rows given."""
    wrong, hits = [], []
    for draw in range(DRAWS):
        order = torch.tensor(np.random.default_rng(draw).permutation(len(rows.labels)))
        rule = make_rule(Promise(fdr=FDR), rows.held_out(order[:HELD_OUT]), rows.description)
        new = order[HELD_OUT : HELD_OUT + NEW]
        scores = torch.cat([rows.scores[new], ood])
        logits = torch.zeros(len(scores), rows.logits.shape[1])
        p_values = rule.judge(scores, torch.zeros(len(scores), dtype=torch.long), logits).p_values
        assert p_values is not None
        flagged = p_values <= rule.cutoff(Counter(p_values.tolist()))
        wrong.append(float(flagged[:NEW].sum()) / max(float(flagged.sum()), 1.0))
        hits.append(float(flagged[NEW:].double().mean()))
    return float(np.mean(wrong)), float(np.mean(hits)), len(ood) / (NEW + len(ood))


def balanced(rows: Tensor, labels: Tensor) -> Tensor:
    """As many rows of every class, the first of each."""
    of_class = [rows[labels[rows] == c] for c in range(int(labels.max()) + 1)]
    fewest = min(map(len, of_class))
    return torch.cat([mine[:fewest] for mine in of_class])


def table(title: str, by_method: dict[str, dict[str, Rates]]) -> list[str]:
    lines = [f"## {title}", ""]
    for method, found in by_method.items():
        lines += [
            f"| `{method}` | mean | draws at most 5 % | worst predicted class | worst true class |",
            "|---|---|---|---|---|",
            *(rates.row(name) for name, rates in found.items()),
            "",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    plain, shifted, batches = {}, {}, []
    for method in METHODS:
        rows = scored(folder, method)
        num_classes = rows.logits.shape[1]
        plain[method] = draws(rows, PROMISES, [1.0] * num_classes)
        # As in a long tail, the rarest class is the one that the network knows least well.
        right = rows.logits.argmax(dim=1) == rows.labels
        accuracy = [float(right[rows.labels == c].double().mean()) for c in range(num_classes)]
        places = np.argsort(np.argsort(-np.array(accuracy)))
        tail = [IMBALANCE ** (-place / (num_classes - 1)) for place in places.tolist()]
        shifted[method] = draws(rows, SHIFTED, tail)
        for name, scores in rows.ood.items():
            cells = " | ".join(f"{100 * cell:.1f}" for cell in discoveries(rows, scores))
            batches.append(f"| `{method}` | {name} | {cells} |")
    lines = [
        "# Realised rates of promised decisions",
        "",
        f"Made by `python benchmarks/decisions.py` on {folder.name}: {DRAWS} draws of {HELD_OUT:,}",
        "calibration rows from the test rows, all others new. Percent of ID rows called OOD: the",
        "mean over draws, the share of draws whose rate is at most 5 %, and the mean of the class",
        "that comes off worst. [What the options promise](../decisions.md).",
        "",
        "A rate promised on average is at most 5 % in about half of the draws, one with confidence",
        "0.9 in about 90 of 100. Groups keep the rate for every predicted class; no option but",
        "`--sets` promises anything for true classes. In the second part the classes that the",
        "network knows least well are the rarest calibration rows, as in a long tail.",
        "",
        *table("The class mix of the calibration rows", plain),
        *table(f"Calibration rows with a long tail (1 : {IMBALANCE}), new rows balanced", shifted),
        "## Batches: `--fdr 0.1`",
        "",
        f"{NEW:,} new ID rows and all rows of an OOD set in one call. The promise is 10 % times",
        "the share of ID rows, on average.",
        "",
        "| method | OOD set | ID among called OOD | OOD rows found | OOD rows among all |",
        "|---|---|---|---|---|",
        *batches,
    ]
    print("\n".join(lines))
    RESULT.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
