"""ltood: out-of-distribution image detection, iterated on cached features."""

__version__ = "0.1.0"
