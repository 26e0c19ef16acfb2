"""Tensors that official repositories store besides those of the network, by their names.

Sources: the released code of PASCL (Wang et al., ICML 2022), PATT (He et al., AAAI 2025) and ImOOD
(Liu et al., NeurIPS 2024). A backbone lists the repositories whose files it reads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Repository:
    """Extra tensors in the weight files of one repository.

    Attributes:
        title: Its name.
        unused: Names of tensors that neither features nor logits need.
        gamma: Names of the layer from features to log gamma, with ours, where there is one.
    """

    title: str
    unused: re.Pattern[str]
    gamma: Mapping[str, str] = field(default_factory=dict)


#: A head of the contrastive loss, and a second classifier.
PASCL = Repository("PASCL", re.compile(r"projection\.|contrastive|aux_linear\."))
#: A head of the contrastive loss, and attention weights of its calibrator, fitted again by ours.
PATT = Repository("PATT", re.compile(r"projection\.|contrastive|finalScore$"))
#: Scale and shift of a detector logit, class weights of its losses, and class statistics for its
#: Mahalanobis losses. Of the layer to gamma scoring can make use.
IMOOD = Repository(
    "ImOOD",
    re.compile(
        r"projection\.|contrastive|aux_linear\.|lambda_linear\.|cl_loss_weights$|id_feat_pool\."
    ),
    {"lambda_linear.weight": "gamma_weight", "lambda_linear.bias": "gamma_bias"},
)
