"""Write the chosen slots as a detector with its threshold and its network, for new images.

Where no detector can be made of them, its description says why, and scores and report stand as they
are. The fitted calibrator is the one of the calibrate stage, and the method that of the score stage
where it could be kept.
"""

from functools import partial
from typing import TYPE_CHECKING

from ltood.pipeline._features import features
from ltood.pipeline._shell import CALIBRATION, CHECKPOINT, DETECTOR, METHOD, PREPARED, Params, stage

if TYPE_CHECKING:
    from ltood.deployment.config import ExportConfig
    from ltood.store.fitted import FittedEntry


@stage("export")
def run(params: Params) -> None:
    """Read features, calibration, checkpoint and paths of images, write the detector."""
    from ltood.deployment.config import ExportConfig
    from ltood.deployment.sidecar import save_absence
    from ltood.runtime.console import log

    config = params.section("export", ExportConfig)
    names = [params.name(key) for key in ("method", "normaliser")]
    if not config.enabled:  # Nothing to write: no torch, no waiting.
        save_absence(DETECTOR, "export.enabled is false; set it to true and run the stage export.")
        return

    from ltood.deployment.packing import NoDetectorError

    try:
        said = _export(params, config)
    except NoDetectorError as error:
        save_absence(DETECTOR, str(error))
        said = f"no detector was made of {' and '.join(names)}: {error}"
    log(said)


def _export(params: Params, config: "ExportConfig") -> str:
    """Make the detector and write it; returns what to tell.

    Raises:
        NoDetectorError: If none can be made.
    """
    from ltood.core.building import EntrySpec
    from ltood.deployment.files import network_folder, save_detector
    from ltood.deployment.opening import open_detector
    from ltood.deployment.packing import make_detector, network_of
    from ltood.deployment.wording import rows_note, threshold_words
    from ltood.exports.paths import PreparedPaths
    from ltood.runtime.files import write_atomically
    from ltood.store.fitted import read_fitted

    method, normaliser = params.chosen("method"), params.chosen("normaliser")
    detector = make_detector(
        features(params),
        EntrySpec(method.name, method.settings),
        EntrySpec(normaliser.name, normaliser.settings),
        read_fitted(CALIBRATION),
        config,
        partial(PreparedPaths(PREPARED).named, "train"),
        params.device,
        _kept(),
    )
    network = network_of(detector, CHECKPOINT)
    save_detector(
        DETECTOR,
        detector,
        overwrite=True,
        network=network if config.checkpoint == "include" else {},
    )
    if config.onnx:
        from ltood.deployment.onnx_file import to_onnx

        opened = open_detector(DETECTOR, CHECKPOINT, "cpu")
        written = to_onnx(opened.detector, opened.network)
        write_atomically(network_folder(DETECTOR) / "detector.onnx", written.content)
    threshold = detector.description["threshold"]
    note = rows_note(threshold)
    return f"wrote {DETECTOR}: {threshold_words(threshold)}{f'; {note}' if note else ''}"


def _kept() -> "FittedEntry | None":
    """The method of the score stage; None where it is not there whole, and is fitted again."""
    from ltood.core.errors import StoreError
    from ltood.store.fitted import read_fitted

    try:
        return read_fitted(METHOD)
    except StoreError:
        return None
