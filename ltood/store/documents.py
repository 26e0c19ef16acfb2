"""JSON documents that carry the digest of their own content, so that an edited one is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import read_json, to_json_bytes
from ltood.runtime.provenance import digest

SEAL = "sha256"


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """A document with the digest of `content` under "sha256"."""
    return to_json_bytes({**content, SEAL: digest(content)})


def read_sealed(path: Path, schema: int, remedy: str) -> dict[str, Any]:
    """Read what `sealed_json` made.

    Args:
        path: File of the document.
        schema: Version that its entry "schema" must have.
        remedy: What to do otherwise, such as "run the calibrate stage again".

    Returns:
        The content, without its digest.

    Raises:
        StoreError: If it is missing or of another version.
        CorruptStoreError: If it is unreadable or was edited.
    """
    try:
        content = read_json(path, remedy)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{path.parent} has no {path.name}; {remedy}.") from None
    if not isinstance(content, dict):
        raise CorruptStoreError(f"{path} does not hold a JSON object; {remedy}.")
    if content.get("schema") != schema:
        raise StoreError(
            f"{path} has schema {content.get('schema')!r}, this version reads {schema}; {remedy}."
        )
    found = content.pop(SEAL, None)
    if found != digest(content):
        raise CorruptStoreError(f"{path} was edited after it was written; {remedy}.")
    return content
