"""Tables of a comparison of runs, as values for the page and for files."""

from collections.abc import Mapping, Sequence

from ltood.core.prior import GROUPS
from ltood.evaluation.intervals import ACCURACIES, RESAMPLED
from ltood.metrics import METRICS
from ltood.reporting.sheets import Column, Sheet, Value
from ltood.runs.comparing import Difference, RunComparison
from ltood.runs.groups import Figure, Group
from ltood.runs.settings import shown

#: Metrics that are shown set by set.
BY_SET = ("auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out")
_TITLES = {
    **{key: METRICS[key].name for key in RESAMPLED},
    "accuracy": "Accuracy",
    **{str(group): f"Accuracy, {group}" for group in GROUPS},
}
_CORNER = "Run"


def sheets_of(found: RunComparison) -> list[Sheet]:
    """All tables: means, differences, each OOD set, class groups, settings, where runs are from.

    Without OOD sets those of single sets and of false alarms are left out.
    """
    return [
        summary(found),
        differences(found),
        pairs(found, found.main),
        *(by_set(found, key) for key in BY_SET if found.sets),
        *([alarms(found)] if found.sets else []),
        settings(found),
        sources(found),
    ]


def summary(found: RunComparison) -> Sheet:
    """Means over the shared OOD sets, and accuracies of the class groups that there are."""
    keys = [
        key
        for key in found.keys
        if key not in GROUPS
        or any(found.figure(group, key).value is not None for group in found.groups)
    ]
    columns = [Column(key, _TITLES[key]) for key in keys]
    rows = [(group.name, [_value(found, group, key) for key in keys]) for group in found.groups]
    return Sheet("summary", _over(found), _CORNER, columns, rows, notes(found))


def _over(found: RunComparison) -> str:
    return f"Mean over {', '.join(found.sets)}" if found.sets else "Accuracy of ID images"


def _value(found: RunComparison, group: Group, key: str, place: str | None = None) -> Value:
    figure = found.figure(group, key, place)
    return _as_value(figure, is_best=_is_among_best(found, group, key, place))


def _as_value(figure: Figure, *, is_best: bool) -> Value:
    return Value(figure.value, figure.low, figure.high, figure.std, is_best)


def _is_among_best(found: RunComparison, group: Group, key: str, place: str | None) -> bool:
    """Whether it is the best of a column, or not clearly worse than the best."""
    best = found.best(key, place)
    if best is None or group is best:
        return best is not None
    gap = found.difference(group, key, place, to=best)
    if gap is None:
        return False
    return gap.value == 0 or (gap.low is not None and not gap.is_clear)


def differences(found: RunComparison) -> Sheet:
    """How much better each run is than the reference, by every metric.

    Runs on one network have the same accuracies: a column without any difference is left out, and
    so is one that only one run has.
    """
    others = [group for group in found.groups if group.name != found.against]
    gaps = {key: [found.difference(group, key) for group in others] for key in found.keys}
    keys = [
        key
        for key in found.keys
        if key == found.main
        or (key not in ACCURACIES and any(gaps[key]))
        or any(gap and gap.value for gap in gaps[key])
    ]
    columns = [Column(key, _TITLES[key], "points") for key in keys]
    rows = [
        (group.name, [_gap(gaps[key][place]) for key in keys]) for place, group in enumerate(others)
    ]
    title = f"Better (+) or worse (-) than {found.against}, in points of percent"
    return Sheet("differences", title, _CORNER, columns, rows, [_pairing(found)])


def _gap(gap: Difference | None) -> Value:
    if gap is None:
        return Value(None)
    return Value(gap.value, gap.low, gap.high, is_best=gap.is_clear and gap.value > 0)


def pairs(found: RunComparison, key: str = "auroc") -> Sheet:
    """How much better each run is than each other."""
    columns = [Column(group.name, group.name, "points") for group in found.groups]
    rows = []
    for group in found.groups:
        gaps = [
            Value("") if group is other else _gap(found.difference(group, key, to=other))
            for other in found.groups
        ]
        rows.append((group.name, gaps))
    what = _TITLES[key] if key in ACCURACIES else f"Mean {_TITLES[key]}"
    title = f"{what}: row better (+) or worse (-) than column, in points of percent"
    return Sheet("pairs", title, _CORNER, columns, rows, [_pairing(found)])


def by_set(found: RunComparison, key: str) -> Sheet:
    """A metric of each OOD set, after its means over groups of sets."""
    places = [*found.set_groups, *found.sets]
    columns = [
        Column(place, f"mean {place}" if place in found.set_groups else place) for place in places
    ]
    rows = [
        (group.name, [_value(found, group, key, place) for place in places])
        for group in found.groups
    ]
    return Sheet(f"{key}_by_set", f"{_TITLES[key]} by OOD set", _CORNER, columns, rows)


def alarms(found: RunComparison) -> Sheet:
    """ID images flagged by class group, mean over the sets and over runs of a group."""
    keys = ("all", *(str(group) for group in GROUPS))
    rows = [(group.name, [_mean_alarm(group, key) for key in keys]) for group in found.groups]
    title = "False alarms by class group: ID images flagged while 95 % of OOD are caught"
    return Sheet("false_alarms", title, _CORNER, [Column(key, key) for key in keys], rows)


def _mean_alarm(group: Group, key: str) -> Value:
    values = [run.alarms.get(key) for run in group.runs]
    known = [value for value in values if value is not None]
    return Value(sum(known) / len(known) if known and len(known) == len(values) else None)


def settings(found: RunComparison) -> Sheet:
    """The settings that differ, one row each."""
    columns = [Column(group.name, group.name, "text") for group in found.groups]
    rows = []
    for name in found.differing:
        values = [
            Value(shown(group.settings[name]) if name in group.settings else None)
            for group in found.groups
        ]
        rows.append((name, values))
    if any(group.by for group in found.groups):
        rows.append(("runs", [Value(", ".join(group.by) or None) for group in found.groups]))
    return Sheet("settings", "Settings that differ", "Setting", columns, rows)


def sources(found: RunComparison) -> Sheet:
    """Where each run comes from."""
    columns = [
        Column("from", "From", "text"),
        Column("date", "Committed", "text"),
        Column("rows", "Images", "text"),
    ]
    kinds: dict[int | None, str] = {None: "unknown (no scores)"}
    rows = []
    for run in (run for group in found.groups for run in group.runs):
        kind = kinds.setdefault(run.rows, f"set {len(kinds)}")
        cells: Sequence[Value] = [Value(run.run.source), Value(run.run.date), Value(kind)]
        rows.append((run.name, cells))
    return Sheet("sources", "Where the runs come from", _CORNER, columns, rows)


def notes(found: RunComparison) -> list[str]:
    """What a reader of the figures must know."""
    told = [f"Percent; mean over the OOD sets {', '.join(found.sets)}, each with the same weight."]
    if not found.sets:
        told = [
            "Percent. The runs have no OOD sets (setting datasets.<name>.ood), so that only their "
            "accuracies are compared."
        ]
    if found.sets and (names := found.without_sets):
        told.append(
            f"Without these OOD sets: {', '.join(names)} (setting datasets.<name>.ood); only "
            "accuracies are there to be compared with."
        )
    if found.others:
        told.append(f"Left out, as some runs lack them: {', '.join(found.others)}.")
    if any(len(group.runs) > 1 for group in found.groups):
        told.append("± is the standard deviation over the runs of a group.")
    told.append(
        f"Brackets are 95 % bootstrap intervals over images (and over the runs of a group), from "
        f"{found.samples} draws; no correction for the number of comparisons."
    )
    return [*told, _pairing(found), *_without_intervals(found)]


def _pairing(found: RunComparison) -> str:
    if found.is_paired:
        return (
            "All runs were measured on the same images (equal ids and labels), so that differences "
            "are paired: both sides see the same draws of images."
        )
    return (
        "Some runs were measured on other images (see where they come from). Differences between "
        "such runs are not paired, and their intervals are wider."
    )


def _without_intervals(found: RunComparison) -> list[str]:
    lacking = [run for group in found.groups for run in group.runs if run.draws is None]
    streams = [run.name for run in lacking if run.rows is not None]
    plain = [run.name for run in lacking if run.rows is None]
    told = []
    if streams:
        told.append(
            f"No intervals for {', '.join(streams)}: scores depend on the other test rows, so that "
            "rows cannot be drawn one by one."
        )
    if plain:
        told.append(f"No intervals for {', '.join(plain)}: there are metrics, but no scores.")
    return told


def all_values(sheet: Sheet) -> Mapping[str, Mapping[str, float | str | None]]:
    """Values of a table by row and column, for the data of a page."""
    return {
        name: {column.key: value.value for column, value in zip(sheet.columns, values, strict=True)}
        for name, values in sheet.rows
    }
