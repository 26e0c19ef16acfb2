"""What decides the numbers of a cell: its settings, the code of its stages, and its files."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from ltood.pipeline import STAGES, WATCHED, Params, code_of
from ltood.runtime.provenance import code_parts, digest
from ltood.tables.cells import Cell

#: Settings that change no number.
_FREE = {"device": None, "training": ("checkpoint_epochs", "checkpoint_minutes", "live")}


def state_of(cell: Cell, known: dict[Any, Any] | None = None) -> str:
    """Digest of everything that can change a number of a cell; run in the repository.

    Args:
        cell: The cell.
        known: What earlier calls found; cells of a table share most code and data.

    Raises:
        DataError: If a file of the data set or of weights is missing.
        ConfigError: If a setting is wrong.
    """
    found = {} if known is None else known

    def once(key: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401
        if key not in found:
            found[key] = make()
        return cast(dict[str, Any], found[key])

    def parts(*roots: str) -> dict[str, Any]:
        return once(roots, lambda: code_parts(*roots))

    params = Params.of(cell.params)
    code = {stage: code_of(stage, params, parts) for stage in STAGES if stage != "report"}
    files = {file: describe for file, _, describe in WATCHED.values() if file != "data"}
    seen = {file: describe(params) for file, describe in files.items()}
    # Its files are many, and no other setting has a say.
    chosen = digest({key: cell.params[key] for key in ("dataset", "datasets")})
    seen["data"] = once(chosen, lambda: WATCHED["prepare"][2](params))
    return digest({"params": _decisive(cell.params), "code": code, "files": seen})


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
