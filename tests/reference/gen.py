"""GEN of one row in plain loops."""

from reference.scores import softmax


def gen(logits, gamma=0.1, k=100):
    """Higher means more OOD."""
    ordered = sorted((float(z) for z in logits), reverse=True)
    probabilities = softmax(ordered)
    total = 0.0
    for i, probability in enumerate(probabilities[:k]):
        rest = sum(other for j, other in enumerate(probabilities) if j != i)
        total += (probability * rest) ** gamma
    return total
