"""What a reader is told where no OOD set was scored: what is missing, and what adds it."""

from collections.abc import Mapping
from typing import Any

from ltood.runtime.provenance import recorded_of


def dataset_of(provenance: Mapping[str, Any]) -> str | None:
    """Name of the dataset behind features or scores, as its settings have it; None if unknown."""
    name = recorded_of(provenance, "dataset", "name") or provenance.get("dataset")
    return name if isinstance(name, str) else None


def _where_to_add_sets(provenance: Mapping[str, Any]) -> str:
    """What to do for an OOD set, as half a sentence.

    Args:
        provenance: Of features or scores; it may name their dataset.
    """
    name = dataset_of(provenance)
    if name is None:
        return "score rows of none of the classes too, as a split ood_<name>"
    return f"name pictures of none of the classes in datasets.{name}.ood and run dvc repro"


def without_sets(provenance: Mapping[str, Any]) -> str:
    """What cannot be said without OOD sets, and how to add one, as a sentence."""
    return (
        "There is no OOD set, so there is no AUROC, AUPR or FPR95, and no method is better than "
        f"another: {_where_to_add_sets(provenance)}."
    )
