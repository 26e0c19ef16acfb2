"""A deployed detector on disk, and back; see `sidecar.py` for its files."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ltood.core.building import NONE, EntrySpec, build_calibrator, build_method, build_normaliser
from ltood.core.entry import Entry
from ltood.core.errors import CorruptStoreError
from ltood.core.head import ClassifierHead
from ltood.deployment.calibration import CalibrationRows
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.examples import Examples
from ltood.deployment.sidecar import (
    EXPORT_AGAIN,
    detector_paths,
    network_folder,
    read_description,
    refuse_existing,
    write_detector_files,
)
from ltood.deployment.tensor_files import read_tensors, tensor_writer
from ltood.runtime.devices import choose_device

__all__ = [
    "detector_paths",
    "load_detector",
    "network_folder",
    "refuse_existing",
    "save_detector",
]


def save_detector(
    path: Path,
    detector: DeployedDetector,
    *,
    overwrite: bool = False,
    network: Mapping[str, bytes] | None = None,
) -> None:
    """Write a detector as `<name>.safetensors` and `<name>.json`.

    Args:
        path: Either of the two files.
        detector: What to write.
        overwrite: Replace existing files.
        network: Content by name of what goes into the folder `<name>.network`: the files of a
            checkpoint, or nothing for an empty folder. Not given, the folder is left alone.

    Raises:
        StoreError: If the path ends otherwise, a file exists and `overwrite` is off, or the
            files cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    write_detector_files(path, tensor_writer(_tensors(detector)), detector.description, network)


def load_detector(path: Path | str, device: str = "auto") -> DeployedDetector:
    """Read what `save_detector` wrote.

    Args:
        path: Either of the two files.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        StoreError: If a file is missing, is not a detector or has another schema.
        CorruptStoreError: If a file is unreadable or was changed.
        ConfigError: If this version lacks an entry or one of its settings.
    """
    tensors_path, sidecar_path = detector_paths(Path(path))
    description = read_description(sidecar_path)
    tensors = read_tensors(tensors_path, description["sha256"])
    chosen = choose_device(device)
    tensors = {name: tensor.to(chosen) for name, tensor in tensors.items()}
    try:
        threshold = description["threshold"]["value"]
        if not isinstance(threshold, float) or not math.isfinite(threshold):
            raise CorruptStoreError(
                f"{sidecar_path}: threshold.value is {threshold!r}; it must be a finite number. "
                "Export the detector again."
            )
        specs = {
            slot: EntrySpec(description[slot]["name"], description[slot]["settings"])
            for slot in ("method", "calibrator", "normaliser")
        }
        head = ClassifierHead(**_under("head", tensors))
        means, rows = tensors["classes.means"], tensors["classes.rows"]
        held_out = _under("calibration", tensors)
        calibration = CalibrationRows.restore(held_out) if description.get("calibration") else None
        images = _under("examples", tensors)
        examples = Examples.restore(images) if description.get("examples") else None
        if len(description["class_names"]) != head.num_classes:
            raise CorruptStoreError(
                f"{sidecar_path} names {len(description['class_names'])} classes but the head has "
                f"{head.num_classes}; {EXPORT_AGAIN}."
            )
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{sidecar_path} or {tensors_path.name} lacks an entry ({error}); {EXPORT_AGAIN}."
        ) from error
    calibrator = normaliser = None
    base = build_method(specs["method"])
    method = base.entry.restore(_under("method", tensors))
    if specs["calibrator"].name != NONE.name:
        calibrator = build_calibrator(specs["calibrator"]).entry
        calibrator.restore(_under("calibrator", tensors))
    if specs["normaliser"].name != NONE.name:
        normaliser = build_normaliser(specs["normaliser"], base).entry
        normaliser.restore(_under("normaliser", tensors))
    slots = method, calibrator, normaliser
    return DeployedDetector(
        *slots, head, means, rows, threshold, description, calibration, examples=examples
    )


def _tensors(detector: DeployedDetector) -> dict[str, Tensor]:
    """All learned tensors by slot and name."""
    groups = {
        "method": detector.method.state(),
        "calibrator": _state(detector.calibrator),
        "normaliser": _state(detector.normaliser),
        "head": detector.head.arrays(),
        "classes": {"means": detector.class_means, "rows": detector.class_rows},
        "calibration": {} if detector.calibration is None else detector.calibration.tensors(),
        "examples": {} if detector.examples is None else detector.examples.tensors(),
    }
    return {
        f"{group}.{name}": tensor
        for group, members in groups.items()
        for name, tensor in members.items()
    }


def _state(entry: Entry | None) -> dict[str, Tensor]:
    return {} if entry is None else entry.state()


def _under(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one group by their own names."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
