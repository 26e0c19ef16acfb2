"""A detector from its files together with the network it belongs to."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ltood.deployment.detector import DeployedDetector
from ltood.deployment.files import load_detector
from ltood.deployment.sidecar import network_folder

if TYPE_CHECKING:
    from ltood.deployment.images import Embedder


@dataclass(frozen=True)
class OpenedDetector:
    """A detector and where its network is.

    Attributes:
        detector: The detector.
        checkpoint: Folder of the checkpoint: the one that was named, else the one that lies
            beside the detector; None where there is neither, which is enough for features.
    """

    detector: DeployedDetector
    checkpoint: Path | None

    @cached_property
    def network(self) -> "Embedder":
        """The network, loaded on first use and found to be the one of the detector.

        Raises:
            MissingNeedError: If there is none.
            StoreError: If the folder holds no whole checkpoint.
            DataError: If it is another network than the detector was fitted on.
        """
        from ltood.deployment.images import Embedder

        return Embedder.open(self.checkpoint, self.detector)


def open_detector(
    path: Path | str, checkpoint: Path | None = None, device: str = "auto"
) -> OpenedDetector:
    """Open a detector, and the network beside it where it was included.

    Args:
        path: The `.safetensors` file or its `.json`.
        checkpoint: Folder of a checkpoint to use instead of the included one.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        StoreError: If a file is missing, is not a detector or has another schema.
        CorruptStoreError: If a file is unreadable or was changed.
        ConfigError: If this version lacks an entry or one of its settings.
    """
    detector = load_detector(path, device)
    if checkpoint is None and detector.description.get("network"):
        beside = network_folder(Path(path))
        checkpoint = beside if beside.is_dir() else None
    return OpenedDetector(detector, checkpoint)
