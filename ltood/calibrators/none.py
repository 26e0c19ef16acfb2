"""No calibration: features stay as they are."""

from dataclasses import dataclass

from ltood.core.batches import Features
from ltood.core.slots import Calibrator


@dataclass(frozen=True)
class Config:
    """No settings."""


class NoCalibration(Calibrator):
    """Hands features on."""

    def __init__(self, config: Config | None = None) -> None:
        """Take the (empty) settings; there is nothing to fit."""
        self.config = config or Config()

    def transform(self, features: Features) -> Features:
        """The same tensor, [N, D]."""
        return features


Entry = NoCalibration
