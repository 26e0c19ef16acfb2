"""Summary of prepared images: counts, groups, and what is missing."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS, ClassPrior


def summary(
    name: str,
    class_names: Sequence[str],
    class_counts: NDArray[np.int64],
    rows: Mapping[str, int],
    settings: Mapping[str, object],
) -> list[str]:
    """Describe prepared data, one line each.

    Args:
        name: Dataset name, such as "folder".
        class_names: Names of the ID classes, [C].
        class_counts: Training images of each class, [C].
        rows: Images of each split, by name.
        settings: Dataset settings; their names show what can be set.
    """
    section = f"datasets.{name}"
    most, least = int(class_counts.argmax()), int(class_counts.argmin())
    lines = [
        f"{name}: {len(class_names):,} classes; training images of a class: "
        f"{class_counts[most]:,} ({class_names[most]}) to {class_counts[least]:,} "
        f"({class_names[least]})."
    ]
    groups = ClassPrior(class_counts).groups()
    shares = ", ".join(f"{group} {int((groups == group).sum()):,}" for group in GROUPS)
    lines.append(f"{name}: classes by group: {shares}.")
    lines.append(f"{name}: images: {', '.join(f'{key} {num:,}' for key, num in rows.items())}.")
    if "val" not in rows:
        lines.append(
            f"{name}: no split val, which `ltood export-detector` and `ltood sweep` use; add one, "
            "or name another split there."
        )
    if "aux" not in rows:
        how = f"; name some in {section}.aux" if "aux" in settings else ""
        lines.append(
            f"{name}: no auxiliary outliers (split aux), which some recipes and calibrators "
            f"need{how}."
        )
    if not any(key.startswith("ood_") for key in rows):
        how = f"; name some in {section}.ood" if "ood" in settings else ""
        lines.append(f"{name}: no OOD sets, so nothing can be evaluated{how}.")
    return lines
