"""Verdicts on inputs, one for each: what a row of output holds, and under which names.

An input that cannot be judged has the verdict `error`, a reason, and no other values.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltood.deployment.detector import NUM_NEAREST, DeployedDetector
from ltood.deployment.rules import SetRule

ID, OOD, ERROR = "ID", "OOD", "error"

_RANKS = range(1, NUM_NEAREST + 1)
#: Columns of every table of verdicts; see `columns_of`.
COLUMNS = (
    *("path", "id", "verdict", "score", "threshold", "class"),
    *(f"{kind}_{rank}" for rank in _RANKS for kind in ("nearest", "cosine")),
    *("probability", "p_value", "reason"),
)
#: Columns behind them where the detector holds training images.
IMAGE_COLUMNS = tuple(
    f"{kind}_{rank}" for rank in _RANKS for kind in ("image", "image_class", "image_cosine")
)

#: Between the classes of a set in a table.
SEPARATOR = "|"


def columns_of(detector: DeployedDetector) -> tuple[str, ...]:
    """Columns of a table of a detector's verdicts, the same whatever the inputs are."""
    images = () if detector.examples is None else IMAGE_COLUMNS
    sets = ("set",) if isinstance(detector.rule, SetRule) else ()
    return (*COLUMNS, *images, *sets, *detector.explained)


@dataclass(frozen=True)
class NearImage:
    """A training image that is similar to an input.

    Attributes:
        name: Its file, or where it stands in the split train.
        path: Its file; None where it came in an array.
        id: Its id in the split train.
        class_name: Its class.
        cosine: Cosine similarity of its calibrated features, -1 to 1.
    """

    name: str
    path: str | None
    id: int
    class_name: str
    cosine: float


@dataclass(frozen=True)
class Verdict:
    """One row of output.

    Attributes:
        path: File the row comes from, as it was given or found.
        id: The row's id in an archive (its `ids`, else its number); None for an image file.
        verdict: "ID", "OOD", or "error" for an input that could not be judged.
        score: OOD score; higher means more OOD. None, like all that follows, after an error.
        threshold: Largest score that is ID; None where the score alone does not decide.
        class_name: Most likely ID class.
        nearest: Up to three training classes with the cosine of their mean, best first.
        probability: Softmax of the most likely class; None without a classifier head.
        p_value: Share of ID rows that are as rare as this one; None without held-out rows.
        reason: Why there is no verdict; None where there is one.
        images: Up to three training images, most similar first; none if the detector has none.
        classes: Classes that are not ruled out; None where no sets were asked for.
        explanation: What the score comes from, by the method's own columns.
    """

    path: str
    id: int | None
    verdict: str
    score: float | None = None
    threshold: float | None = None
    class_name: str | None = None
    nearest: tuple[tuple[str, float], ...] = ()
    probability: float | None = None
    p_value: float | None = None
    reason: str | None = None
    images: tuple[NearImage, ...] = ()
    classes: tuple[str, ...] | None = None
    explanation: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How messages call the input."""
        return named(self.path, self.id)

    def _plain(self) -> dict[str, Any]:
        """What a table and a JSON line hold alike, in this order."""
        return {
            "path": self.path,
            "id": self.id,
            "verdict": self.verdict,
            "score": self.score,
            "threshold": self.threshold,
            "class": self.class_name,
            "probability": self.probability,
            "p_value": self.p_value,
        }

    def values(self) -> dict[str, Any]:
        """Values by the names of columns; those of others are absent."""
        found: dict[str, Any] = {**self._plain(), "reason": self.reason}
        for rank, (name, cosine) in enumerate(self.nearest, start=1):
            found |= {f"nearest_{rank}": name, f"cosine_{rank}": cosine}
        for rank, image in enumerate(self.images, start=1):
            found[f"image_{rank}"] = image.name
            found[f"image_class_{rank}"] = image.class_name
            found[f"image_cosine_{rank}"] = image.cosine
        if self.classes is not None:
            found["set"] = list(self.classes)
        return {**{name: as_text(value) for name, value in found.items()}, **self.explanation}

    def record(self) -> dict[str, Any]:
        """Plain values by name, as a JSON line holds them."""
        found: dict[str, Any] = {
            **self._plain(),
            "nearest": [{"class": name, "cosine": cosine} for name, cosine in self.nearest],
            "reason": self.reason,
        }
        if self.images:
            found["images"] = [
                {
                    "path": image.path,
                    "id": image.id,
                    "class": image.class_name,
                    "cosine": image.cosine,
                }
                for image in self.images
            ]
        if self.classes is not None:
            found["set"] = list(self.classes)
        return {**{name: as_text(value) for name, value in found.items()}, **self.explanation}

    def plain(self) -> dict[str, Any]:
        """All attributes as JSON holds them; `of_plain` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> "Verdict":
        """The verdict whose `plain` values are given; JSON has lists where it has tuples."""
        changed = {
            "nearest": tuple((name, cosine) for name, cosine in values["nearest"]),
            "images": tuple(NearImage(**image) for image in values["images"]),
            "classes": None if values["classes"] is None else tuple(values["classes"]),
        }
        return cls(**{**values, **changed})


def named(path: str, row: int | None) -> str:
    """How messages call an input: by its file, and its id where the file is an archive."""
    return path if row is None else f"{path} id {row}"


def as_text(value: Any) -> Any:  # noqa: ANN401 - of any column
    """A value whose texts UTF-8 can hold: bytes of file names that are not UTF-8 are escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, dict):
        return {name: as_text(one) for name, one in value.items()}
    return value
