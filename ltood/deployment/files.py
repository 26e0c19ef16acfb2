"""A deployed detector on disk: one file of tensors and one that describes them.

    detector.safetensors   learned tensors of all slots, head, class means, calibration rows
    detector.json          names, settings, threshold, preprocessing, provenance, versions

Neither can execute code. The description holds the SHA-256 of the tensors and of itself, and is
written last: files that do not belong together, or were changed by hand, are refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ltood.core.building import NONE, EntrySpec, build_calibrator, build_method, build_normaliser
from ltood.core.entry import Entry
from ltood.core.errors import CorruptStoreError, StoreError
from ltood.core.head import ClassifierHead
from ltood.deployment.calibration import CalibrationRows
from ltood.deployment.detector import DeployedDetector
from ltood.runtime.devices import choose_device
from ltood.runtime.files import replace_together, to_json_bytes
from ltood.runtime.provenance import digest

KIND = "ltood detector"
SCHEMA = 2
#: Schema 1 has no calibration rows; all else is the same.
READABLE = (1, SCHEMA)
TENSORS = ".safetensors"
SIDECAR = ".json"

_OWN_DIGEST = "description_sha256"
_EXPORT_AGAIN = "export the detector again"


def save_detector(path: Path, detector: DeployedDetector, *, overwrite: bool = False) -> None:
    """Write a detector as `<name>.safetensors` and `<name>.json`.

    Args:
        path: Either of the two files.
        detector: What to write.
        overwrite: Replace existing files.

    Raises:
        StoreError: If the path ends otherwise, a file exists and `overwrite` is off, or the
            files cannot be written.
    """
    from safetensors.torch import save

    tensors_path, sidecar_path = detector_paths(path)
    refuse_existing(path, overwrite=overwrite)
    tensors = save(_tensors(detector))
    description = {**detector.description, "kind": KIND, "schema": SCHEMA}
    description["sha256"] = hashlib.sha256(tensors).hexdigest()
    description.pop(_OWN_DIGEST, None)  # a detector that was read and is written again
    description[_OWN_DIGEST] = digest(description)
    replace_together({tensors_path: tensors, sidecar_path: to_json_bytes(description)})


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
    description = _read_description(sidecar_path)
    tensors = _read_tensors(tensors_path, description["sha256"])
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
        if len(description["class_names"]) != head.num_classes:
            raise CorruptStoreError(
                f"{sidecar_path} names {len(description['class_names'])} classes but the head has "
                f"{head.num_classes}; {_EXPORT_AGAIN}."
            )
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{sidecar_path} or {tensors_path.name} lacks an entry ({error}); {_EXPORT_AGAIN}."
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
    return DeployedDetector(*slots, head, means, rows, threshold, description, calibration)


def detector_paths(path: Path) -> tuple[Path, Path]:
    """The file of tensors and its description, given either.

    Raises:
        StoreError: If `path` has another ending.
    """
    if path.suffix not in (TENSORS, SIDECAR):
        raise StoreError(
            f"{path} is not a detector file; name it <name>{TENSORS}, its description is "
            f"<name>{SIDECAR} next to it."
        )
    return path.with_suffix(TENSORS), path.with_suffix(SIDECAR)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a detector unasked.

    Raises:
        StoreError: If one of the two files exists and `overwrite` is off.
    """
    for file in detector_paths(path):
        if file.exists() and not overwrite:
            raise StoreError(f"{file} exists already; pass --overwrite or another path.")


def _tensors(detector: DeployedDetector) -> dict[str, Tensor]:
    """All learned tensors by slot and name, without shared memory."""
    groups = {
        "method": detector.method.state(),
        "calibrator": _state(detector.calibrator),
        "normaliser": _state(detector.normaliser),
        "head": detector.head.arrays(),
        "classes": {"means": detector.class_means, "rows": detector.class_rows},
        "calibration": {} if detector.calibration is None else detector.calibration.tensors(),
    }
    return {
        f"{group}.{name}": tensor.detach().cpu().contiguous().clone()
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


def _read_description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist; a detector is a {TENSORS} file with its {SIDECAR} file "
            "next to it. Copy both, or run `ltood export-detector`."
        )
    try:
        description = json.loads(path.read_bytes())
        kind, schema = description["kind"], description["schema"]
        description["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{path} is not a readable description of a detector ({type(error).__name__}: "
            f"{error}); {_EXPORT_AGAIN}."
        ) from error
    if kind != KIND:
        raise StoreError(f"{path} describes a {kind!r}, not a detector; give another file.")
    if schema not in READABLE:
        raise StoreError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}; {_EXPORT_AGAIN}, or "
            f"use ltood {description.get('versions', {}).get('ltood', 'of that version')}."
        )
    if not _is_whole(description):
        raise CorruptStoreError(
            f"{path} was changed after it was written (its SHA-256 differs); {_EXPORT_AGAIN}, or "
            "pass another threshold to `ltood predict --threshold`."
        )
    result: dict[str, Any] = description
    return result


def _is_whole(description: Mapping[str, Any]) -> bool:
    """Whether a description still has the digest that it was written with."""
    content = {key: value for key, value in description.items() if key != _OWN_DIGEST}
    try:
        return description.get(_OWN_DIGEST) == digest(content)
    except ValueError:  # a number that is not finite, which is never written
        return False


def _read_tensors(path: Path, recorded: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise StoreError(f"{path} does not exist; copy it next to its description.")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != recorded:
        raise CorruptStoreError(
            f"{path} has SHA-256 {found[:12]}… but its description records {recorded[:12]}…: one "
            f"of the two files was changed or replaced; {_EXPORT_AGAIN}."
        )
    try:
        return load(raw)
    except SafetensorError as error:
        raise CorruptStoreError(f"{path} is unreadable ({error}); {_EXPORT_AGAIN}.") from error
