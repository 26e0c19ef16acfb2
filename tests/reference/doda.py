"""DODA row by row in plain loops: as this project defines it, and as the authors' code has it."""

from math import exp, log

import numpy as np


def doda(batches, window, *, update_first=False):
    """Higher means more OOD; `batches` are lists of logits that arrive together."""
    memory, scores = [], []
    for batch in batches:
        if update_first:
            memory = (memory + list(batch))[-window:]
        around = memory or list(batch)
        classes = range(len(batch[0]))
        means = [sum(exp(row[c]) for row in around) / len(around) for c in classes]
        scores += [-log(sum(exp(row[c]) / means[c] for c in classes)) for row in batch]
        if not update_first:
            memory = (memory + list(batch))[-window:]
    return np.array(scores)


def published(batch):
    """The authors' confidence of the rows of one batch: a softmax over rows, summed over classes.

    It grows with ID-ness.
    """
    classes = range(len(batch[0]))
    return np.array(
        [sum(exp(row[c]) / sum(exp(other[c]) for other in batch) for c in classes) for row in batch]
    )
