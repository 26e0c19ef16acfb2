"""ImOOD: correct scores for the imbalance of the training classes.

Source: Liu et al., "Rethinking Out-of-Distribution Detection on Imbalanced Data
Distribution", NeurIPS 2024 (arXiv:2407.16430), the post-hoc form. The corrected score
is score - scale * log beta with beta = mean over classes of posterior / prior: an image
whose predicted classes are rare in training loses OOD-ness. As in the authors' code
beta is a mean (the paper writes a sum, a constant apart) and the posterior is the
softmax of the raw logits. Departures: the Mahalanobis distance keeps its sign, which the
authors' code inverts (official_sign does so too), and MSP is taken without their constant
1/C, which ranks alike.

Features of a network that the recipe imood trained bring what it learned along: its gamma
layer, which the authors throw away after training, and the detector's w and b, without
which their test script ranks by the bare score, upside down where training made w negative.

Formula:
    beta = sum_c gamma_c softmax(z)_c / prior_c,  prior^tau made to sum to 1, gamma_c = 1/C
    score' = score - scale * log beta
    detector stored: score' = -(w s + b), s the score with its sign for ID
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ltood.core.batches import FeatureBatch, Features, Logits, Scores
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Normaliser
from ltood.losses.posterior_prior import LOG_GAMMA_RANGE

#: Published weight of log beta by method; it brings beta to the size of the score.
SCALES = {"msp": 0.1, "energy": 1.0, "bin_disc": 1.0, "mahalanobis": 0.01, "gradnorm": 10.0}

#: Sign that turns a method's score into the s of w s + b, up to a constant.
SIGNS = {"energy": -1.0, "msp": -1.0, "mahalanobis": 1.0}


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ImOOD's normaliser.

    Attributes:
        tau: Exponent of the prior, 0 or more; 0 means a uniform prior.
        scale: Weight of log beta, above 0, in units of the score; "auto" is the
            published one, which exists for some methods only.
        space: "logit" corrects the score itself; "prob" is the paper's product of beta
            and the ID probability, for bin_disc only.
        posterior: "raw" is softmax(z), as published; "adjusted" is softmax(z + tau log
            prior), for networks trained with logit adjustment.
        gamma: Weight of each class in beta, C values above 0; null is 1/C each; "stored" asks
            the gamma layer of the training for every row and takes the mean over classes.
        detector: "stored" replaces the score by -(w s + b) as trained, for energy, msp and
            mahalanobis with their default settings. No beta is added, because training made
            this score balanced: 0 and below says ID.
        official_sign: Take a Mahalanobis distance with the authors' sign, by which OOD rows get
            lower scores than ID rows.
    """

    tau: NonNegative = 1.0
    scale: Positive | Literal["auto"] = "auto"
    space: Literal["logit", "prob"] = "logit"
    posterior: Literal["raw", "adjusted"] = "raw"
    gamma: tuple[Positive, ...] | Literal["stored"] | None = None
    detector: Literal["score", "stored"] = "score"
    official_sign: bool = False


def log_beta(logits: Logits, log_prior: Tensor, log_gamma: Tensor) -> Tensor:
    """Log of the gamma-weighted sum of posterior over prior, [N] in the dtype of `logits`.

    Args:
        logits: Class logits whose softmax is the posterior, [N, C].
        log_prior: Log of the prior raised to tau and renormalised, [C].
        log_gamma: Log weights of the classes, [C].
    """
    log_posterior = torch.log_softmax(logits, dim=1)
    return torch.logsumexp(log_posterior - log_prior + log_gamma, dim=1)


def _stored(tensor: Tensor | None, setting: str, name: str) -> Tensor:
    if tensor is None:
        raise MissingNeedError(
            f"normalisers.imood.{setting} is stored, but the head holds no {name}; train with the "
            "recipe imood and the base of this method, or leave the setting at its default."
        )
    return tensor


class ImOOD(Normaliser[Config]):
    """Lowers the scores of rows predicted as rare classes, raises those of frequent ones."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})
    dim_axis: tuple[str, int] = ("gamma_weight_", 1)
    classes_axis: tuple[str, int] = ("log_prior_", 0)

    def _configure(self) -> None:
        """Find the scale and what is needed.

        Raises:
            ConfigError: If a setting does not fit the method.
        """
        base = self.base
        if self.config.space == "prob" and base != "bin_disc":
            raise ConfigError(
                f"normalisers.imood.space is prob, but method {base} gives no probability of "
                "being ID; prob is for bin_disc only, use logit."
            )
        if self.config.official_sign and base != "mahalanobis":
            raise ConfigError(
                f"normalisers.imood.official_sign is true, but the authors' code inverts "
                f"mahalanobis only, and the scores are those of {base}; set it to false."
            )
        if self.config.detector == "stored":
            if base not in SIGNS:
                raise ConfigError(
                    f"normalisers.imood.detector is stored, but ImOOD learns no w and b for method "
                    f"{base} (it does for {', '.join(SIGNS)}); set it to score."
                )
            self.needs, self.wants_default_base = frozenset({Need.HEAD}), True
            self.scale = 0.0
            return
        if self.config.gamma == "stored":
            self.needs = frozenset({Need.PRIOR, Need.HEAD})
            self.arrays = ("features", "logits")
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

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the prior, or take over what the training stored.

        Raises:
            ConfigError: If `gamma` has another length than there are classes.
            DataError: If a class has no training image.
            MissingNeedError: If something stored is asked for and the head does not hold it.
        """
        if self.config.detector == "stored":
            name = f"{self.base}_map"
            self.map_ = _stored(getattr(inputs.require_head(), name), "detector", name)
            return self
        log_shares = torch.tensor(inputs.require_prior().log())
        gamma = self.config.gamma
        if isinstance(gamma, str):
            head = inputs.require_head()
            self.gamma_weight_ = _stored(head.gamma_weight, "gamma", "gamma_weight")
            self.gamma_bias_ = _stored(head.gamma_bias, "gamma", "gamma_bias")
            gamma = None
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

    def _normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """Corrected scores, [N] float32; higher means more OOD."""
        if self.config.detector == "stored":
            return self._mapped(scores, batch)
        # In float64 a uniform prior changes no score, so it cannot break or make ties.
        logits = batch.logits.double()
        log_prior = self.learned("log_prior_").to(logits.device)
        if self.config.posterior == "adjusted":
            logits = logits + log_prior
        log_gamma = self.learned("log_gamma_").to(logits.device)
        if self.config.gamma == "stored":
            log_gamma = log_gamma + self._raw_gamma(batch.features)
        correction = log_beta(logits, log_prior, log_gamma)
        base = -scores.double() if self.config.official_sign else scores.double()
        if self.config.space == "prob":
            # bin_disc gives minus the ID logit g; -log sigmoid(g) is softplus(-g).
            base = softplus(base)
        return (base - self.scale * correction).float()

    def _mapped(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """Minus the ID logit of the trained detector, [N] float32."""
        weight, bias = self.learned("map_").double().to(scores.device)
        score = SIGNS[self.base] * scores.double()
        if self.base == "msp":
            score = score - 1 / batch.logits.shape[1]
        mapped: Tensor = -(weight * score + bias)
        return mapped.float()

    def _raw_gamma(self, features: Features) -> Tensor:
        """Logarithm of gamma for every row and class, [N, C] float64."""
        weight, bias = self.learned("gamma_weight_"), self.learned("gamma_bias_")
        raw = features @ weight.to(features).T + bias.to(features)
        return raw.double().clamp(*LOG_GAMMA_RANGE)

    def derived(self) -> dict[str, float]:
        """The scale, which "auto" takes from the method's name."""
        return {"scale": self.scale}


Entry = ImOOD
