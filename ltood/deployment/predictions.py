"""What a detector says about rows: verdicts, and the numbers they rest on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ltood.deployment.rules import RateRule, Rule


@dataclass(frozen=True)
class Predictions:
    """Predictions of the detector for N rows.

    Attributes:
        scores: OOD scores, [N] float32; higher means more OOD.
        is_ood: Verdicts, [N] bool; by the threshold, or by the rule that was chosen.
        classes: Most likely ID classes, [N] int64; meant for rows that are ID.
        nearest: The training classes whose mean features are most similar, best first,
            [N, 3] int64; fewer columns where fewer classes have training rows.
        similarities: Their cosine similarities, [N, 3] float32, -1 to 1.
        thresholds: Largest score of each row that counts as ID, [N] float64; None where scores
            alone do not decide.
        p_values: Conformal p-values, [N] float64; None without calibration rows.
        sets: Classes that are not ruled out, [N, C] bool; None where no sets were asked for.
        explanations: Columns of the method that say what a score comes from, [N] each.
        probabilities: Softmax of the most likely class, [N] float32; None without a head.
        examples: The most similar training images of those the detector holds, best first,
            [N, 3] int64 or fewer; None where it holds none.
        example_similarities: Their cosine similarities, like `examples`.
    """

    scores: Tensor
    is_ood: Tensor
    classes: Tensor
    nearest: Tensor
    similarities: Tensor
    thresholds: Tensor | None = None
    p_values: Tensor | None = None
    sets: Tensor | None = None
    explanations: Mapping[str, Tensor] = field(default_factory=dict)
    probabilities: Tensor | None = None
    examples: Tensor | None = None
    example_similarities: Tensor | None = None

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.scores)


def joined(parts: Sequence[Predictions], rule: Rule | None) -> Predictions:
    """Predictions of consecutive rows as one, with verdicts that depend on all of them.

    Args:
        parts: One or more, with the same columns.
        rule: What decides, if not the threshold.
    """
    columns: dict[str, Any] = {}
    for column in fields(Predictions):
        values = [getattr(part, column.name) for part in parts]
        if column.name == "explanations":
            columns[column.name] = {
                name: torch.cat([value[name] for value in values]) for name in values[0]
            }
        else:
            columns[column.name] = None if values[0] is None else torch.cat(values)
    whole = Predictions(**columns)
    if not (isinstance(rule, RateRule) and rule.is_joint) or whole.p_values is None:
        return whole
    cutoff = rule.cutoff(Counter(whole.p_values.tolist()))
    return replace(whole, is_ood=whole.p_values <= cutoff)
