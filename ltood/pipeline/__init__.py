"""One file per stage of the pipeline; each runs in the folder that holds its `params.yaml`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltood.pipeline._code import SOURCES, STAGES, code_of, wanted_extras
    from ltood.pipeline._features import features
    from ltood.pipeline._params import Params
    from ltood.pipeline._shell import PREPARED
    from ltood.pipeline._watched import WATCHED

__all__ = [
    "PREPARED",
    "SOURCES",
    "STAGES",
    "WATCHED",
    "Params",
    "code_of",
    "features",
    "wanted_extras",
]

_HOMES = {
    "PREPARED": "_shell",
    "SOURCES": "_code",
    "STAGES": "_code",
    "WATCHED": "_watched",
    "Params": "_params",
    "code_of": "_code",
    "features": "_features",
    "wanted_extras": "_code",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the room offers
    """What other rooms need of this one, on demand: a stage loads only what it runs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
