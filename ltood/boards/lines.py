"""Rows of the leaderboard's page: those of records, and published ones beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ltood.boards.record import Record
from ltood.metrics import COLUMNS
from ltood.tables.published import Published
from ltood.tables.spec import Table
from ltood.tables.statistics import Figure, places_of, value_of

#: Metrics that every table shows: both conventions of the false positive rate.
_ALWAYS = (
    ("AUROC", "", "auroc"),
    ("FPR95 (OOD positive)", "", "fpr95_ood_pos"),
    ("FPR95 (ID positive)", "", "fpr95_id_pos"),
    ("Accuracy", "", "accuracy"),
)


@dataclass(frozen=True)
class Line:
    """A row of the page.

    Attributes:
        name: What it is called.
        figures: A percentage with its deviation, or None, by place and key of the column.
        flags: Why it may not be compared at face value.
        seeds: Number of runs; None where it is not known.
        source: Who sent it and when, or where it was published.
        is_published: Whether it is quoted.
        features: Address of its features, "" where they are not public, None of a quoted row.
    """

    name: str
    figures: Mapping[tuple[str, str], tuple[float, float | None]]
    flags: tuple[str, ...]
    seeds: int | None
    source: str
    is_published: bool = False
    features: str | None = None


@dataclass(frozen=True)
class Section:
    """All rows of one version of a table.

    Attributes:
        name: Name of the table.
        version: Its version.
        title: Heading.
        board: Board on which it stands; None for neither.
        columns: Heading, place and key of each column of figures.
        lines: Its rows, best mean AUROC first.
        notes: Remarks.
    """

    name: str
    version: int
    title: str
    board: str | None
    columns: tuple[tuple[str, str, str], ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())


def sections(records: Sequence[Record], tables: Sequence[Table]) -> list[Section]:
    """Tables that have a board or a record, newest version first; rows of versions stay apart.

    Args:
        records: All records.
        tables: All tables that there are.
    """
    known = {(table.name, table.version): table for table in tables}
    keys = {key for key, table in known.items() if table.board is not None}
    keys |= {_key(record) for record in records}
    found = []
    for name, version in sorted(keys, key=lambda key: (key[0], -key[1])):
        own = [record for record in records if _key(record) == (name, version)]
        section = _section(name, version, own, known.get((name, version)))
        found += [section] if section.lines else []
    return found


def _key(record: Record) -> tuple[str, int]:
    table = record.content["table"]
    return table["name"], table["version"]


def _section(name: str, version: int, records: Sequence[Record], table: Table | None) -> Section:
    lines = [_line(record) for record in records]
    lines += [_quoted(item) for item in table.published] if table else []
    columns = dict.fromkeys(_columns(table, lines))
    keys = {(place, key) for line in lines for place, key in line.figures}
    shown = tuple(column for column in columns if column[1:] in keys)
    # A row that was published with other figures alone would be empty here.
    lines = [line for line in lines if any(column[1:] in line.figures for column in shown)]
    lines.sort(key=lambda line: -line.figures.get(("", "auroc"), (-1.0, None))[0])
    title = table.title if table else name
    board = table.board if table else records[0].content["table"]["board"]
    return Section(name, version, title, board, shown, tuple(lines), table.notes if table else ())


def _columns(table: Table | None, lines: Sequence[Line]) -> Iterator[tuple[str, str, str]]:
    """Columns of every table, those of groups, further ones of this table, those of sets."""
    yield from _ALWAYS
    places = dict.fromkeys(place for line in lines for place, _ in line.figures if place)
    yield from ((f"AUROC {place[1:]}", place, "auroc") for place in places if place[0] == "@")
    further = table.metrics if table else COLUMNS["pascl"].columns
    always = {key for _, _, key in _ALWAYS}
    yield from ((title, "", key) for title, key in further if key not in always)
    yield from ((f"AUROC {place[1:]}", place, "auroc") for place in places if place[0] == "/")


def _line(record: Record) -> Line:
    content, runs = record.content, record.runs
    figures = {}
    first = runs[0]["metrics"]
    places = [place for place in places_of(first) if place]
    keys = [("", key) for key in (*first["mean"], *first["id"])]
    for place, key in [*keys, *((place, "auroc") for place in places)]:
        values = [value_of(run["metrics"], key, place) for run in runs if key != "false_alarms"]
        known = [value for value in values if value is not None]
        if known:
            figure = Figure.of(known)
            std = None if figure.std is None else 100 * figure.std
            figures[place, key] = (100 * figure.mean, std)
    sent = content["submitted"]
    addresses = [run["address"] for run in runs]
    return Line(
        content["row"],
        figures,
        tuple(content["flags"]),
        len(runs),
        f"{sent['by']}, {sent['date']}",
        features=addresses[0] if all(addresses) else "",
    )


def _quoted(item: Published) -> Line:
    figures = {
        (place, key): (value, item.std.get(key) if place == "" else None)
        for place, values in item.checked().items()
        for key, value in values.items()
    }
    why = f". Not comparable: {item.why_not}" if item.why_not else ""
    return Line(
        item.name, figures, item.flags, item.seeds, f"{item.source}{why}", is_published=True
    )
