"""RP-MSP of one row in plain loops."""

from reference.scores import softmax


def tempered(counts, tau):
    powers = [float(count) ** tau for count in counts]
    return [power / sum(powers) for power in powers]


def rp_msp(logits, counts, tau=1.0, scale=0.01):
    """Higher means more OOD."""
    pairs = zip(softmax([float(z) for z in logits]), tempered(counts, tau), strict=True)
    return -max(probability - scale * share for probability, share in pairs)
