"""Examples of errors with their pictures, kept for the report: a folder with examples.json.

The file has a checksum and holds small pictures as text, so that neither writing nor reading needs
the images or a package that opens them. Where there is nothing to show it says why.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ltood.core.errors import CorruptStoreError
from ltood.runtime.files import write_folder
from ltood.store.documents import read_sealed, sealed_json

SCHEMA = 1
DOCUMENT = "examples.json"
_RERUN = "run the examples stage again"

Kind = Literal["missed", "false_alarm"]


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
        id: Row number in the dataset.
        label: Class, or -1 for an OOD image.
        path: Its file, from the root of the dataset on; None where images are arrays.
        thumbnail: A small copy as a WebP file; None where there is no image to read.
        width: Width of the small copy in pixels.
        height: Its height.
    """

    id: int
    label: int
    path: str | None = None
    thumbnail: bytes | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Neighbour:
    """A training image near an example.

    Attributes:
        picture: The image.
        similarity: Cosine of the features of both, -1 to 1.
    """

    picture: Picture
    similarity: float


@dataclass(frozen=True)
class Example:
    """One error.

    Attributes:
        picture: The image.
        prediction: Its predicted class.
        score: Its OOD score; higher means more OOD.
        share: Share of the other side that the score is beyond, 0 to 1: ID test images that look
            more OOD than a missed one, OOD images that look more ID than a false alarm; None where
            there are no OOD images.
        nearest: Training images with the most similar features, nearest first.
    """

    picture: Picture
    prediction: int
    score: float
    share: float | None
    nearest: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class ExampleGroup:
    """The clearest errors of one kind.

    Attributes:
        kind: Whether OOD images look like ID ones, or the other way round.
        name: The OOD set, or the class group of the ID images.
        total: Images of the set or the group.
        examples: Errors, clearest first.
    """

    kind: Kind
    name: str
    total: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Examples:
    """Examples of all kinds.

    Attributes:
        scores: Fingerprint of the scores that decided.
        groups: OOD sets, then class groups.
    """

    scores: str
    groups: tuple[ExampleGroup, ...]


def write_examples(folder: Path, examples: Examples | str) -> None:
    """Write examples, or the reason why there are none, to `folder` in one rename.

    Raises:
        StoreError: If it cannot be written.
    """
    content: dict[str, Any] = {"schema": SCHEMA}
    if isinstance(examples, str):
        content["absent"] = examples
    else:
        content |= _as_text(asdict(examples))
    write_folder(folder, {DOCUMENT: sealed_json(content)})


def read_examples(folder: Path) -> Examples | None:
    """Read what `write_examples` wrote; None where there is nothing to show.

    Raises:
        StoreError: If it is missing or another version wrote it.
        CorruptStoreError: If it is unreadable or changed.
    """
    content = read_sealed(folder / DOCUMENT, SCHEMA, _RERUN)
    if "absent" in content:
        return None
    try:
        return Examples(content["scores"], tuple(map(_group, content["groups"])))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{folder} is unreadable ({type(error).__name__}: {error}); {_RERUN}."
        ) from None


def _as_text(value: Any) -> Any:  # noqa: ANN401 - plain values of any depth
    """Plain values with bytes as text."""
    if isinstance(value, Mapping):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(inner) for inner in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _group(content: Mapping[str, Any]) -> ExampleGroup:
    return ExampleGroup(**{**content, "examples": tuple(map(_example, content["examples"]))})


def _example(content: Mapping[str, Any]) -> Example:
    nearest = tuple(
        Neighbour(_picture(one["picture"]), one["similarity"]) for one in content["nearest"]
    )
    return Example(**{**content, "picture": _picture(content["picture"]), "nearest": nearest})


def _picture(content: Mapping[str, Any]) -> Picture:
    text = content["thumbnail"]
    return Picture(
        **{**content, "thumbnail": None if text is None else base64.b64decode(text, validate=True)}
    )
