"""ViM row by row: the log odds of the virtual class against all real ones."""

import numpy as np

from reference.residual import residual
from reference.scores import head_logits, log_sum_exp


def vim(features, train, weight, bias, dim):
    largest = sum(max(head_logits(row, weight, bias)) for row in train)
    alpha = largest / sum(residual(train, train, weight, bias, dim))
    norms = residual(features, train, weight, bias, dim)
    return np.array(
        [
            alpha * norm - log_sum_exp(head_logits(row, weight, bias))
            for row, norm in zip(features, norms, strict=True)
        ]
    )
