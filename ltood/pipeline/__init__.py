"""One file per stage of the pipeline; each runs in the folder that holds its `params.yaml`."""

from ltood.pipeline._code import SOURCES, STAGES, code_of
from ltood.pipeline._params import Params
from ltood.pipeline._watched import WATCHED

__all__ = ["SOURCES", "STAGES", "WATCHED", "Params", "code_of"]
