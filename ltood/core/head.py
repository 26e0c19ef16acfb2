"""The classifier head, stored with the features so that no method has to load a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ltood.core.arrays import Rows, as_tensor
from ltood.core.errors import DataError
from ltood.core.head_schema import HEAD_SHAPES, check_head

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class ClassifierHead:
    """Last linear layer and the statistics that travel with it.

    Parameters of a network, and numbers of any floating type, are accepted; they are
    stored as float32, detached from the graph of gradients.

    Attributes:
        weight: Class weights, [C, D]; for CLIP the unit text embeddings.
        bias: Class biases, [C].
        extra_weight: Weights of auxiliary outputs, such as a detector node, [e, D], or None.
        extra_bias: Their biases, [e], or None.
        bn_weight: Weight of the last batch-norm layer before pooling, [D], or None.
        bn_bias: Its bias, [D], or None.
        logit_scale: CLIP's multiplier of the cosine, 0-d, or None.
        frozen_weight: Text embeddings of FA's frozen prompts, [C, D], or None; `logits` leave them
            out.
        frozen_copies: How often each of them stands beside the learned prompts, 0-d, or None.
        gamma_weight: ImOOD's gamma layer, which gives the logarithm of gamma, [C, D], or None.
        gamma_bias: Its biases, [C], or None.
        energy_map: (w, b) of a detector that was trained with the ID logit w s + b, s being the
            log-sum-exp of the class logits, [2], or None.
        msp_map: The same with the largest class probability minus 1/C.
        mahalanobis_map: The same with the squared distance to the nearest class mean.
        negative_weight: Text embeddings of M negative labels, words far from every class, [M, D],
            or None.
        no_weight: Text embeddings of "no" prompts, which deny the class, [C, D], or None.
        outlier_classes: How many of the auxiliary outputs, the last ones, are classes of outliers
            that share a softmax with the ID classes, 0-d, or None for none.
        expert_weight: Weights of m heads whose mean this head is, each with its classes and then
            its auxiliary outputs, [m, C + e, D], or None.
        expert_bias: Their biases, [m, C + e], or None.
        outlier_shares: Share of auxiliary outliers that a network takes for each class, [C], as
            the recipe balanced_energy found it, or None.
    """

    weight: Tensor
    bias: Tensor
    extra_weight: Tensor | None = None
    extra_bias: Tensor | None = None
    bn_weight: Tensor | None = None
    bn_bias: Tensor | None = None
    logit_scale: Tensor | None = None
    frozen_weight: Tensor | None = None
    frozen_copies: Tensor | None = None
    gamma_weight: Tensor | None = None
    gamma_bias: Tensor | None = None
    energy_map: Tensor | None = None
    msp_map: Tensor | None = None
    mahalanobis_map: Tensor | None = None
    negative_weight: Tensor | None = None
    no_weight: Tensor | None = None
    outlier_classes: Tensor | None = None
    expert_weight: Tensor | None = None
    expert_bias: Tensor | None = None
    outlier_shares: Tensor | None = None

    def __post_init__(self) -> None:
        """Widen or narrow all numbers to float32; check shapes and that numbers are finite."""
        for name in HEAD_SHAPES:
            given: Tensor | None = getattr(self, name)
            if given is not None:
                # A network's parameter drags its history of gradients along.
                object.__setattr__(self, name, as_tensor(given, f"head {name}").float())
        sizes = check_head({name: tuple(tensor.shape) for name, tensor in self.arrays().items()})
        if sizes["C"] == 0 or sizes["D"] == 0:
            raise DataError(
                f"the head has {sizes['C']} classes x {sizes['D']} features; both need 1 or more."
            )
        for name, tensor in self.arrays().items():
            if not torch.isfinite(tensor).all():
                raise DataError(
                    f"head {name} holds NaN or infinity (in float32); give the layer of a network "
                    "whose training did not diverge."
                )
        count = 0.0 if self.outlier_classes is None else float(self.outlier_classes)
        if not (0 <= count <= sizes["e"] and count.is_integer()):
            raise DataError(
                f"head outlier_classes is {count:g}, but the head has {sizes['e']} auxiliary "
                "outputs; it counts those of them, from the last, that are classes of outliers."
            )

    @classmethod
    def of(cls, head: "Head") -> "ClassifierHead":
        """A head as it is, or the head that a linear layer or its weight and bias make.

        Args:
            head: A `ClassifierHead`, a `torch.nn.Linear`, or a pair of weight, [C, D], and
                bias, [C]; a missing bias (None) is 0.

        Raises:
            DataError: If it is something else or the shapes do not agree.
        """
        if isinstance(head, ClassifierHead):
            return head
        if isinstance(head, torch.nn.Module):
            pair = (getattr(head, "weight", None), getattr(head, "bias", None))
        elif isinstance(head, tuple | list) and len(head) == 2:
            pair = (head[0], head[1])
        else:
            pair = (None, None)
        if pair[0] is None:
            raise DataError(
                f"head is a {type(head).__name__}; give a ClassifierHead, the last linear layer, "
                "or a pair (weight, bias)."
            )
        weight = as_tensor(pair[0], "head weight")
        bias = torch.zeros(weight.shape[:1]) if pair[1] is None else as_tensor(pair[1], "head bias")
        return cls(weight, bias.to(weight.device))

    @classmethod
    def from_arrays(
        cls, arrays: "Mapping[str, np.ndarray]", device: torch.device | str = "cpu"
    ) -> "ClassifierHead":
        """Build a float32 head on `device` from named NumPy arrays, ignoring other names."""
        tensors = {
            name: torch.tensor(arrays[name], dtype=torch.float32, device=device)
            for name in HEAD_SHAPES
            if name in arrays
        }
        return cls(**tensors)

    def arrays(self) -> dict[str, Tensor]:
        """Tensors by name, without absent ones."""
        named = ((name, getattr(self, name)) for name in HEAD_SHAPES)
        return {name: tensor for name, tensor in named if tensor is not None}

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.weight.shape[1]

    @property
    def num_aux_outputs(self) -> int:
        """Number of auxiliary outputs e."""
        return 0 if self.extra_bias is None else len(self.extra_bias)

    @property
    def num_outlier_classes(self) -> int:
        """Number of auxiliary outputs, the last ones, that are classes of outliers."""
        return 0 if self.outlier_classes is None else int(self.outlier_classes)

    def logits(self, features: Tensor) -> Tensor:
        """Class logits of `features` [N, D], [N, C]; without scale or temperature."""
        return features @ self.weight.T + self.bias

    def aux_outputs(self, features: Tensor) -> Tensor | None:
        """Auxiliary outputs of `features` [N, D], [N, e], or None if the head has none."""
        if self.extra_weight is None or self.extra_bias is None:
            return None
        return features @ self.extra_weight.T + self.extra_bias


#: What callers may pass for a head; see `ClassifierHead.of`.
Head = ClassifierHead | torch.nn.Module | tuple[Rows, Rows | None]
