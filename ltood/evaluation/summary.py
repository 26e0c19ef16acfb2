"""The few metrics that distinguish runs in `dvc exp show` and in editors."""

from collections.abc import Mapping
from typing import Any

from ltood.metrics import METRICS

#: ID metrics by the name that they have without the section "id".
_ID = {"accuracy": "accuracy", "accuracy_few": "few"}


def summary(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Main metrics, mean over the OOD sets if any, and accuracies of all and of rare classes.

    Args:
        metrics: Content of metrics.json.

    Returns:
        Fractions by name. An accuracy is absent where no row has a label of its group. Metrics of
        streams come with `transductive`, 1, and the deviation of the mean AUROC, `auroc_std`.
    """
    means = metrics.get("mean", {})
    chosen = {key: means[key] for key, metric in METRICS.items() if metric.is_main and key in means}
    chosen |= {name: metrics["id"].get(key) for name, key in _ID.items()}
    if "stream" in metrics:
        chosen |= {"transductive": 1, "auroc_std": metrics["stream"]["std"]["mean"]["auroc"]}
    return {name: value for name, value in chosen.items() if value is not None}
