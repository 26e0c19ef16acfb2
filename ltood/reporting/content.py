"""Content of a report, as one value for the template."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ltood.core.errors import DataError
from ltood.evaluation.absence import without_sets
from ltood.evaluation.measures import Evaluation
from ltood.metrics import Metric
from ltood.reporting import panels, tables
from ltood.reporting.cautions import cautions
from ltood.reporting.choice import ChoicePanel, choice_panel
from ltood.reporting.classes import ClassPanel, class_panel
from ltood.reporting.confusion import ConfusionPanel, confusion_panel
from ltood.reporting.examples import ExamplesPanel, examples_panel
from ltood.reporting.leaderboard import SLOTS, Leaderboard, leaderboard
from ltood.reporting.making import MakingPanel, making_panel
from ltood.reporting.members import MembersPanel, members_panel
from ltood.reporting.names import joint_title, title
from ltood.reporting.threshold import Decision, ThresholdPanel, threshold_panel
from ltood.reporting.training import Column, TrainingPanel, training_panel
from ltood.reporting.wording import Count

if TYPE_CHECKING:
    from ltood.store.examples import Examples
    from ltood.store.regions import RegionSheet

#: Where the provenance names what the features come from; the first that is there counts. The
#: head's recipe comes first: a head learned from text belongs to features of a given network.
_ORIGINS = {
    "dataset": (("dataset",),),
    "backbone": (("backbone",),),
    "recipe": (("head", "recipe"), ("recipe",)),
}


@dataclass(frozen=True)
class Slot:
    """One chosen entry.

    Attributes:
        kind: What it is, such as "method".
        name: Its name; None where the provenance does not record it.
        settings: Its settings.
        derived: Values it derived from data.
        called: What its user calls it; None leaves that to `title`.
    """

    kind: str
    name: str | None
    settings: Mapping[str, Any]
    derived: Mapping[str, Any]
    called: str | None = None

    @property
    def title(self) -> str:
        """What people say: a title, or the network of a backbone that has many."""
        if self.called is not None:
            return self.called
        own = title(self.kind, str(self.name))
        model, variant = (self.settings.get(key) for key in ("model", "variant"))
        if self.kind == "backbone" and isinstance(model, str):
            # The file of a model, or its name in a library of models.
            return model if own == self.name else f"{own} {PurePath(model).name}"
        if self.kind == "backbone" and isinstance(variant, str):
            return f"{own} {variant}"
        return own


@dataclass(frozen=True)
class RegionFigure:
    """An image embedded in the page.

    Attributes:
        address: The PNG file as a data address.
        words: What it shows, for those who do not see it.
        lead: How it is to be read.
    """

    address: str
    words: str
    lead: str


@dataclass(frozen=True)
class Pieces:
    """What a report shows beside scores and metrics, each where it is there.

    Attributes:
        regions: Images with the regions that do not show their class.
        examples: The clearest errors.
        history: Columns of the training's history by name.
        records: What was recorded of the making of each result.
        images: What the images are called; None takes the title of their dataset.
        decision: The detector that was made beside the scores.
    """

    regions: "RegionSheet | None" = None
    examples: "Examples | None" = None
    history: Mapping[str, Column] | None = None
    records: Mapping[str, Mapping[str, Any] | None] | None = None
    images: str | None = None
    decision: Decision | None = None


@dataclass(frozen=True)
class Content:
    """Everything the page shows, ready for the template.

    Without OOD sets `set_columns`, `set_rows`, `judged_rows`, `overview` and `sets` are empty,
    there is no leaderboard, and `known` shows the scores of the ID images.
    """

    title: str
    slots: list[Slot]
    tiles: list[tables.Tile]
    cautions: list[str]
    set_columns: list[Metric | Count]
    set_rows: list[tables.Row]
    judged_rows: list[tables.Row]
    shifted_rows: list[tables.Row]
    has_intervals: bool
    is_stream: bool
    overview: list[panels.Panel]
    sets: list[panels.SetPanel]
    known: panels.Panel | None
    threshold: ThresholdPanel | None
    classes: ClassPanel
    choice: ChoicePanel | None
    members: MembersPanel | None
    leaderboard: Leaderboard | None
    regions: "RegionFigure | None"
    examples: ExamplesPanel | None
    training: TrainingPanel | None
    confusion: ConfusionPanel | None
    making: MakingPanel | None
    provenance: Mapping[str, Any]
    data: str


def build(
    evaluation: Evaluation,
    intervals: Mapping[str, Any] | None,
    board: Mapping[str, Any] | None,
    heading: str | None,
    pieces: "Pieces",
) -> Content:
    """Put the pieces of a report together; see `write_report`.

    Raises:
        DataError: If the scores lack a part, or a piece was made from other features.
    """
    attributes = evaluation.scores.attributes
    chosen = slots(attributes, pieces.images)
    provenance = _attribute(attributes, "provenance")
    fingerprint = attributes.get("features_fingerprint")
    metrics = evaluation.metrics
    data = {
        "breakdown": evaluation.breakdown,
        "class_counts": evaluation.prior.counts.tolist(),
        "class_names": _attribute(attributes, "class_names"),
        "intervals": intervals,
        "leaderboard": None if board is None else board["rows"],
        "metrics": metrics,
        "provenance": provenance,
        "slots": {slot: attributes[slot] for slot in SLOTS},
    }
    comparisons, groups = evaluation.comparisons, evaluation.prior.groups()
    table = (
        leaderboard(board, metrics, data["slots"]) if board is not None and comparisons else None
    )
    decided = None if pieces.decision is None else threshold_panel(evaluation, pieces.decision)
    return Content(
        heading or _default_title(chosen),
        chosen,
        tables.tiles(metrics, intervals),
        [*([] if comparisons else [without_sets(provenance)]), *cautions(metrics, table)],
        tables.set_columns(metrics),
        tables.set_rows(metrics, intervals),
        tables.judged_rows(metrics),
        tables.shifted_rows(metrics),
        intervals is not None,
        "stream" in metrics,
        panels.overview(comparisons) if comparisons else [],
        panels.set_panels(comparisons, groups),
        None
        if comparisons
        else panels.known_panel(evaluation.test, groups, decided.value if decided else None),
        decided,
        class_panel(evaluation),
        choice_panel(_attribute(attributes, "method")),
        members_panel(_attribute(attributes, "method")),
        table,
        None if pieces.regions is None else region_figure(pieces.regions, fingerprint),
        None
        if pieces.examples is None
        else examples_panel(pieces.examples, evaluation.fingerprint, data["class_names"]),
        training_panel(pieces.history or {}),
        confusion_panel(evaluation),
        making_panel(pieces.records or {}),
        {"feature store": fingerprint, **provenance} if fingerprint else provenance,
        as_json(data),
    )


def region_figure(sheet: "RegionSheet", fingerprint: object) -> RegionFigure:
    """A sheet of regions, embedded in the page.

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
    return RegionFigure(
        f"data:image/png;base64,{base64.b64encode(sheet.png).decode()}",
        f"Share of patches that are irrelevant to the class: {'; '.join(shown)}.",
        f"Images of split {sheet.split}. In colour: patches for which {sheet.topk} or more of the "
        f"{sheet.num_classes} classes are likelier than the image's own. To LoCoOp they are OOD.",
    )


def _attribute(attributes: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - as stored
    if key not in attributes:
        raise DataError(
            f"the scores do not record {key!r}; they were not written by this version. Run the "
            "score stage again."
        )
    return attributes[key]


def slots(attributes: Mapping[str, Any], images: str | None = None) -> list[Slot]:
    """Dataset, backbone and recipe as the provenance names them, then the three slots.

    Args:
        attributes: Of a score store.
        images: What the images are called; None takes the title of their dataset.

    Raises:
        DataError: If the scores do not record one of the three slots.
    """
    provenance = _attribute(attributes, "provenance")
    found_slots = [_origin(kind, provenance) for kind in _ORIGINS]
    found_slots[0] = replace(found_slots[0], called=images)
    for kind in ("calibrator", "method", "normaliser"):
        entry = _attribute(attributes, kind)
        found_slots.append(Slot(kind, entry["name"], entry["settings"], entry.get("in_use", {})))
    return found_slots


def _origin(kind: str, provenance: Mapping[str, Any]) -> Slot:
    """Provenance of a dataset, backbone or recipe; a name alone or a record."""
    for path in _ORIGINS[kind]:
        found: Any = provenance
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and "name" in found:
            return Slot(kind, str(found["name"]), found.get("settings", {}), {})
        if isinstance(found, str):
            return Slot(kind, found, {}, {})
    return Slot(kind, None, {}, {})


def _default_title(chosen: Sequence[Slot]) -> str:
    slots = {slot.kind: slot for slot in chosen}
    data = slots["dataset"]
    where = f" on {data.title}" if data.name or data.called else ""
    return f"{joint_title({kind: slot.name for kind, slot in slots.items()})}{where}"


def as_json(data: object) -> str:
    """JSON that may stand inside a `<script>` element.

    Raises:
        DataError: If it holds something else than finite numbers, text, lists and dicts.
    """
    try:
        text = json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the report cannot embed its data: {error}. Metrics and provenance may "
            "hold finite numbers, text, lists and dicts only."
        ) from error
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
