"""Entries by name, for names that come as text: `ltood.method("knn", k=50)`."""

from typing import Any

from ltood.core.registry import load
from ltood.core.slots import Calibrator, Method, Normaliser


def method(name: str, **settings: Any) -> Method:  # noqa: ANN401
    """A method by its name in `ltood list methods`, such as "knn".

    Args:
        name: Name of the method.
        **settings: Its settings; what is not given has its default.

    Raises:
        UnknownNameError: If there is no such method.
        ConfigError: On an unknown setting, a wrong type or a value out of range.

    Example:
        >>> method("gen", k=10)
        GEN(gamma=0.1, k=10)
    """
    built: Method = load("methods", name).Entry(**settings)
    return built


def calibrator(name: str, **settings: Any) -> Calibrator:  # noqa: ANN401
    """A calibrator by its name, such as "patt"; see `method`."""
    built: Calibrator = load("calibrators", name).Entry(**settings)
    return built


def normaliser(name: str, *, base: str, **settings: Any) -> Normaliser:  # noqa: ANN401
    """A normaliser by its name, such as "imood", for the scores of the method `base`."""
    built: Normaliser = load("normalisers", name).Entry(base=base, **settings)
    return built
