"""Records of the leaderboard: one JSON file for each row of a table, in `leaderboard/`.

A record is plain data: reading it runs nothing. `record.schema.json` is its form; further rules
are that its file has the name that its row gives it, that means are means of its sets, and that
what scores a stream is marked.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ltood.boards.form import check_form
from ltood.core.errors import DataError
from ltood.runtime.files import read_json, to_json_bytes, write_atomically

#: Folder of records in a repository.
FOLDER = Path("leaderboard")
#: Sections of a leaderboard's row that a record keeps.
SECTIONS = ("id", "mean", "groups", "ood", "failures", "full_spectrum", "stream")
SCHEMA = 1
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Record:
    """A record.

    Attributes:
        path: Where it lies.
        content: What it says, in the form of `record.schema.json`.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Table and row, for people."""
        table = self.content["table"]
        return f"{table['name']} v{table['version']}, {self.content['row']}"

    @property
    def runs(self) -> list[Mapping[str, Any]]:
        """Its runs, one for each seed."""
        return list(self.content["runs"])

    @classmethod
    def of(cls, content: Mapping[str, Any], folder: Path = FOLDER) -> "Record":
        """A record of checked content, at its place in a folder.

        Raises:
            DataError: If it breaks a rule, naming the place.
        """
        check(content, "the record")
        return cls(folder / name_of(content), content)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a record.

        Raises:
            DataError: If it is missing or breaks a rule, naming the place.
            CorruptStoreError: If it holds no JSON.
        """
        try:
            content = read_json(path, "write it again with `ltood table submit`")
        except FileNotFoundError:
            raise DataError(
                f"there is no record {path}; `ltood table submit` writes one."
            ) from None
        check(content, str(path))
        if path.name != name_of(content):
            raise DataError(
                f"{path} has the name of another row; this one is called {name_of(content)}."
            )
        return cls(path, content)

    def write(self) -> None:
        """Write it to its place; a crash leaves the old file or none."""
        write_atomically(self.path, to_json_bytes(self.content))


def records_in(path: Path) -> Iterator[Record]:
    """The record of a file, or all of a folder by name.

    Raises:
        DataError: If one is missing or breaks a rule.
    """
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        yield Record.read(file)


def name_of(content: Mapping[str, Any]) -> str:
    """Name of a record's file: table, version and row in small letters."""
    table = content["table"]
    row = re.sub(r"[^a-z0-9]+", "-", content["row"].lower()).strip("-") or "row"
    return f"{table['name']}-v{table['version']}-{row}.json"


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema of a record."""
    path = Path(__file__).with_name("record.schema.json")
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def check(content: object, where: str) -> None:
    """Refuse content that is not a record.

    Args:
        content: Plain data.
        where: What holds it, for messages.

    Raises:
        DataError: If it breaks a rule, naming the place.
    """
    check_form(content, schema(), where)
    assert isinstance(content, Mapping)
    seeds = [run["seed"] for run in content["runs"]]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"{where}: runs names a seed twice; each seed has one run.")
    for number, run in enumerate(content["runs"]):
        place = f"{where}: runs[{number}]"
        _check_means(run["metrics"], place)
        _check_scores(run, content["flags"], place)


def _check_means(metrics: Mapping[str, Any], where: str) -> None:
    """Refuse means that are not those of the sets."""
    from ltood.metrics import METRICS

    if not metrics["ood"]:
        raise DataError(f"{where}.metrics.ood is empty; a row is measured on one OOD set or more.")
    for key in METRICS:
        for name, figures in metrics["ood"].items():
            if not isinstance(value := figures.get(key), int | float) or value > 1:
                raise DataError(
                    f"{where}.metrics.ood.{name}.{key} is {value}; it must be a fraction."
                )
        values = [figures[key] for figures in metrics["ood"].values()]
        wanted, found = math.fsum(values) / len(values), metrics["mean"].get(key)
        if found is None or abs(found - wanted) > _ROUNDING:
            raise DataError(
                f"{where}.metrics.mean.{key} is {found}; the mean of its sets is {wanted}."
            )


def _check_scores(run: Mapping[str, Any], flags: list[str], where: str) -> None:
    """Refuse scores of other splits than those of the metrics, and streams that are not marked."""
    if "stream" in run["metrics"]:
        if "transductive" not in flags:
            raise DataError(f"{where} scores a stream; flags must hold transductive.")
        return
    wanted = {"test", *(f"ood_{name}" for name in run["metrics"]["ood"])}
    if missing := sorted(wanted - set(run["scores"])):
        raise DataError(f"{where}.scores has no {missing[0]}; it needs the digest of each split.")
