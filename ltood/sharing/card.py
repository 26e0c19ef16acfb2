"""The card: README.md at an address, for people and, in its front matter, for hubs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.core.errors import LtoodError
from ltood.core.words import counted
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.tables import markdown_table, percent, stream_note
from ltood.metrics import columns_of
from ltood.sets.catalogue import known_sets
from ltood.sharing.manifest import Manifest
from ltood.sharing.subjects import Subject
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreStore

#: What each kind is called.
_TITLES = {"features": "Feature store", "scores": "Score store", "detector": "Detector"}
#: Identifiers of licences, as hubs take them.
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
#: Columns of the table of metrics.
_COLUMNS = "pascl"
#: Most class names that are listed.
_NAMES = 20


@dataclass(frozen=True)
class Remarks:
    """What a person adds to a card.

    Attributes:
        licence: An identifier such as "cc-by-4.0", or a sentence; None where nothing is said.
    """

    licence: str | None = None


def write_card(subject: Subject, manifest: Manifest, address: str, remarks: Remarks) -> str:
    """The card of what is pushed.

    Args:
        subject: Store or detector.
        manifest: List of its files and parts.
        address: Where it goes, as the example of the card names it.
        remarks: What a person adds.

    Returns:
        Markdown with a front matter in YAML.
    """
    facts, origin = subject.facts, dict(subject.facts.get("provenance", {}))
    sections = [
        _front_matter(subject, manifest, origin, remarks),
        f"# {manifest.name}\n\n{_TITLES[subject.kind]}, pushed by ltood {manifest.version}.",
        _table(["what", "value"], _rows_about(subject, manifest, origin)),
    ]
    if "splits" in facts:
        sections.append("## Rows\n\n" + _table(["split", "rows", "arrays"], _rows_of(facts)))
    sections += [_classes(facts), _metrics(subject), _licence(facts, origin, remarks)]
    sections.append(_use(subject, manifest, address))
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(
    subject: Subject, manifest: Manifest, origin: Mapping[str, Any], remarks: Remarks
) -> str:
    licence = remarks.licence or ""
    content = {
        "license": licence if _LICENCE_ID.fullmatch(licence) else "other",
        "library_name": "ltood",
        "viewer": False,  # A hub would take the parts for a data set to show.
        "tags": ["out-of-distribution-detection", "ltood", f"ltood-{subject.kind}"],
    }
    own = {
        "kind": subject.kind,
        "fingerprint": manifest.fingerprint,
        "data_set": _name_of(origin, "dataset"),
        "backbone": _name_of(origin, "backbone"),
        "rows": {name: split["rows"] for name, split in subject.facts.get("splits", {}).items()},
        "bytes": manifest.size,
        "version": manifest.version,
    }
    # JSON is YAML, and leaves nothing to guess about what a value of theirs would mean.
    lines = [f"{key}: {json.dumps(value)}" for key, value in content.items()]
    lines += ["ltood:", *(f"  {key}: {json.dumps(value)}" for key, value in own.items() if value)]
    return "\n".join(["---", *lines, "---"])


def _rows_about(subject: Subject, manifest: Manifest, origin: Mapping[str, Any]) -> list[list[str]]:
    facts = subject.facts
    slots = {key: facts.get(key) for key in ("calibrator", "method", "normaliser")}
    threshold = facts.get("threshold", {})
    rows = {
        "data set": _described(origin.get("dataset")),
        "backbone": _described(origin.get("backbone")),
        "recipe": _described(origin.get("recipe")),
        "source": origin.get("source"),
        **{key: _described(value) for key, value in slots.items()},
        "threshold": f"{threshold['value']:.6g}, accepts {threshold['accepted']:.2%} of "
        f"{threshold['rows']:,} rows of {threshold['split']}"
        if threshold
        else None,
        "fingerprint": manifest.fingerprint,
        "fingerprint of its features": facts.get("features_fingerprint"),
        "size": f"{manifest.size / 1e6:,.1f} MB in {counted(len(manifest.files), 'file')}, "
        f"{counted(len(manifest.parts), 'part')}",
    }
    return [[key, str(value)] for key, value in rows.items() if value]


def _rows_of(facts: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            f"{split['rows']:,}",
            ", ".join(
                f"{key} {array['dtype']}{array['shape'] or ''}"
                for key, array in sorted(split["arrays"].items())
            ),
        ]
        for name, split in facts["splits"].items()
    ]


def _classes(facts: Mapping[str, Any]) -> str:
    names, counts = facts.get("class_names", []), facts.get("class_counts", [])
    if not counts:
        return ""
    shown = ", ".join(map(_cell, names[:_NAMES])) + (", …" if len(names) > _NAMES else "")
    return (
        f"## Classes\n\n{len(counts)} classes with {min(counts):,} to {max(counts):,} training "
        f"rows: {shown}"
    )


def _metrics(subject: Subject) -> str:
    if subject.kind != "scores":
        return ""
    try:
        metrics = Evaluation(ScoreStore.open(subject.path)).metrics
    except LtoodError:  # Without a split test there is nothing to say.
        return ""
    if "ood" not in metrics:
        shares = ", ".join(f"{key} {percent(value)}" for key, value in metrics["id"].items())
        return f"## Metrics\n\nPercent, ID rows alone: {shares}."
    meaning = ", ".join(f"{title} is `{key}`" for title, key in columns_of(_COLUMNS))
    notes = [f"Percent; {meaning}."]
    if "stream" in metrics:
        note = stream_note(metrics["stream"])
        notes.append(f"{note[0].upper()}{note[1:]}.")
    return "\n\n".join(["## Metrics", markdown_table(metrics, _COLUMNS), *notes])


def _licence(facts: Mapping[str, Any], origin: Mapping[str, Any], remarks: Remarks) -> str:
    said = _cell(remarks.licence) if remarks.licence else "Nothing was said about the licence."
    lines = [
        f"## Licence\n\n{said} Features and scores are derived from images, whose terms still "
        "apply:"
    ]
    known = known_sets()
    found = {_name_of(origin, "dataset").removesuffix("_lt")}
    found |= {name.removeprefix(OOD_PREFIX) for name in facts.get("splits", {})}
    lines += [
        f"- {known[name].title}: {known[name].licence}" for name in sorted(found) if name in known
    ]
    if len(lines) == 1:
        lines.append("- see the authors of the data sets")
    return "\n".join([lines[0], "", *lines[1:]])


def _use(subject: Subject, manifest: Manifest, address: str) -> str:
    # A folder of this machine is another one to the reader, and a password is nobody's business.
    shown = re.sub(r"://([^/@:]+):[^/@]*@", r"://\1@", address) if "://" in address else "ADDRESS"
    digits = manifest.fingerprint[:16]
    return (
        f"## Use\n\n```\nltood pull {shown} {manifest.name} --fingerprint {digits}\n```\n\n"
        "Every part, every file and the content itself are verified on arrival. Without ltood, "
        "`cat parts/*.tar | tar xf -` gives the same files."
    )


def _described(entry: object) -> str:
    """Name of an entry with its settings that say something."""
    if not isinstance(entry, Mapping) or not entry.get("name") or entry["name"] == "none":
        return ""
    settings = entry.get("settings") or {}
    set_to = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
    return f"{entry['name']} ({set_to})" if set_to else str(entry["name"])


def _name_of(origin: Mapping[str, Any], key: str) -> str:
    entry = origin.get(key)
    return str(entry.get("name", "")) if isinstance(entry, Mapping) else ""


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """Text of any origin on one line of Markdown, with nothing in it that Markdown acts on."""
    line = " ".join(text.split())
    return re.sub(r"([\\`|<>*\[\]])", r"\\\1", line)
