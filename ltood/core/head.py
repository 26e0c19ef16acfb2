"""The classifier head, stored beside the features so that no method loads a network."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ltood.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


@dataclass(frozen=True)
class ClassifierHead:
    """Last linear layer and the statistics that travel with it.

    Parameters of a network, and numbers of any floating type, are taken as they come: they are
    kept as float32 and without their history of gradients.

    Attributes:
        weight: Class weights, [C, D]; for CLIP the unit text embeddings.
        bias: Class biases, [C].
        extra_weight: Detector nodes beside the classes, [e, D], or None.
        extra_bias: Their biases, [e], or None.
        bn_weight: Weight of the last batch-norm layer before pooling, [D], or None.
        bn_bias: Its bias, [D], or None.
        logit_scale: CLIP's multiplier of the cosine, 0-d, or None.
        gamma_weight: ImOOD's gamma layer, which gives the logarithm of gamma, [C, D], or None.
        gamma_bias: Its biases, [C], or None.
        energy_map: (w, b) of a detector that was trained with the ID logit w s + b, s being the
            log-sum-exp of the class logits, [2], or None.
        msp_map: Likewise with the largest class probability minus 1/C.
        mahalanobis_map: Likewise with the squared distance to the nearest class mean.
    """

    weight: Tensor
    bias: Tensor
    extra_weight: Tensor | None = None
    extra_bias: Tensor | None = None
    bn_weight: Tensor | None = None
    bn_bias: Tensor | None = None
    logit_scale: Tensor | None = None
    gamma_weight: Tensor | None = None
    gamma_bias: Tensor | None = None
    energy_map: Tensor | None = None
    msp_map: Tensor | None = None
    mahalanobis_map: Tensor | None = None

    def __post_init__(self) -> None:
        """Widen or narrow all numbers to float32 and check that all shapes agree."""
        for field in fields(self):
            given: Tensor | None = getattr(self, field.name)
            if given is not None and not isinstance(given, Tensor):
                raise DataError(
                    f"head {field.name} is a {type(given).__name__}; give a torch tensor, or use "
                    "ClassifierHead.from_arrays for NumPy arrays."
                )
            if given is not None:
                object.__setattr__(self, field.name, given.detach().float())
        if self.weight.ndim != 2:
            raise DataError(f"head weight has shape {tuple(self.weight.shape)}; it must be [C, D].")
        num_classes, dim = self.weight.shape
        expected = {
            "bias": (num_classes,),
            "bn_weight": (dim,),
            "bn_bias": (dim,),
            "logit_scale": (),
            "gamma_weight": (num_classes, dim),
            "gamma_bias": (num_classes,),
            "energy_map": (2,),
            "msp_map": (2,),
            "mahalanobis_map": (2,),
        }
        for name, shape in expected.items():
            tensor: Tensor | None = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise DataError(
                    f"head {name} has shape {tuple(tensor.shape)}; with a weight of "
                    f"{num_classes} classes x {dim} features it must be {shape}."
                )
        if (self.gamma_weight is None) != (self.gamma_bias is None):
            raise DataError("head gamma_weight and gamma_bias must be given together.")
        if (self.extra_weight is None) != (self.extra_bias is None):
            raise DataError("head extra_weight and extra_bias must be given together.")
        if self.extra_weight is not None and self.extra_bias is not None:
            rows = len(self.extra_bias)
            if tuple(self.extra_weight.shape) != (rows, dim):
                raise DataError(
                    f"head extra_weight has shape {tuple(self.extra_weight.shape)}; "
                    f"it must be ({rows}, {dim})."
                )

    @classmethod
    def from_arrays(
        cls, arrays: "Mapping[str, np.ndarray]", device: torch.device | str = "cpu"
    ) -> "ClassifierHead":
        """Build a float32 head on `device` from named NumPy arrays, ignoring other names."""
        known = [field.name for field in fields(cls)]
        tensors = {
            name: torch.tensor(arrays[name], dtype=torch.float32, device=device)
            for name in known
            if name in arrays
        }
        return cls(**tensors)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.weight.shape[1]

    @property
    def num_extra(self) -> int:
        """Number of detector nodes e beside the classes."""
        return 0 if self.extra_bias is None else len(self.extra_bias)

    def logits(self, features: Tensor) -> Tensor:
        """Class logits of `features` [N, D], [N, C]; without scale or temperature."""
        return features @ self.weight.T + self.bias

    def extra_logits(self, features: Tensor) -> Tensor | None:
        """Detector outputs of `features` [N, D], [N, e], or None without such nodes."""
        if self.extra_weight is None or self.extra_bias is None:
            return None
        return features @ self.extra_weight.T + self.extra_bias
