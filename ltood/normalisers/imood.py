"""ImOOD: correct scores for the imbalance of the training classes.

Source: Liu et al., "Rethinking Out-of-Distribution Detection on Imbalanced Data
Distribution", NeurIPS 2024 (arXiv:2407.16430), the post-hoc form. The corrected score
is score - scale * log beta with beta = mean over classes of posterior / prior: an image
whose predicted classes are rare in training loses OOD-ness. As in the authors' code
beta is a mean (the paper writes a sum, a constant apart) and the posterior is the
softmax of the raw logits. Departures: the Mahalanobis distance keeps its sign, which the
authors' code inverts, and MSP is taken without their constant 1/C, which ranks alike.
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ltood.core.detector import Normaliser
from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, FitInputs, Logits, Need, Scores

#: Published weight of log beta by method; it brings beta to the size of the score.
SCALES = {"msp": 0.1, "energy": 1.0, "bin_disc": 1.0, "mahalanobis": 0.01, "gradnorm": 10.0}


@dataclass(frozen=True)
class Config:
    """Settings of ImOOD's normaliser.

    Attributes:
        tau: Exponent of the prior, 0 or more; 0 means a uniform prior.
        scale: Weight of log beta, above 0, in units of the score; "auto" is the
            published one, which exists for some methods only.
        space: "logit" corrects the score itself; "prob" is the paper's product of beta
            and the ID probability, for bin_disc only.
        posterior: "raw" is softmax(z), as published; "adjusted" is softmax(z + tau log
            prior), for networks trained with logit adjustment.
        gamma: Weight of each class in beta, C values above 0; null is 1/C each.
    """

    tau: float = 1.0
    scale: float | Literal["auto"] = "auto"
    space: Literal["logit", "prob"] = "logit"
    posterior: Literal["raw", "adjusted"] = "raw"
    gamma: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        where = "normalisers.imood"
        if not 0 <= self.tau < math.inf:
            raise ConfigError(
                f"{where}.tau is {self.tau}; it is the prior's exponent, so set it to 0 or more "
                "(the paper uses 1)."
            )
        if self.scale != "auto" and (isinstance(self.scale, str) or not 0 < self.scale < math.inf):
            raise ConfigError(
                f"{where}.scale is {self.scale!r}; it weighs log beta, so set a number above 0, "
                "or auto for the published one."
            )
        if self.space not in ("logit", "prob"):
            raise ConfigError(f"{where}.space is {self.space!r}; it must be logit or prob.")
        if self.posterior not in ("raw", "adjusted"):
            raise ConfigError(
                f"{where}.posterior is {self.posterior!r}; it must be raw or adjusted."
            )
        if self.gamma is not None and not all(0 < value < math.inf for value in self.gamma):
            raise ConfigError(
                f"{where}.gamma is {list(self.gamma)}; give one number above 0 for each class."
            )


def log_beta(logits: Logits, log_prior: Tensor, log_gamma: Tensor) -> Tensor:
    """Log of the gamma-weighted sum of posterior over prior, [N] in the dtype of `logits`.

    Args:
        logits: Class logits whose softmax is the posterior, [N, C].
        log_prior: Log of the prior raised to tau and renormalised, [C].
        log_gamma: Log weights of the classes, [C].
    """
    log_posterior = torch.log_softmax(logits, dim=1)
    return torch.logsumexp(log_posterior - log_prior + log_gamma, dim=1)


class Imood(Normaliser):
    """Lowers the scores of rows predicted as rare classes, raises those of frequent ones."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})

    def __init__(self, config: Config | None = None, *, base: str) -> None:
        """Take the settings and the name of the method whose scores come in.

        Raises:
            ConfigError: If `scale` or `space` does not fit `base`.
        """
        self.config = config or Config()
        self.base = base
        if self.config.space == "prob" and base != "bin_disc":
            raise ConfigError(
                f"normalisers.imood.space is prob, but method {base} gives no probability of "
                "being ID; prob is for bin_disc only, use logit."
            )
        if isinstance(self.config.scale, float | int):
            self.scale = float(self.config.scale)
        elif base in SCALES:
            self.scale = SCALES[base]
        else:
            raise ConfigError(
                f"normalisers.imood.scale is auto, but there is no published scale for method "
                f"{base} (there is for {', '.join(sorted(SCALES))}); set a number, near 1 for "
                "scores in units of logits."
            )

    def fit(self, inputs: FitInputs) -> Self:
        """Learn the prior.

        Raises:
            ConfigError: If `gamma` has another length than there are classes.
            DataError: If a class has no training image.
        """
        log_shares = torch.tensor(inputs.require_prior().log())
        gamma = self.config.gamma
        if gamma is not None and len(gamma) != len(log_shares):
            raise ConfigError(
                f"normalisers.imood.gamma has {len(gamma)} values for {len(log_shares)} classes; "
                "give one for each class, in class order."
            )
        self.log_prior_ = torch.log_softmax(self.config.tau * log_shares, dim=0)
        self.log_gamma_ = (
            torch.full_like(log_shares, -math.log(len(log_shares)))
            if gamma is None
            else torch.tensor(gamma, dtype=torch.float64).log()
        )
        return self

    def normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """Corrected scores, [N] float32; higher means more OOD."""
        # In float64 a uniform prior changes no score, so it cannot break or make ties.
        logits = batch.logits.double()
        log_prior = self.learned("log_prior_").to(logits.device)
        if self.config.posterior == "adjusted":
            logits = logits + log_prior
        correction = log_beta(logits, log_prior, self.learned("log_gamma_").to(logits.device))
        base = scores.double()
        if self.config.space == "prob":
            # bin_disc gives minus the ID logit g; -log sigmoid(g) is softplus(-g).
            base = softplus(base)
        return (base - self.scale * correction).float()

    def in_use(self) -> dict[str, float]:
        """The scale, which "auto" takes from the method's name."""
        return {"scale": self.scale}


Entry = Imood
