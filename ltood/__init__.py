"""ltood: out-of-distribution image detection, iterated on cached features."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ltood.deployment.detector import DeployedDetector

__version__ = "0.1.0"
__all__ = ["load_detector"]


def load_detector(path: "Path | str", device: str = "auto") -> "DeployedDetector":
    """Load a detector that `ltood export-detector` wrote.

    Args:
        path: The .safetensors file, or the .json file beside it.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The detector; `score(features)` gives OOD scores [N], higher means more OOD, and
        `predict(features)` verdicts, classes and nearest training classes too.

    Raises:
        StoreError: If a file is missing, is no detector or has another schema.
        CorruptStoreError: If a file is unreadable or was changed.
        ConfigError: If this version lacks an entry or one of its settings, or the device is
            not there.
    """
    # Here, so that `import ltood` and the command line stay quick.
    from ltood.deployment.files import load_detector as load

    return load(path, device)
