"""One run, as comparisons and reports take it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.evaluation.measures import Evaluation
from ltood.store.layout import OOD_PREFIX


@dataclass(frozen=True)
class Run:
    """One run, ready to be measured.

    Attributes:
        name: What it is called.
        source: Where it comes from, in words.
        date: When it was committed; None where that is not known.
        settings: Its settings by dotted names.
        evaluation: Its scores; None where there are metrics alone.
        metrics: Content of metrics.json, where there are no scores.
        board: Its leaderboard.json, where there is one.
        history: Its course of training, where there is one.
        examples: Folder of its clearest errors, where there is one.
        images: What its images are called, where it says so.
        detector: Description of the detector that it made, where there is one.
    """

    name: str
    source: str
    date: str | None
    settings: Mapping[str, Any]
    evaluation: Evaluation | None
    metrics: Mapping[str, Any] | None = None
    board: Path | None = None
    history: Path | None = None
    examples: Path | None = None
    images: str | None = None
    detector: Path | None = None

    @property
    def sets(self) -> list[str]:
        """Names of its OOD sets."""
        if self.evaluation is None:
            return list(self.measures.get("ood", {}))
        names = self.evaluation.scores.splits
        return [n.removeprefix(OOD_PREFIX) for n in names if n.startswith(OOD_PREFIX)]

    @property
    def measures(self) -> Mapping[str, Any]:
        """Its metrics, in the sections of metrics.json."""
        if self.evaluation is not None:
            return self.evaluation.metrics
        assert self.metrics is not None
        return self.metrics
