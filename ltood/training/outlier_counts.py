"""What a network takes the auxiliary outliers for, before training starts."""

from contextlib import closing

import numpy as np
import torch

from ltood.runtime.console import log
from ltood.training.loop import Run


def count_outliers(run: Run) -> None:
    """Tell the recipe of `run` how many outliers its network takes for each class.

    The first rank looks at all of them, as they are stored, so that all ranks have equal counts.
    """
    if not run.recipe.counts_outliers:
        return
    counts = np.array(run.ranks.on_rank_zero(lambda: _predicted(run)))
    run.recipe.take_outlier_counts(counts)
    log(
        f"of {counts.sum():,} outliers the network takes {counts.max() / counts.sum():.0%} for "
        f"{run.class_names[int(counts.argmax())]!r}, the most for one class."
    )
    if run.plan.training.weights is None:
        log(
            "these counts are those of a head that has learned nothing yet; name a trained network "
            "in training.weights, or let the recipe follow the counts in training "
            "(recipes.balanced_energy.outlier_prior: running)."
        )


@torch.no_grad()
def _predicted(run: Run) -> list[int]:
    """Outliers whose largest class logit is that of each class, C numbers."""
    num_classes = run.backbone.images.num_classes
    counts = torch.zeros(num_classes, dtype=torch.int64)
    run.backbone.eval()
    # Closed here: an error's traceback would keep the threads of a half-read split alive.
    with closing(run.batches.outliers()) as blocks:
        for images in blocks:
            found = run.forward.alone(images).logits[:, :num_classes].argmax(dim=1)
            counts += torch.bincount(found.cpu(), minlength=num_classes)
    numbers: list[int] = counts.tolist()
    return numbers
