"""Result files that record what they were made from, so that they cannot be mixed up.

A file carries `made_from`, a list of names with digests: of its inputs, and of its own
content. It is a list because `dvc metrics` shows every text of a dictionary as a metric.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.core.errors import DataError
from ltood.runtime.files import read_json, to_json_bytes, write_atomically
from ltood.runtime.provenance import digest

_KEY = "made_from"
_CONTENT = "content"


def bind(content: Mapping[str, Any], **inputs: str) -> dict[str, Any]:
    """Add to a result what it was made from.

    Args:
        content: Plain values that JSON can hold.
        inputs: Fingerprint of each input by name, such as `scores`.
    """
    plain = {key: value for key, value in content.items() if key != _KEY}
    digests = {**inputs, _CONTENT: digest(plain)}
    return {**plain, _KEY: [{"name": key, "sha256": value} for key, value in digests.items()]}


def write_bound(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write a bound result as JSON with sorted keys; a crash leaves the old file or none."""
    write_atomically(Path(path), to_json_bytes(content))


def read_bound(path: Path, stage: str, **inputs: str) -> dict[str, Any]:
    """Read a result that was made from these inputs and has not been edited since.

    Args:
        path: File that `write_bound` wrote.
        stage: Stage that writes it, for the advice.
        inputs: Fingerprint of each input by name.

    Returns:
        The content without what it was made from.

    Raises:
        CorruptStoreError: If the file does not hold JSON.
        DataError: If it is missing, not such a result, edited, or made from others.
    """
    try:
        content: dict[str, Any] = read_json(path, f"run the {stage} stage again")
        digests = {entry["name"]: entry["sha256"] for entry in content.pop(_KEY)}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the {stage} stage first.") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not record what it was made from; run the {stage} stage again."
        ) from error
    if digests.get(_CONTENT) != digest(content):
        raise DataError(
            f"{path} was edited after the {stage} stage wrote it; run the {stage} stage again."
        )
    for name, wanted in inputs.items():
        found = digests.get(name)
        if found != wanted:
            raise DataError(
                f"{path} was made from {name} {str(found)[:12]}, but these are {name} "
                f"{wanted[:12]}; run the {stage} stage again."
            )
    return content
