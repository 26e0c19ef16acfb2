"""BinDisc of one row in plain loops."""

from reference.scores import head_logits


def bin_disc(feature, extra_weight, extra_bias):
    """Higher means more OOD; the first node tells ID from OOD."""
    return -head_logits(feature, extra_weight[:1], extra_bias[:1])[0]
