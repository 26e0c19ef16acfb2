"""Which rows of an OOD set are OOD.

Semantically coherent sets (SC-OOD; Yang et al., ICCV 2021) relabel the images of an OOD
set that show an ID class: their `sc_label` is that class, and they count on the ID side.
"""

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError


def ood_rows(labels: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    """Whether each row of an OOD set is OOD; the others are relabelled and count as ID.

    Args:
        labels: Classes, [M]; negative for OOD rows.
        name: The set, for the message.

    Returns:
        A mask [M], true somewhere.

    Raises:
        DataError: If no row is OOD.
    """
    is_ood: NDArray[np.bool_] = labels < 0
    if not is_ood.any():
        raise DataError(
            f"all {len(labels)} rows of {name} carry a class label (sc_label 0 or more), so none "
            "is OOD; give OOD rows the label -1 and import the set again."
        )
    return is_ood
