"""What a file `tables/NAME.yaml` says; see docs/tables.md.

A table has rows. Those that differ only in their scores (calibrator, method, normaliser) share one
training, and a training with one seed is a cell: what is run, and never run again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError, UnknownNameError, quoted
from ltood.core.prior import GROUPS
from ltood.core.registry import check_name
from ltood.metrics import COLUMNS, JUDGED, METRICS
from ltood.runtime.params import read_params
from ltood.runtime.shipped import shipped
from ltood.tables.makers import MAKERS
from ltood.tables.published import Published, published_of
from ltood.tables.seeds import MARK, with_seed

#: Folder of tables in a repository.
FOLDER = Path("tables")
#: Why a row may not be compared with others at face value.
FLAGS = {
    "transductive": "scores depend on other test rows",
    "auxiliary": "trained or calibrated with auxiliary outliers",
    "tuned_on_test": "settings were chosen on test rows",
    "recalled": "quoted from memory, not read again",
}
#: Boards of the leaderboard, with their headings.
BOARDS = {"long-tail": "Long-tailed", "clip": "CLIP"}
_KEYS = {
    *(
        "version",
        "board",
        "title",
        "about",
        "columns",
        "metrics",
        "seeds",
        "groups",
        "params",
        "rows",
    ),
    *("needs", "published", "notes"),
}
#: Metrics of ID rows that a table may show beside those of OOD sets.
ID_METRICS = ("accuracy", *GROUPS)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: What it is called.
        calibrator: Name of the calibrator.
        method: Name of the method.
        normaliser: Name of the normaliser.
        params: Settings that differ from those of the table, in sections as in params.yaml.
        flags: Keys of `FLAGS`.
        deterministic: Whether seeds change nothing, so that the first one alone is run.
    """

    name: str
    calibrator: str = "none"
    method: str = "msp"
    normaliser: str = "none"
    params: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    deterministic: bool = False

    @property
    def title(self) -> str:
        """Title of its row in a leaderboard."""
        from ltood.comparing.plan import Combination

        return Combination(self.calibrator, self.method, self.normaliser).title


@dataclass(frozen=True)
class FileNeed:
    """A file or folder that must be there before anything starts.

    Attributes:
        path: Where it goes.
        files: Number of files in it; None for a single file.
        sha256: Of a single file; None where it is not known.
        source: Where it comes from.
        make: Name of one of `makers.MAKERS` that makes it; None for what is brought by hand.
    """

    path: str
    source: str
    files: int | None = None
    sha256: str | None = None
    make: str | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name, that of the file.
        version: Rises when numbers may change.
        title: Heading.
        about: What it shows, in a sentence or two.
        metrics: Headings with keys of metrics, from left to right.
        seeds: Seeds of each row.
        groups: Groups of OOD sets by name.
        params: Settings of all rows, in sections as in params.yaml.
        rows: Rows, from top to bottom.
        needs: Files that must be there.
        published: Published rows.
        notes: Remarks below the table.
        board: Key of `BOARDS` on whose page it stands; None for neither.
    """

    name: str
    version: int
    title: str
    about: str
    metrics: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    groups: Mapping[str, tuple[str, ...]]
    params: Mapping[str, Any]
    rows: tuple[Row, ...]
    needs: tuple[FileNeed, ...] = ()
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    board: str | None = None


def known_tables(root: Path | None = None) -> dict[str, Path]:
    """Files of all tables by name: those that come with ltood, and those in `tables/` here.

    A table of a repository takes the place of one of the same name that comes with ltood.
    """
    here = (root or Path()) / FOLDER
    found = {path.stem: path for path in sorted(shipped(str(FOLDER)).glob("*.yaml"))}
    return found | {path.stem: path for path in sorted(here.glob("*.yaml"))}


def load_table(name: str, root: Path | None = None) -> Table:
    """Read a table.

    Args:
        name: Its name, or the path of a file that ends in .yaml.
        root: Folder of the repository; the current one if not given.

    Raises:
        UnknownNameError: If there is no such table.
        ConfigError: If the file breaks a rule, naming the key.
    """
    import difflib

    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UnknownNameError(f"there is no file {path}.")
        return parse_table(path.stem, read_params(path), str(path))
    tables = known_tables(root)
    if name not in tables:
        near = difflib.get_close_matches(name, tables, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        listed = ", ".join(tables) or "none"
        raise UnknownNameError(f"No table {name!r}.{hint} Known: {listed}.")
    return parse_table(name, read_params(tables[name]), str(tables[name]))


def parse_table(name: str, content: Mapping[str, Any], where: str) -> Table:
    """A table from the content of its file.

    Args:
        name: Its name.
        content: Content of the file.
        where: The file, for messages.

    Raises:
        ConfigError: If it breaks a rule, naming the key.
    """
    _only(content, _KEYS, where)
    rows = tuple(
        _row(item, f"{where}: rows[{place}]")
        for place, item in enumerate(_list(content, "rows", where))
    )
    if not rows:
        raise ConfigError(f"{where}: rows is empty; a table has at least one row.")
    names = [row.name for row in rows]
    for row in names:
        if names.count(row) > 1:
            raise ConfigError(f"{where}: rows names {row!r} twice; give each row its own name.")
    groups, seeds = _section(content, "groups", where), _seeds(content, where)
    return Table(
        name,
        _whole(content, "version", where),
        _text(content, "title", where),
        _text(content, "about", where, ""),
        _metrics(content, where),
        seeds,
        {group: tuple(_texts(groups, group, f"{where}: groups")) for group in groups},
        _section(content, "params", where),
        rows,
        tuple(
            need
            for place, item in enumerate(_list(content, "needs", where))
            for need in _needs(item, seeds, f"{where}: needs[{place}]")
        ),
        published_of(_list(content, "published", where), names, FLAGS, where),
        tuple(_texts(content, "notes", where)),
        _board(content, where),
    )


def _board(content: Mapping[str, Any], where: str) -> str | None:
    found = content.get("board")
    if found is not None and found not in BOARDS:
        raise ConfigError(
            f"{where}: board is {quoted(found)}; it must be one of {', '.join(BOARDS)}."
        )
    return found


def _row(item: object, where: str) -> Row:
    known = {"name", "calibrator", "method", "normaliser", "params", "flags", "deterministic"}
    _only(item, known, where)
    assert isinstance(item, Mapping)
    row = Row(
        _text(item, "name", where),
        _text(item, "calibrator", where, "none"),
        _text(item, "method", where, "msp"),
        _text(item, "normaliser", where, "none"),
        _section(item, "params", where),
        tuple(_texts(item, "flags", where)),
        _flag(item, "deterministic", where),
    )
    for package in ("calibrator", "method", "normaliser"):
        check_name(f"{package}s", getattr(row, package))
    for flag in row.flags:
        if flag not in FLAGS:
            raise ConfigError(f"{where}: flags holds {flag!r}; known are {', '.join(FLAGS)}.")
    return row


def _needs(item: object, seeds: tuple[int, ...], where: str) -> list[FileNeed]:
    """A need, or one for each seed where its path names the seed."""
    need = _need(item, where)
    if MARK not in need.path:
        return [need]
    return [replace(need, path=str(with_seed(need.path, seed))) for seed in seeds]


def _need(item: object, where: str) -> FileNeed:
    _only(item, {"path", "source", "files", "sha256", "make"}, where)
    assert isinstance(item, Mapping)
    files = _whole(item, "files", where) if item.get("files") is not None else None
    sha256 = _text(item, "sha256", where) if item.get("sha256") is not None else None
    make = _text(item, "make", where) if item.get("make") is not None else None
    if make is not None and make not in MAKERS:
        raise ConfigError(f"{where}: make is {make!r}; known are {', '.join(MAKERS)}.")
    return FileNeed(_text(item, "path", where), _text(item, "source", where), files, sha256, make)


def _metrics(content: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    """Headings and keys: the columns of a paper, then further metrics."""
    preset = content.get("columns", "pascl")
    if preset not in COLUMNS:
        raise ConfigError(
            f"{where}: columns is {quoted(preset)}; it must be one of {', '.join(COLUMNS)}."
        )
    titles = {key: metric.name for key, metric in METRICS.items()}
    titles |= {key: metric.name for key, metric in JUDGED.items()}
    titles |= {key: key for key in ID_METRICS}
    found = list(COLUMNS[preset].columns)
    for key in _texts(content, "metrics", where):
        if key not in titles:
            raise ConfigError(f"{where}: metrics holds {key!r}; known are {', '.join(titles)}.")
        found.append((titles[key], key))
    return tuple(found)


def _seeds(content: Mapping[str, Any], where: str) -> tuple[int, ...]:
    seeds = content.get("seeds", [0])
    right = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not right or not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(
            f"{where}: seeds is {quoted(seeds)}; it must be a list of different whole numbers "
            "of 0 or more."
        )
    return tuple(seeds)


def _only(item: object, known: set[str], where: str) -> None:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where} is {quoted(item)}; it must be a section.")
    for key in item:
        if key not in known:
            raise ConfigError(
                f"{where} has no key {quoted(key)}; it takes {', '.join(sorted(known))}."
            )


def _section(content: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = content.get(key) or {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: {key} is {quoted(found)}; it must be a section.")
    return found


def _list(content: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = content.get(key) or []
    if not isinstance(found, list):
        raise ConfigError(f"{where}: {key} is {quoted(found)}; it must be a list.")
    return found


def _texts(content: Mapping[str, Any], key: str, where: str) -> list[str]:
    found = _list(content, key, where)
    for item in found:
        if not isinstance(item, str):
            raise ConfigError(f"{where}: {key} holds {quoted(item)}; it must be a list of texts.")
    return found


def _text(content: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    found = content.get(key, default)
    if not isinstance(found, str) or (default is None and not found):
        raise ConfigError(f"{where}: {key} is {quoted(found)}; it must be a text.")
    return found


def _whole(content: Mapping[str, Any], key: str, where: str) -> int:
    found = content.get(key)
    if type(found) is not int or found < 1:
        raise ConfigError(f"{where}: {key} is {quoted(found)}; it must be a whole number, from 1.")
    return found


def _flag(content: Mapping[str, Any], key: str, where: str) -> bool:
    found = content.get(key, False)
    if not isinstance(found, bool):
        raise ConfigError(f"{where}: {key} is {quoted(found)}; it must be true or false.")
    return found
