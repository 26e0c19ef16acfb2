"""Terms of COCL, which ImOOD can be trained on top of: one class of outliers, and its margins."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltood.core.prior import ClassPrior
from ltood.losses.outlier_margin import outlier_margin_loss
from ltood.losses.tail_prototypes import tail_prototype_loss
from ltood.recipes._mixed_batches import MixedOutput
from ltood.recipes._tail import head_classes, tail_classes


@dataclass(frozen=True)
class Groups:
    """Which classes are head and tail.

    Attributes:
        tail_share: Share of the classes that are the tail, above 0 to 1.
        head_share: Share of the classes that are the head, above 0 to 1.
        official: By index, and with one class more in the head, as the released code does.
    """

    tail_share: float
    head_share: float
    official: bool

    def head(self, prior: ClassPrior, where: str) -> Tensor:
        """Which classes are the head, [C] bool; `where` is the path of the section."""
        return head_classes(
            prior, self.head_share, where, index_order=self.official, more=int(self.official)
        )

    def tail(self, prior: ClassPrior, where: str) -> Tensor:
        """Which classes are the tail, [C] bool; `where` is the path of the section."""
        return tail_classes(prior, self.tail_share, where, index_order=self.official)


class OutlierClassTerms(nn.Module):
    """Outlier class, tail prototypes and head margin, none of them weighted.

    Attributes:
        prototypes: Of the tail classes in the order of their index, [T, D].
        is_tail: Which classes are the tail, [C] bool.
        is_head: Which classes are the head, [C] bool.
        number: Of the prototype of each class, [C] int64; only of use for the tail.
    """

    is_tail: Tensor
    is_head: Tensor
    number: Tensor

    def __init__(self, prior: ClassPrior, groups: Groups, where: str, dim: int) -> None:
        """Draw the prototypes of the tail classes.

        Args:
            prior: Training counts.
            groups: Which classes are head and tail.
            where: Path of the section, such as "recipes.cocl".
            dim: Feature width D.

        Raises:
            ConfigError: If the tail or the head would have no class.
        """
        super().__init__()
        is_tail = groups.tail(prior, where)
        self.register_buffer("is_tail", is_tail)
        self.register_buffer("is_head", groups.head(prior, where))
        self.register_buffer("number", is_tail.long().cumsum(0) - 1)
        # Uniform within 1 / sqrt(D), as the released code starts them.
        start = torch.rand(int(is_tail.sum()), dim) * 2 - 1
        self.prototypes = nn.Parameter(start / dim**0.5)

    def forward(
        self,
        out: MixedOutput,
        generator: torch.Generator,
        *,
        temperature: float,
        margin: float,
        parts: int,
    ) -> dict[str, Tensor]:
        """The terms `outlier_class`, `tail_prototypes`, in nats, and `head_margin`.

        Args:
            out: Output for a batch; the class of outliers is the last of its nodes.
            generator: Draws rows of head classes.
            temperature: Divides the cosines of the prototypes.
            margin: In the features' unit.
            parts: As `tail_prototype_loss` takes it.
        """
        outputs = torch.cat([out.aux_logits, out.aux_nodes[:, -1:]], dim=1)
        target = torch.full((len(outputs),), outputs.shape[1] - 1, device=outputs.device)
        in_tail, in_head = self.is_tail[out.labels], self.is_head[out.labels]
        return {
            "outlier_class": functional.cross_entropy(outputs, target),
            "tail_prototypes": tail_prototype_loss(
                out.pooled[in_tail],
                self.number[out.labels[in_tail]],
                self.prototypes,
                out.aux_pooled,
                temperature=temperature,
                parts=parts,
            ),
            "head_margin": outlier_margin_loss(
                out.aux_pooled, out.pooled[in_head], margin=margin, generator=generator
            ),
        }


def joint_cross_entropy(out: MixedOutput, shift: Tensor, num_outliers: int) -> Tensor:
    """Cross entropy of ID rows over the classes and those of outliers, 0-d, in nats.

    Args:
        out: Output for a batch; classes of outliers are the last of its nodes.
        shift: What is added to the class logits, [C]; nothing is to those of outliers.
        num_outliers: Classes of outliers, 1 or more.
    """
    outputs = torch.cat([out.logits + shift, out.nodes[:, -num_outliers:]], dim=1)
    return functional.cross_entropy(outputs, out.labels)
