"""The detector of a pipeline: fitted on its features, with its network beside it."""

from pathlib import Path

from torch import Tensor

from ltood.core.building import EntrySpec, build_calibrator, build_method, build_normaliser
from ltood.core.errors import ConfigError, DataError, LtoodError, MissingNeedError, StoreError
from ltood.deployment.config import ExportConfig
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.examples import PathsOf
from ltood.deployment.exporting import (
    NoRowsLeftError,
    check_deployable,
    choose_threshold_split,
    fit_slots,
    with_threshold_of,
)
from ltood.deployment.training_images import with_training_images
from ltood.networks.checkpoint_files import file_contents, read_files
from ltood.runtime.provenance import recorded_of
from ltood.scoring.session import ScoringSession
from ltood.store.fitted import FittedEntry
from ltood.store.reading import StoreReader

_GIB = 2**30
#: Where the pipeline names the split for the threshold.
_OPTION = "export.threshold_split"


class NoDetectorError(LtoodError):
    """Features or slots of which no detector can be made, though scores can; says why."""


def make_detector(
    store: StoreReader,
    method: EntrySpec,
    normaliser: EntrySpec,
    calibration: FittedEntry,
    config: ExportConfig,
    paths: PathsOf | None = None,
    device: str = "auto",
    kept: FittedEntry | None = None,
) -> DeployedDetector:
    """Fit the slots of a pipeline and set the threshold.

    Args:
        store: Its features.
        method: Method and settings.
        normaliser: Normaliser and settings.
        calibration: Its calibrator, fitted.
        config: How the threshold is set, and how large the detector may be.
        paths: Image files of ids of the split train, if that is known.
        device: "auto", "cpu", "cuda" or "cuda:1".
        kept: The method as the score stage fitted it, if that is there.

    Raises:
        NoDetectorError: If these slots, fitted on these features, make no detector.
        StoreError: If the split that the settings name is not there.
    """
    base = build_method(method)
    correction = build_normaliser(normaliser, base)
    view = build_calibrator(EntrySpec(calibration.name, calibration.settings))
    if config.threshold_split is not None:
        choose_threshold_split(store, config.threshold_split, _OPTION)
    try:
        check_deployable(store, base)
        split = choose_threshold_split(store, config.threshold_split, _OPTION)
    except (ConfigError, MissingNeedError, StoreError) as error:
        raise NoDetectorError(str(error)) from None
    plain = ScoringSession.open(store, device)
    fitted = fit_slots(plain, base, view, correction, calibration=calibration, kept=kept)
    size = sum(_bytes(tensor) for tensor in fitted.method.state().values()) / _GIB
    if size > config.max_gib:
        raise NoDetectorError(
            f"what {base.name} has learned takes {size:.1f} GiB, and export.max_gib is "
            f"{config.max_gib:g}; raise it, or choose a method that keeps less."
        )
    try:
        found = with_threshold_of(fitted, plain, split, config.tpr)
    except NoRowsLeftError as error:
        raise NoDetectorError(str(error)) from None
    return with_training_images(found, plain, config.examples, paths)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def network_of(detector: DeployedDetector, checkpoint: Path) -> dict[str, bytes]:
    """Files of the checkpoint that a detector was fitted on the features of, by name.

    Args:
        detector: The detector.
        checkpoint: Folder of the checkpoint.

    Raises:
        DataError: If it is another network.
        StoreError: If the folder holds no whole checkpoint.
    """
    files = read_files(checkpoint)
    recorded = recorded_of(detector.description, "provenance", "checkpoint", "weights_sha256")
    if recorded is None:  # Features from elsewhere: the heads are compared.
        from ltood.deployment.images import Embedder

        Embedder.open(checkpoint, detector)
    elif recorded != files.meta["weights_sha256"]:
        raise DataError(
            f"{checkpoint} has weights {files.meta['weights_sha256'][:12]}… but the features are "
            f"those of {recorded[:12]}…; extract the features again, or give their checkpoint."
        )
    return file_contents(files)
