"""EAT: several classes of outliers, tail images in other surroundings, and several heads.

Source: Wei, Wang and Zhang, "EAT: Towards Long-Tailed Out-of-Distribution Detection", AAAI 2024
(arXiv:2312.08939), and its released code (Stomach-ache/Long-Tailed-OOD-Detection), first stage.
The second stage is the recipe eat_finetune. Score its features with outlier_class, which reads
all heads.

Departures: head and tail are the classes with the most and the fewest images, where the released
code takes them by index (official_groups). It stops at batches with more tail than head images,
and repeats the mixed images of the step before where a batch holds no tail; here the first get
what fits and the second get none. Classes are predicted by the mean of the heads' logits, where
it adds up their softmaxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from ltood.core.limits import Limits, NonNegative, Share
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.virtual_labels import virtual_label_loss
from ltood.recipes._base import StepBatch
from ltood.recipes._experts import ExpertsRecipe
from ltood.recipes._mixed_batches import AuxPerImage, outliers_of
from ltood.recipes._tail import head_classes, tail_classes
from ltood.recipes._tail_crops import pasted


@dataclass(frozen=True)
class Config(Settings):
    """Settings of EAT.

    Attributes:
        outlier_classes: Classes of outliers, 1 or more; null takes 3 for up to 10 classes and 30
            for more, as published.
        experts: Heads on the same features, 1 or more.
        outlier_weight: Of the cross entropy of outliers to their nearest class, 0 or more.
        mix_weight: Of the cross entropy of tail images in other surroundings, 0 or more.
        tail_share: Share of the classes that are the tail, above 0 to 1.
        head_share: Share of the classes whose images are surroundings, above 0 to 1.
        official_groups: Take head and tail by index, as the official code does.
        aux_per_image: Outliers for each image of a batch, above 0.
    """

    outlier_classes: Annotated[int, Limits(at_least=1, at_most=10_000)] | None = None
    experts: Annotated[int, Limits(at_least=1, at_most=100)] = 3
    outlier_weight: NonNegative = 0.05
    mix_weight: NonNegative = 0.05
    tail_share: Share = 0.4
    head_share: Share = 0.4
    official_groups: bool = False
    aux_per_image: AuxPerImage = 1.0


class Eat(ExpertsRecipe[Config]):
    """Cross entropy of two views, virtual labels of outliers, and pasted tail images, per head.

    Attributes:
        is_tail: Classes whose crops are pasted, [C] bool.
        is_head: Classes on whose images they are pasted, [C] bool.
    """

    num_views = 2
    is_tail: Tensor
    is_head: Tensor

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If the tail or the head would have no class.
        """
        super().__init__(config, prior)
        self.aux_per_image = config.aux_per_image
        official = config.official_groups
        self.register_buffer(
            "is_tail", tail_classes(prior, config.tail_share, "recipes.eat", index_order=official)
        )
        self.register_buffer(
            "is_head", head_classes(prior, config.head_share, "recipes.eat", index_order=official)
        )

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy`, `virtual_labels` and `tail_crops`, summed over the heads.

        Raises:
            MissingNeedError: If the batch holds no outliers.
        """
        aux = outliers_of(batch)
        images, labels = self._mixed(batch, aux)
        num, num_aux = len(batch.labels) * len(batch.views), len(aux)
        output = batch.forward(torch.cat([*batch.views, aux, images]))
        id_labels = batch.labels.repeat(len(batch.views))
        terms: dict[str, list[Tensor]] = {
            "cross_entropy": [],
            "virtual_labels": [],
            "tail_crops": [],
        }
        for rows in self.experts.outputs(output):
            inner, outer, mixed = torch.split(rows, [num, num_aux, len(images)])
            terms["cross_entropy"].append(functional.cross_entropy(inner, id_labels))
            terms["virtual_labels"].append(virtual_label_loss(outer, self.prior.num_classes))
            # The sum of no rows is 0, and their mean would not be a number.
            total = functional.cross_entropy(mixed, labels, reduction="sum")
            terms["tail_crops"].append(total / max(len(labels), 1))
        weights = {
            "cross_entropy": 1.0,
            "virtual_labels": self.config.outlier_weight,
            "tail_crops": self.config.mix_weight,
        }
        return {name: weights[name] * torch.stack(parts).sum() for name, parts in terms.items()}

    def _mixed(self, batch: StepBatch, aux: Tensor) -> tuple[Tensor, Tensor]:
        """Tail images on head images of both views and on outliers, and their classes."""
        in_tail, in_head = self.is_tail[batch.labels], self.is_head[batch.labels]
        pairs = [(view[in_head], view[in_tail]) for view in batch.views]
        pairs.append((aux, batch.images[in_tail]))
        found = [pasted(ground, tail, batch.generator) for ground, tail in pairs]
        labels = batch.labels[in_tail]
        return (
            torch.cat([images for images, _ in found]),
            torch.cat([labels[rows] for _, rows in found]),
        )


Entry = Eat
