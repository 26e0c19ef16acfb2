"""OODD row by row in plain loops."""

import numpy as np

from reference.scores import unit


def bank(features, logits, labels, share):
    """Kept training rows, the most confident of each class first, then the second ones, ..."""
    z = np.asarray(logits, dtype=np.float64)
    top = z.max(axis=1) - np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) - z.max(1)
    turns = []
    for label in sorted(set(labels.tolist())):
        own = [row for row in range(len(labels)) if labels[row] == label]
        own.sort(key=lambda row: -top[row])
        turns += [(turn, -top[row], row) for turn, row in enumerate(own)]
    kept = [row for _, _, row in sorted(turns)][: max(1, int(share * len(labels)))]
    return [unit(features[row]) for row in kept]


def kth_largest(row, rows, k):
    return sorted((float(np.dot(row, other)) for other in rows), reverse=True)[k - 1]


def oodd(kept, batches, *, k_train, k_memory, queue, stabilise, update_first=False):
    """Higher means more OOD; `batches` are lists of features that arrive together."""
    memory = []  # pairs (nearness, row)

    def remember(rows):
        memory.extend((kth_largest(row, kept, k_train), row) for row in rows)
        memory.sort(key=lambda pair: pair[0])
        del memory[queue:]

    if stabilise and len(kept) > 1:
        remember([unit(kept[i] + kept[i + 1]) for i in range(min(queue, len(kept) - 1))])
    scores = []
    for batch in batches:
        rows = [unit(row) for row in batch]
        if update_first:
            remember(rows)
        for row in rows:
            near = kth_largest(row, kept, k_train)
            if len(memory) < k_memory:
                scores.append(-near)
            else:
                far = kth_largest(row, [other for _, other in memory], k_memory)
                scores.append(far - near)
        if not update_first:
            remember(rows)
    return np.array(scores)
