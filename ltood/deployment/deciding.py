"""What decides a verdict instead of the detector's own threshold: another one, or a promise."""

import dataclasses
import math

from ltood.core.errors import ConfigError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.promises import Promise
from ltood.runtime.console import log


def deciding_by(
    detector: DeployedDetector, *, threshold: float | None, promise: Promise | None
) -> DeployedDetector:
    """The same detector, whose verdicts go by another threshold or keep a promise.

    What a promise rests on goes to standard error.

    Args:
        detector: A loaded detector.
        threshold: Largest score that counts as ID; None for the detector's own.
        promise: What verdicts promise, if anything.

    Raises:
        ConfigError: If both are given, or the threshold is not finite.
        LtoodError: If the detector cannot keep the promise.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"--threshold is {threshold}; give a finite score.")
    if threshold is not None and promise is not None:
        raise ConfigError("--threshold does not go with fpr, fdr or sets; choose one of them.")
    if threshold is not None:
        return dataclasses.replace(detector, threshold=threshold)
    if promise is None:
        return detector
    promised = detector.promising(promise)
    for note in promised.rule.notes if promised.rule else ():
        log(note)
    return promised
