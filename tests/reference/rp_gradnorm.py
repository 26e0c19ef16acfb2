"""RP-GradNorm of one row in plain loops."""

from reference.gradnorm import gradnorm
from reference.rp_msp import tempered
from reference.scores import softmax


def rp_gradnorm(feature, logits, counts, tau=1.0, softmax_prior=False):
    """Higher means more OOD."""
    prior = tempered(counts, tau)
    return gradnorm(feature, logits, softmax(prior) if softmax_prior else prior)
