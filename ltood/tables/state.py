"""What decides the numbers of a cell: its settings, the code of its stages, and its files."""

from collections.abc import Mapping
from typing import Any

from ltood.pipeline import STAGES, WATCHED, Params, code_of
from ltood.runtime.provenance import digest
from ltood.tables.cells import Cell

#: Settings that change no number.
_FREE = {"device": None, "training": ("checkpoint_epochs", "checkpoint_minutes")}


def state_of(cell: Cell) -> str:
    """Digest of everything that can change a number of a cell; run in the repository.

    Raises:
        DataError: If a file of the data set or of weights is missing.
        ConfigError: If a setting is wrong.
    """
    params = Params.of(cell.params)
    code = {stage: code_of(stage, params) for stage in STAGES if stage != "report"}
    files = {file: describe(params) for file, _, describe in WATCHED.values()}
    return digest({"params": _decisive(cell.params), "code": code, "files": files})


def _decisive(params: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in params.items():
        if key in _FREE and _FREE[key] is None:
            continue
        left_out = _FREE.get(key) or ()
        if isinstance(value, Mapping):
            value = {name: inner for name, inner in value.items() if name not in left_out}
        found[key] = value
    return found
