"""Which training images a fitted detector brings along, and their calibrated features."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.deployment.config import DEFAULT_EXAMPLES
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.examples import PathsOf, choose_examples, gather_examples
from ltood.runtime.console import progress
from ltood.scoring.session import ScoringSession

_TRAIN = "train"


def with_training_images(
    fitted: DeployedDetector,
    plain: ScoringSession,
    most: int = DEFAULT_EXAMPLES,
    paths: PathsOf | None = None,
) -> DeployedDetector:
    """The same detector, with training images that its verdicts name as the most similar.

    Args:
        fitted: Detector, with or without a threshold.
        plain: The features it was fitted on, without a calibrator.
        most: Images to keep; of a larger training set each class has as many as there is room
            for. 0 keeps none.
        paths: Image files of ids of the split train, if that is known.

    Raises:
        ConfigError: If `most` is negative.
        DataError: If `paths` does not know an id.
    """
    if most < 0:
        raise ConfigError(f"examples is {most}; it is a number of training images, 0 for none.")
    source = plain.source(_TRAIN)
    read = [(batch.ids, batch.labels) for batch in source.batches(arrays=["ids", "labels"])]
    ids, labels = (
        np.concatenate([part.cpu().numpy() for part in c]) for c in zip(*read, strict=True)
    )
    rows = choose_examples(ids, labels, most)
    if not len(rows):
        return fitted

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        seen = plain.with_calibrator(fitted.calibrator).source(_TRAIN)
        with progress("training images", len(seen)) as advance:
            for batch in seen.batches(arrays=["features", "ids", "labels"]):
                yield batch.features, batch.ids, batch.labels
                advance(len(batch))

    found = gather_examples(batches(), rows, paths)
    known = sum(path is not None for path in found.paths)
    about = {"rows": len(found), "of": len(ids), "paths": known}
    description = {**fitted.description, "examples": about}
    return dataclasses.replace(fitted, examples=found, description=description)
