"""Options that say by which rule a detector decides, of predict and serve alike."""

import enum
from typing import Annotated

import typer


class Groups(enum.StrEnum):
    """Groups of rows, by predicted class, that each keep the promise."""

    CLASS_GROUP = "class_group"
    CLASS = "class"


Threshold = Annotated[
    float | None,
    typer.Option(help="Largest score that counts as ID; the detector's own by default."),
]
FalseAlarms = Annotated[
    float | None,
    typer.Option(help="Call at most this share of new ID rows OOD, instead of the threshold."),
]
Confidence = Annotated[
    float | None,
    typer.Option(help="Hold --fpr for this share of calibration sets, not only on average."),
]
PerGroup = Annotated[
    Groups | None,
    typer.Option(help="Hold the promise within groups of rows by predicted class."),
]
ClassMix = Annotated[
    str | None,
    typer.Option(help="Class shares at deployment for --fpr: uniform, train or a JSON file."),
]
FalseDiscoveries = Annotated[
    float | None,
    typer.Option(help="Share of ID rows among the rows of this call that are called OOD."),
]
Sets = Annotated[
    float | None,
    typer.Option(help="Give the set of possible classes; it may miss the true one at this rate."),
]
