"""Runs by what people call them: an experiment, a commit, a folder, or a row of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ltood.comparing.scores import ComparedScores
from ltood.core.errors import ConfigError, DataError, UnknownNameError, quoted
from ltood.evaluation.binding import read_bound
from ltood.evaluation.config import SetGroups
from ltood.evaluation.measures import Evaluation, ScoreSource
from ltood.runs.repository import repository
from ltood.runs.revisions import Revision, revision, workspace_of
from ltood.runs.run import Run
from ltood.runs.settings import settings_of
from ltood.runtime.files import read_json
from ltood.store.scores import ScoreSplit, ScoreStore

#: Results of the stages, as paths in a repository.
SCORES = "data/work/scores/final.zarr"
COMPARED = "data/work/scores/compared"
LEADERBOARD = "results/leaderboard.json"
METRICS = "results/metrics.json"
#: Course of the training of the network, else of the head, else what the report kept of either.
HISTORIES = (
    "data/work/checkpoint/history.csv",
    "data/work/head/history.csv",
    "results/training.csv",
)
DETECTOR = "results/detector.json"
EXAMPLES = "data/work/examples"
#: Splits rows of a comparison from where it lies.
ROW = "#"


@dataclass(frozen=True)
class _Row:
    """Scores of one row of a comparison, with the interface of a score store."""

    compared: ComparedScores
    place: int
    attributes: Mapping[str, Any]
    beside: ScoreStore | None

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self.compared.splits)

    def split(self, name: str, /) -> ScoreSplit:
        """Scores of one split, with ids from scores of the same features, if there are any."""
        found = self.compared.split(self.place, name)
        if self.beside is None or name not in self.beside.splits:
            return found
        return replace(found, ids=self.beside.split(name).ids)


def open_runs(given: Sequence[str], scratch: Path, groups: SetGroups | None = None) -> list[Run]:
    """Open runs, in the order in which they are named.

    Args:
        given: Each an experiment of DVC, a commit, "workspace", a score store, a folder of
            results, or one of these with rows of its comparison, such as "main#knn,energy". Any
            of them may have a name before it, as in "mine=main".
        scratch: Folder for what is read from DVC's cache.
        groups: OOD sets over which further means are taken.

    Raises:
        UnknownNameError: If there is no such run, or no such row.
        ConfigError: If two runs have the same name.
        DataError: If a run holds neither scores nor metrics.
        StoreError: If a store is damaged.
    """
    runs: list[Run] = []
    for text in given:
        runs += _opened(text, scratch, groups or SetGroups())
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two runs are called {twice!r}; name one of them, as in mine=RUN.")
    return runs


def count_runs(given: Sequence[str]) -> int:
    """How many runs `open_runs` gives for names, without opening them."""
    return sum(max(1, len(_rows_of(text)[1])) for text in given)


def _rows_of(text: str) -> tuple[str, list[str]]:
    """A place and the rows of its comparison that are wanted."""
    place, _, titles = text.partition(ROW) if not Path(text).exists() else (text, "", "")
    return place, [title for title in titles.split(",") if title]


def _opened(text: str, scratch: Path, groups: SetGroups) -> list[Run]:
    label, place = _split_label(text)
    place, rows = _rows_of(place)
    if not place:
        raise ConfigError(f"a run is {quoted(text)}; write a path, an experiment or NAME=RUN.")
    path = Path(place)
    if not path.exists():
        found = _Found.of_revision(revision(repository(), place), scratch, rows=bool(rows))
        return found.runs(label or place, rows, groups)
    if (path / "zarr.json").exists():
        if rows:
            raise ConfigError(
                f"{path} holds scores of one method, so that it has no row {rows[0]}."
            )
        store = ScoreStore.open(path)
        name = label or path.resolve().stem
        return [_of_scores(name, f"score store {path}", None, store, groups)]
    return _of_folder(path).runs(label or path.resolve().name, rows, groups)


def _split_label(text: str) -> tuple[str, str]:
    """Name and place of "NAME=PLACE"; a path that holds "=" itself is a place."""
    label, sign, place = text.partition("=")
    if not sign or Path(text).exists():
        return "", text
    if not label:
        raise ConfigError(f"a run is {quoted(text)}; write the name before =, as in mine=main.")
    return label, place


@dataclass(frozen=True)
class _Found:
    """What one place holds: each None where it is not there."""

    words: str
    date: str | None
    scores: Path | None
    compared: Path | None
    board: Path | None
    metrics: Path | None
    settings: Mapping[str, Any]
    history: Path | None = None
    examples: Path | None = None
    detector: Path | None = None

    @classmethod
    def of_revision(cls, state: Revision, scratch: Path, *, rows: bool) -> "_Found":
        """What the stages of a state made; its comparison only where rows of it are wanted."""
        return cls(
            str(state),
            state.date,
            state.fetch(SCORES, scratch),
            state.fetch(COMPARED, scratch) if rows else None,
            state.fetch(LEADERBOARD, scratch),
            state.fetch(METRICS, scratch),
            state.settings(),
            next((path for name in HISTORIES if (path := state.fetch(name, scratch))), None),
            state.fetch(EXAMPLES, scratch),
            state.fetch(DETECTOR, scratch),
        )

    def runs(self, name: str, rows: Sequence[str], groups: SetGroups) -> list[Run]:
        """The run itself, or rows of its comparison."""
        if rows:
            return [self._row(name, row, groups) for row in rows]
        if self.scores is not None:
            found = _of_scores(name, self.words, self.date, ScoreStore.open(self.scores), groups)
            found = replace(found, history=self.history, examples=self.examples)
            images = self.settings.get("report.images")
            return [replace(found, board=self.board, images=images, detector=self.detector)]
        if self.metrics is not None:
            metrics = read_bound(self.metrics, "evaluate")
            return [Run(name, self.words, self.date, self.settings, None, metrics)]
        raise DataError(
            f"{self.words} holds no scores and no metrics; run its stages with `dvc repro`, or "
            "name a score store."
        )

    def _row(self, name: str, title: str, groups: SetGroups) -> Run:
        if self.compared is None:
            raise DataError(f"{self.words} holds no scores of a comparison; run the compare stage.")
        compared = ComparedScores.open(self.compared)
        if title not in compared.titles:
            raise UnknownNameError(
                f"{self.words} has no row {title!r}. Known: {', '.join(compared.titles)}."
            )
        place = compared.titles.index(title)
        beside = self._beside(compared)
        attributes = {**self._common(compared, beside), **self._slots(title)}
        evaluation = Evaluation(_Row(compared, place, attributes, beside), groups)
        words = f"row {title} of {self.words}"
        return Run(f"{name}{ROW}{title}", words, self.date, settings_of(attributes), evaluation)

    def _beside(self, compared: ComparedScores) -> ScoreStore | None:
        """Scores of the same features as a comparison."""
        if self.scores is None:
            return None
        found = ScoreStore.open(self.scores)
        is_same = found.attributes.get("features_fingerprint") == compared.features
        return found if is_same else None

    def _common(self, compared: ComparedScores, beside: ScoreStore | None) -> dict[str, Any]:
        """What all rows of a comparison share."""
        found: dict[str, Any] = {"features_fingerprint": compared.features}
        if compared.class_counts:
            found["class_counts"] = list(compared.class_counts)
        if beside is not None:
            keys = ("class_counts", "class_names", "provenance")
            found |= {key: beside.attributes[key] for key in keys if key in beside.attributes}
        if "class_counts" not in found:
            raise DataError(
                f"the comparison of {self.words} does not say how many training rows each class "
                "has; compare again with this version."
            )
        return found

    def _slots(self, title: str) -> dict[str, Any]:
        """Entries of a row with their settings, where the leaderboard is there to say them."""
        if self.board is None:
            assert self.compared is not None
            listed = read_json(self.compared / "rows.json", "compare again")["rows"]
        else:
            listed = read_json(self.board, "run the compare stage again")["rows"]
        row: dict[str, Any] = next((row for row in listed if row["title"] == title), {})
        settings = row.get("settings") or {}
        return {
            slot: {"name": row[slot], "settings": settings.get(slot) or {}}
            for slot in ("method", "calibrator", "normaliser")
            if slot in row
        }


def _of_folder(path: Path) -> _Found:
    """A working folder, a folder of results, or one of compared scores."""

    def there(*names: str) -> Path | None:
        return next((path / name for name in names if (path / name).exists()), None)

    if (path / "rows.json").is_file():
        beside = path.parent / "final.zarr"
        return _Found(str(path), None, beside if beside.exists() else None, path, None, None, {})
    return _Found(
        str(path),
        None,
        there(SCORES, "final.zarr", "scores/final.zarr"),
        there(COMPARED, "compared", "scores/compared"),
        there(LEADERBOARD, "leaderboard.json"),
        there(METRICS, "metrics.json"),
        workspace_of(path).settings() if (path / "dvc.lock").exists() else {},
        there(*HISTORIES, "training.csv"),
        there(EXAMPLES),
        there(DETECTOR, "detector.json"),
    )


def _of_scores(
    name: str,
    words: str,
    date: str | None,
    scores: ScoreStore,
    groups: SetGroups,
) -> Run:
    source: ScoreSource = scores
    settings = settings_of(scores.attributes)
    return Run(name, words, date, settings, Evaluation(source, groups))
