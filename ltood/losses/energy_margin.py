"""Squared hinges that push the energy of ID rows below one margin and of outliers above another.

Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020
(arXiv:2010.03759), section 3.3, equations 7 to 9, at temperature 1.
"""

from torch import Tensor


def energy_margin_loss(
    id_logits: Tensor, aux_logits: Tensor, *, margin_in: float, margin_out: float
) -> Tensor:
    """Mean of max(0, E - margin_in)^2 on ID rows plus mean of max(0, margin_out - E)^2 on outliers.

    The energy E = -log sum exp(logits) is higher for rows that look more OOD.

    Args:
        id_logits: Class logits of ID rows, [N, C], N at least 1.
        aux_logits: Class logits of outliers, [M, C], M at least 1.
        margin_in: ID rows with a lower energy cost nothing; in the logits' unit.
        margin_out: Outliers with a higher energy cost nothing.

    Returns:
        Loss in squared units of the logits, 0-d.
    """
    id_excess = (-id_logits.logsumexp(dim=1) - margin_in).relu()
    aux_deficit = (margin_out + aux_logits.logsumexp(dim=1)).relu()
    return id_excess.square().mean() + aux_deficit.square().mean()
