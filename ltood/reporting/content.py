"""What a report holds: the pieces checked against one another and put into one value."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltood.core.errors import DataError
from ltood.core.prior import ClassPrior
from ltood.metrics import METRICS
from ltood.reporting import panels, tables
from ltood.reporting.classes import ClassPanel, class_panel
from ltood.reporting.wording import COUNTS

if TYPE_CHECKING:
    from ltood.store.regions import RegionSheet
    from ltood.store.scores import ScoreStore

_OOD = "ood_"
_SLOTS = ("calibrator", "method", "normaliser")
_ORIGINS = ("dataset", "backbone", "recipe")


@dataclass(frozen=True)
class Slot:
    """One chosen entry.

    Attributes:
        kind: What it is, such as "method".
        name: Its name; None where the provenance does not record it.
        settings: Its settings.
        in_use: Values it derived from data.
    """

    kind: str
    name: str | None
    settings: Mapping[str, Any]
    in_use: Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """A picture that stands in the page itself.

    Attributes:
        address: The PNG file as a data address.
        words: What it shows, for those who do not see it.
        lead: How it is to be read.
    """

    address: str
    words: str
    lead: str


@dataclass(frozen=True)
class Content:
    """Everything the page shows, ready for the template."""

    title: str
    slots: list[Slot]
    tiles: list[tables.Tile]
    set_rows: list[tables.Row]
    has_intervals: bool
    overview: list[panels.Panel]
    sets: list[panels.SetPanel]
    classes: ClassPanel
    leaderboard: tables.Leaderboard | None
    regions: "Picture | None"
    provenance: Mapping[str, Any]
    data: str


def build(
    store: "ScoreStore",
    metrics: Mapping[str, Any],
    breakdown: Mapping[str, Any],
    intervals: Mapping[str, Any] | None,
    leaderboard: Sequence[Mapping[str, Any]] | None,
    title: str | None,
    regions: "RegionSheet | None" = None,
) -> Content:
    """Check the pieces of a report and put them together; see `write_report`.

    Raises:
        DataError: If a piece is missing, or pieces were made from different scores.
    """
    check_metrics(store, metrics)
    chosen = slots(store.attributes)
    prior = ClassPrior(np.asarray(_attribute(store.attributes, "class_counts"), dtype=np.int64))
    sides = panels.read_sides(store, list(metrics["ood"]))
    current = {slot.kind: slot.name for slot in chosen if slot.kind in _SLOTS and slot.name}
    provenance = _attribute(store.attributes, "provenance")
    fingerprint = store.attributes.get("features_fingerprint")
    data = {
        "breakdown": breakdown,
        "class_counts": prior.counts.tolist(),
        "class_names": _attribute(store.attributes, "class_names"),
        "intervals": intervals,
        "leaderboard": leaderboard,
        "metrics": metrics,
        "provenance": provenance,
        "slots": {slot: store.attributes[slot] for slot in _SLOTS},
    }
    # Tables first: they find what is wrong before the figures take their second.
    headline = tables.tiles(metrics, intervals)
    rows = tables.set_rows(metrics, intervals)
    board = tables.leaderboard(leaderboard, current) if leaderboard else None
    classes = class_panel(metrics, breakdown, prior, data["class_names"])
    embedded = as_json(data)
    return Content(
        title or _default_title(chosen),
        chosen,
        headline,
        rows,
        intervals is not None,
        panels.overview(sides),
        panels.set_panels(sides, metrics, prior.groups()),
        classes,
        board,
        None if regions is None else region_picture(regions, fingerprint),
        {"feature store": fingerprint, **provenance} if fingerprint else provenance,
        embedded,
    )


def region_picture(sheet: "RegionSheet", fingerprint: object) -> Picture:
    """A sheet of regions as it stands in the page.

    Raises:
        DataError: If it was drawn from other features than the scores.
    """
    if sheet.features_fingerprint != fingerprint:
        raise DataError(
            f"the regions were drawn from features {sheet.features_fingerprint[:12]}… but the "
            f"scores were made from {str(fingerprint)[:12]}…; run the visualise stage again."
        )
    rows = zip(sheet.rows, sheet.class_names, sheet.shares, strict=True)
    shown = [f"row {row} ({name}): {100 * share:.0f} %" for row, name, share in rows]
    return Picture(
        f"data:image/png;base64,{base64.b64encode(sheet.png).decode()}",
        f"Share of patches that leave the class out, in {'; '.join(shown)}.",
        f"Images of {sheet.split} beside their patches for which {sheet.topk} or more of the "
        f"{sheet.num_classes} classes are likelier than their own; the other patches are grey. "
        "LoCoOp takes such patches for OOD.",
    )


def check_metrics(store: "ScoreStore", metrics: Mapping[str, Any]) -> None:
    """Check that metrics are complete and were made from these scores.

    Raises:
        DataError: If they are not.
    """
    for part in ("id", "ood", "mean"):
        if not isinstance(metrics.get(part), Mapping):
            raise DataError(
                f"the metrics have no part {part!r}; they must hold id, ood and mean. "
                "Run the evaluate stage again."
            )
    stored = sorted(name.removeprefix(_OOD) for name in store.splits if name.startswith(_OOD))
    if "test" not in store.splits or not stored:
        raise DataError(
            f"the scores have the splits {', '.join(store.splits)}; a report needs test and at "
            "least one ood_<name>. Score a store that holds them."
        )
    if sorted(metrics["ood"]) != stored:
        raise DataError(
            f"the metrics are of the OOD sets {', '.join(sorted(metrics['ood'])) or 'none'} but "
            f"the scores of {', '.join(stored)}; run the evaluate stage again."
        )
    keys = {f"OOD set {name}": values for name, values in metrics["ood"].items()}
    for name, values in {**keys, "the mean": metrics["mean"]}.items():
        keys_shown = (*METRICS, *(count.key for count in COUNTS))
        missing = [key for key in keys_shown if key not in values]
        if missing:
            raise DataError(
                f"the metrics of {name} lack {', '.join(missing)}; run the evaluate stage again."
            )
    for name, values in metrics["ood"].items():
        rows = len(store.split(_OOD + name))
        counted = values["num_ood"] + values["num_relabelled"]
        if counted != rows:
            raise DataError(
                f"the metrics of OOD set {name} count {counted} images but the scores "
                f"{rows}: they were made from other scores. Run the evaluate stage again."
            )


def _attribute(attributes: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - as stored
    if key not in attributes:
        raise DataError(
            f"the scores do not record {key!r}; they were not written by this version. Run the "
            "score stage again."
        )
    return attributes[key]


def slots(attributes: Mapping[str, Any]) -> list[Slot]:
    """Dataset, backbone and recipe as the provenance names them, then the three slots.

    Raises:
        DataError: If the scores do not record one of the three slots.
    """
    provenance = _attribute(attributes, "provenance")
    found_slots = []
    for kind in _ORIGINS:
        found = _find(provenance, kind)
        if not isinstance(found, Mapping):
            found = {"name": found}
        name = found.get("name")
        settings = found.get("settings", {key: found[key] for key in found if key != "name"})
        found_slots.append(Slot(kind, None if name is None else str(name), settings, {}))
    for kind in _SLOTS:
        entry = _attribute(attributes, kind)
        found_slots.append(Slot(kind, entry["name"], entry["settings"], entry.get("in_use", {})))
    return found_slots


def _find(provenance: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - as stored
    """The outermost value under `key`: a checkpoint, for one, brings its own provenance."""
    level = [provenance]
    while level:
        for values in level:
            if key in values:
                return values[key]
        level = [
            value for values in level for value in values.values() if isinstance(value, Mapping)
        ]
    return None


def _default_title(chosen: Sequence[Slot]) -> str:
    names = {slot.kind: slot.name for slot in chosen}
    parts = [names[kind] for kind in _SLOTS if names[kind] not in {None, "none"}]
    where = f" on {names['dataset']}" if names["dataset"] else ""
    return f"{' + '.join(str(part) for part in parts)}{where}"


def as_json(data: object) -> str:
    """JSON that may stand inside a `<script>` element.

    Raises:
        DataError: If it holds something else than finite numbers, text, lists and dicts.
    """
    try:
        text = json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the report cannot embed its data: {error}. Metrics and provenance hold finite "
            "numbers, text, lists and dicts only."
        ) from error
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
