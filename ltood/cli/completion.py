"""Shell completion of entry names, read from the file names."""

from ltood.core.registry import available


def methods(incomplete: str) -> list[str]:
    """Methods that start with `incomplete`."""
    return _matching("methods", incomplete)


def calibrators(incomplete: str) -> list[str]:
    """Calibrators that start with `incomplete`."""
    return _matching("calibrators", incomplete)


def normalisers(incomplete: str) -> list[str]:
    """Normalisers that start with `incomplete`."""
    return _matching("normalisers", incomplete)


def recipes(incomplete: str) -> list[str]:
    """Recipes that start with `incomplete`."""
    return _matching("recipes", incomplete)


def stages(incomplete: str) -> list[str]:
    """Stages that start with `incomplete`."""
    return _matching("pipeline", incomplete)


def _matching(package: str, incomplete: str) -> list[str]:
    return [name for name in available(package) if name.startswith(incomplete)]
