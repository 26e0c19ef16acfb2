"""Scores, classes and logits of ID rows as a detector on a long-tailed network gives them."""

import numpy as np
import torch

from ltood.deployment.calibration import CalibrationRows, surprises

#: Two many, three medium and one few class.
COUNTS = [500, 300, 80, 60, 12, 8]
NAMES = ["ant", "bee", "cow", "dog", "elk", "fox"]
CLASS_GROUPS = torch.tensor([0, 0, 1, 1, 1, 2])
#: Rows of rare classes score higher: the network knows them less well.
SHIFT = torch.tensor([0.0, 0.0, 0.4, 0.4, 1.5, 1.5])


def description(split="val"):
    return {
        "class_names": NAMES,
        "class_counts": COUNTS,
        "calibration": {"split": split},
        "threshold": {"split": split},
    }


def draw(num, rng, mix=None):
    """Scores, logits and labels of `num` ID rows of a class mix; balanced if not given."""
    shares = np.ones(6) / 6 if mix is None else np.asarray(mix) / np.sum(mix)
    labels = torch.tensor(rng.choice(6, size=num, p=shares))
    logits = torch.tensor(rng.normal(size=(num, 6))) + 4.0 * torch.eye(6)[labels]
    # Scores depend on the logits, as those of most methods do, and on the class.
    noise = torch.tensor(rng.normal(size=num))
    scores = -0.3 * logits.amax(dim=1) + noise + SHIFT[labels]
    return scores.float(), logits.float(), labels


def as_rows(scores, logits, labels):
    classes = logits.argmax(dim=1)
    return CalibrationRows.of([CalibrationRows(scores, classes, labels, surprises(logits, labels))])


def judged(rule, scores, logits, labels):
    del labels
    return rule.judge(scores, logits.argmax(dim=1), logits)
