"""Linear probe: a frozen backbone and a linear head, learned from stored features.

Source: Alain and Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", ICLR
workshop 2017 (arXiv:1610.01644); on CLIP features Radford et al., "Learning Transferable Visual
Models From Natural Language Supervision", ICML 2021 (arXiv:2103.00020). Epochs and rate are those
of COOkeD's probe (Humblot-Renaux, Franchi, Escalera and Moeslund, "COOkeD: Ensemble-based OOD
detection in the era of zero-shot CLIP", ICCV workshops 2025, arXiv:2507.22576), whose code
(https://github.com/glhr/COOkeD) holds learned probes but not their training: batch size, momentum
and decay are ours, and the layer starts at 0, so that nothing but the order is random.

COOkeD learns from CLIP features that are not normalised. Those that the backbone clip stores have
length 1, about a tenth; with few rows set standardise, or a higher rate. Score its features with
any method that reads logits, or in cooked beside a classifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.recipes._probes import ProbeConfig, ProbeRecipe

ADAPTS_HEAD = True


@dataclass(frozen=True)
class Config(ProbeConfig):
    """Settings of the linear probe, all of them those of a linear head."""


class LinearProbe(ProbeRecipe):
    """Cross entropy of a linear layer."""

    def probe_losses(self, logits: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The term `cross_entropy`, in nats."""
        return {"cross_entropy": cross_entropy(logits, labels)}


Entry = LinearProbe
