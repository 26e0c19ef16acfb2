"""GradNorm one row at a time: every entry of the gradient, in plain loops."""

from reference.scores import softmax


def gradnorm(feature, logits, target=None, temperature=1.0):
    """Higher means more OOD; `target` is uniform where it is not given."""
    probabilities = softmax([float(z) / temperature for z in logits])
    target = [1 / len(logits)] * len(logits) if target is None else target
    total = 0.0
    for probability, share in zip(probabilities, target, strict=True):
        for activation in feature:
            total += abs((probability - share) / temperature * float(activation))
    return -total
