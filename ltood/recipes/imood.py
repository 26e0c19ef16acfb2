"""ImOOD: a detector that stays balanced although the classes it learns from are not.

Source: Liu et al., "Rethinking Out-of-Distribution Detection on Imbalanced Data Distribution",
NeurIPS 2024 (arXiv:2407.16430), section 3.3, with the released code where the paper is silent.
Defaults are the published settings of all its long-tailed tables: tau 1, weights 0.5 and 0.05,
two views, one outlier per image (for its OE + PASCL row on CIFAR100-LT PASCL's own settings are
auxiliary_weight 0.02 and temperature 0.2). `auxiliary: cocl` trains it on top of COCL (Miao et al.,
AAAI 2024), its highest row. Neither paper nor code says how the two are joined: here the class of
outliers takes part in the adjusted cross entropy with a prior of 1.

Departures, each undone by its switch: the feature pool of `base: maha` holds ID features, of
which each class keeps as many as it has images (official_pool: outliers under ID labels, one per
class and step, and no distance before every class has as many as the largest); the tail of the
pascl term is the rarest classes (official_tail: the last ones by index); w and b start where a
high g says ID (official_start: at random, perhaps the wrong way round). Score the features with
the method of the base (oe: msp, energy, bin_disc, maha: mahalanobis). The gamma layer, w and b
travel with the checkpoint and the features; the normaliser imood can use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import DataError
from ltood.core.limits import Limits, NonNegative, Positive, Share
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.asymmetric_contrastive import asymmetric_contrastive_loss
from ltood.losses.binary_discrimination import binary_discrimination_loss
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.losses.posterior_prior import (
    balanced_discrimination_loss,
    gamma_loss,
    log_beta,
    smoothed_labels,
)
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch
from ltood.recipes._class_pool import ClassPool
from ltood.recipes._mixed_batches import AuxPerImage, MixedOutput, MixedRecipe
from ltood.recipes._outlier_class import Groups, OutlierClassTerms, joint_cross_entropy
from ltood.recipes._tail import tail_classes
from ltood.runtime.console import log

_METHODS = {"oe": "msp", "energy": "energy", "maha": "mahalanobis"}


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ImOOD.

    Attributes:
        base: What the ID logit g is made from: "bin_disc" is a node of its own; "energy" is
            w logsumexp(z) + b; "oe" is w (largest probability - 1/C) + b, with the cross entropy
            to uniform on outliers as well; "maha" is w (squared Mahalanobis distance) + b.
        auxiliary: Term next to the detector's: "pascl" contrasts tail classes with one another
            and with outliers; "cocl" adds COCL's class of outliers, its prototypes of tail classes
            and its margin of head classes; "simclr", as the released code names it, is a second
            detector on the first output of the projection.
        detector_weight: Of all terms of the detector, 0 or more.
        auxiliary_weight: Of the auxiliary term, 0 or more; of "cocl" the margin counts twice, so
            that the default gives COCL's own weights for CIFAR.
        temperature: Divides the cosines of "pascl" and "cocl"; unitless, above 0.
        tail_share: Share of the classes that are the tail of "pascl" and "cocl", above 0 to 1; of
            "cocl" also the head.
        dim: Width of the projection, 1 or more.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Exponent of the prior in the logit adjustment and in the detector, 0 or more; 0 is
            a uniform prior in both.
        pool_rows: Most features of each class that "maha" keeps, 2 or more; null keeps as many
            as the class has images.
        official_pool: Fill the pool of "maha" as the released code does.
        official_tail: Take the classes with the highest index for the tail of "pascl" and "cocl".
        official_start: Start w and b at random.
    """

    base: Literal["oe", "energy", "bin_disc", "maha"] = "bin_disc"
    auxiliary: Literal["none", "pascl", "cocl", "simclr"] = "none"
    detector_weight: NonNegative = 0.5
    auxiliary_weight: NonNegative = 0.05
    temperature: Positive = 0.07
    tail_share: Share = 0.4
    dim: Annotated[int, Limits(at_least=1, at_most=65_536)] = 128
    aux_per_image: AuxPerImage = 1.0
    tau: NonNegative = 1.0
    pool_rows: Annotated[int, Limits(at_least=2, at_most=10**9)] | None = None
    official_pool: bool = False
    official_tail: bool = False
    official_start: bool = False

    def check(self) -> None:
        """Refuse a pool without an outlier for every image."""
        if self.official_pool and self.aux_per_image < 1:
            raise self.fault(
                "aux_per_image",
                f"is {self.aux_per_image}, but official_pool puts an outlier under the label of "
                "every image; set aux_per_image to 1 or more.",
            )


class Imood(MixedRecipe[Config]):
    """Logit-adjusted cross entropy, a detector, and the gamma layer that balances it.

    Attributes:
        gamma: From features to the logarithm of gamma, D to C.
        score_map: From the base's score s to g = w s + b; not with `base: bin_disc`.
        projection: Of features, with `auxiliary: pascl` and `simclr` only.
        margins: Terms of COCL, with `auxiliary: cocl` only.
        pool: Features of the classes, with `base: maha` only.
    """

    num_views = 2
    log_prior: Tensor
    is_tail: Tensor
    gamma: nn.Linear
    score_map: nn.Linear
    projection: nn.Sequential
    margins: OutlierClassTerms
    pool: ClassPool

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If `auxiliary: pascl` or `cocl` would have a tail without classes.
            DataError: If a class has no training images and tau is above 0 or the base is maha.
        """
        super().__init__(config, prior)
        self.register_buffer("log_prior", self.shift.log_softmax(dim=0))
        if config.base == "maha":
            prior.probabilities()
        if config.auxiliary in ("pascl", "cocl"):
            is_tail = tail_classes(
                prior, config.tail_share, "recipes.imood", index_order=config.official_tail
            )
            self.register_buffer("is_tail", is_tail)

    @property
    def num_aux_outputs(self) -> int:
        """A node, high for ID, with `base: bin_disc`, and then COCL's class of outliers."""
        return (self.config.base == "bin_disc") + self.num_outlier_classes

    @property
    def num_outlier_classes(self) -> int:
        """One with `auxiliary: cocl`."""
        return int(self.config.auxiliary == "cocl")

    def attach(self, backbone: Backbone) -> None:
        """Build the gamma layer, and what the base and the auxiliary term need."""
        config, width = self.config, backbone.feature_dim
        num_classes = self.prior.num_classes
        self.gamma = nn.Linear(width, num_classes)
        nn.init.zeros_(self.gamma.bias)
        if config.base != "bin_disc":
            self.score_map = nn.Linear(1, 1)
            if not config.official_start:
                # A squared Mahalanobis distance is about D for ID rows, and it is high for OOD.
                weight, bias = (-1 / width, 2.0) if config.base == "maha" else (1.0, 0.0)
                nn.init.constant_(self.score_map.weight, weight)
                nn.init.constant_(self.score_map.bias, bias)
        if config.auxiliary == "cocl":
            groups = Groups(config.tail_share, config.tail_share, config.official_tail)
            self.margins = OutlierClassTerms(self.prior, groups, "recipes.imood", width)
        elif config.auxiliary != "none":
            self.projection = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.dim)
            )
        if config.base == "maha":
            self.pool = self._empty_pool(width)

    def head_extras(self) -> dict[str, NDArray[np.float32]]:
        """The gamma layer, and (w, b) under the name of the method that gives the score s."""
        layers = {"gamma_weight": self.gamma.weight, "gamma_bias": self.gamma.bias}
        base = self.config.base
        if base != "bin_disc":
            weight, bias = self.score_map.weight[0, 0], self.score_map.bias[0]
            method = _METHODS[base]
            layers[f"{method}_map"] = torch.stack([weight, bias])
            if (weight > 0) == (base == "maha"):
                log(
                    f"warning: ImOOD learned w = {weight.item():.3g}, so its detector reads the "
                    f"score of {method} the other way round than the method does; set "
                    "normalisers.imood.detector to stored when you score."
                )
        return {name: value.detach().float().cpu().numpy() for name, value in layers.items()}

    def _empty_pool(self, width: int) -> ClassPool:
        counts, most = self.prior.counts, self.config.pool_rows
        if self.config.official_pool:
            size = int(counts.max()) if most is None else min(int(counts.max()), most)
            capacity = [size] * len(counts)
            return ClassPool(capacity, width, ready_counts=capacity)
        # Two views of its one image give a class two rows.
        capacity = [max(2, count if most is None else min(count, most)) for count in counts]
        return ClassPool([int(rows) for rows in capacity], width)

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """Terms in nats: `cross_entropy`, `gamma`, `discrimination`, and those of the settings.

        `base: oe` adds `outlier_exposure`, `auxiliary: pascl` adds `asymmetric_contrast`,
        `auxiliary: cocl` adds `outlier_class`, `tail_prototypes` and `head_margin`, and
        `auxiliary: simclr` adds `projected_discrimination`.

        Raises:
            MissingNeedError: If the batch holds no outliers.
            DataError: If official_pool meets fewer outliers than images.
        """
        config, out = self.config, self.mixed_pass(batch)
        if config.auxiliary == "cocl":
            terms = {"cross_entropy": joint_cross_entropy(out, self.shift, 1)}
        else:
            terms = {"cross_entropy": self.cross_entropy(out)}
        # Small probabilities of rare classes are divided by: too much for 16 bits.
        with torch.autocast(out.logits.device.type, enabled=False):
            detector = self._detector_terms(out, batch)
        terms |= {name: config.detector_weight * value for name, value in detector.items()}
        if config.auxiliary == "pascl":
            in_tail = self.is_tail[out.labels]
            terms["asymmetric_contrast"] = config.auxiliary_weight * asymmetric_contrastive_loss(
                self.projection(out.pooled[in_tail]),
                out.labels[in_tail],
                self.projection(out.aux_pooled),
                temperature=config.temperature,
            )
        elif config.auxiliary == "cocl":
            margins = self.margins(
                out, batch.generator, temperature=config.temperature, margin=1.0, parts=1
            )
            margins["head_margin"] *= 2
            terms |= {name: config.auxiliary_weight * value for name, value in margins.items()}
        elif config.auxiliary == "simclr":
            first, others = (
                self.projection(rows)[:, 0].to(out.logits.dtype)
                for rows in (out.pooled, out.aux_pooled)
            )
            terms["projected_discrimination"] = (
                config.auxiliary_weight * binary_discrimination_loss(first, others)
            )
        return terms

    def _detector_terms(self, out: MixedOutput, batch: StepBatch) -> dict[str, Tensor]:
        """Unweighted terms of the detector."""
        dtype = out.logits.dtype
        pooled, aux_pooled = out.pooled.to(dtype), out.aux_pooled.to(dtype)
        if self.config.base == "bin_disc":
            id_nodes, aux_nodes = out.nodes[:, 0], out.aux_nodes[:, 0]
        else:
            id_nodes = self._node(out.logits, pooled)
            aux_nodes = self._node(out.aux_logits, aux_pooled)
        if self.config.base == "maha":
            self._fill_pool(pooled, aux_pooled, batch.labels, out.labels)
        num_classes = self.prior.num_classes
        id_posterior = smoothed_labels(out.labels, num_classes, dtype)
        aux_posterior = out.aux_logits.detach().log_softmax(dim=1)
        id_betas = log_beta(self.gamma(pooled), id_posterior, self.log_prior)
        aux_betas = log_beta(self.gamma(aux_pooled), aux_posterior, self.log_prior)
        terms = {
            "gamma": gamma_loss(torch.cat([id_betas, aux_betas]), torch.cat([id_nodes, aux_nodes])),
            "discrimination": balanced_discrimination_loss(
                id_nodes, aux_nodes, id_betas, aux_betas
            ),
        }
        if self.config.base == "oe":
            terms["outlier_exposure"] = uniform_cross_entropy(out.aux_logits)
        return terms

    def _node(self, logits: Tensor, pooled: Tensor) -> Tensor:
        """ID logit g = w s + b, [N], from class logits [N, C] and features [N, D]."""
        if self.config.base == "energy":
            score = logits.logsumexp(dim=1)
        elif self.config.base == "oe":
            score = logits.softmax(dim=1).amax(dim=1) - 1 / logits.shape[1]
        else:
            # Before this batch goes into the pool: rows are not to be compared with themselves.
            score = self.pool.min_distances(pooled)
        node: Tensor = self.score_map(score[:, None])
        return node[:, 0]

    def _fill_pool(
        self, pooled: Tensor, aux_pooled: Tensor, labels: Tensor, all_labels: Tensor
    ) -> None:
        if not self.config.official_pool:
            self.pool.update(pooled.detach(), all_labels)
            return
        if len(aux_pooled) < len(labels):
            raise DataError(
                f"official_pool stores an outlier under each of {len(labels)} labels, but the "
                f"batch holds {len(aux_pooled)}; set recipes.imood.aux_per_image to 1 or more."
            )
        self.pool.update(aux_pooled[: len(labels)].detach(), labels, first_only=True)


Entry = Imood
