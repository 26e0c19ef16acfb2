"""No calibration: features stay as they are."""

from dataclasses import dataclass

from ltood.core.batches import Features
from ltood.core.settings import Settings
from ltood.core.slots import Calibrator


@dataclass(frozen=True)
class Config(Settings):
    """No settings."""


class NoCalibration(Calibrator[Config]):
    """Returns features unchanged."""

    def _transform(self, features: Features) -> Features:
        """The same tensor, [N, D]."""
        return features


Entry = NoCalibration
