"""Summary of prepared images: classes, groups, repeats, unreadable files, what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS, ClassPrior
from ltood.core.words import counted
from ltood.runtime.widths import padded, shortened, width

#: Classes that are shown one by one; of more the largest and the smallest half as many.
_SHOWN = 20
#: Columns of a class name.
_WIDEST = 40


@dataclass(frozen=True)
class Repeats:
    """Images of a split that another split has too, byte for byte.

    Attributes:
        split: The split.
        other: The other one.
        images: How many of its images.
        examples: Some of them, by name or row number, each with its like in the other split.
    """

    split: str
    other: str
    images: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Missing:
    """Something that later stages will miss.

    Attributes:
        what: What is not there, such as "split val".
        consequence: What cannot be done without it.
        remedy: What to set or add.
    """

    what: str
    consequence: str
    remedy: str


@dataclass(frozen=True, eq=False)
class Summary:
    """Facts about prepared data.

    Attributes:
        name: Dataset name, such as "folder".
        class_names: Names of the ID classes, [C].
        counts: Images of each class, [C], of the splits train, val and test that there are.
        rows: Images of each split, by name.
        settings: Names of the settings that the dataset has.
        repeats: Images that several splits have.
        skipped: Reasons for skipped files, by split.
        notes: Remarks about the files, by split.
    """

    name: str
    class_names: Sequence[str]
    counts: Mapping[str, NDArray[np.int64]]
    rows: Mapping[str, int]
    settings: Sequence[str] = ()
    repeats: Sequence[Repeats] = ()
    skipped: Mapping[str, Sequence[str]] | None = None
    notes: Mapping[str, Sequence[str]] | None = None

    @property
    def groups(self) -> list[str]:
        """Group of each class: many, medium or few."""
        return [str(group) for group in ClassPrior(self.counts["train"]).groups()]

    def missing(self) -> list[Missing]:
        """What later stages will miss, and how to get it."""
        section = f"datasets.{self.name}"
        found = []
        if "val" not in self.rows:
            found.append(
                Missing(
                    "split val",
                    "no threshold for the detector (stage export), no early stopping, no sweep",
                    f"set {section}.val_share, such as 0.1, or add one"
                    if "val_share" in self.settings
                    else "add one, or name another split there",
                )
            )
        if not any(key.startswith("ood_") for key in self.rows):
            found.append(
                Missing(
                    "OOD sets",
                    "no AUROC, AUPR or FPR95, and no comparison of methods",
                    f"name some in {section}.ood" if "ood" in self.settings else "add some",
                )
            )
        if "aux" not in self.rows:
            found.append(
                Missing(
                    "auxiliary outliers (split aux)",
                    "no recipe that trains with outliers (outlier_exposure, energy_oe, pascl, "
                    "imood, cocl, eat, patt) and no calibrator patt",
                    f"name some in {section}.aux if you want these"
                    if "aux" in self.settings
                    else "add some if you want these",
                )
            )
        return found

    def lines(self) -> list[str]:
        """The summary for people, one line each."""
        name, counts = self.name, self.counts["train"]
        most, least = int(counts.argmax()), int(counts.argmin())
        shares = ", ".join(f"{group} {self.groups.count(group):,}" for group in GROUPS)
        classes = counted(len(self.class_names), "class", "classes")
        lines = [
            f"{name}: {classes}; training images of a class: "
            f"{counts[most]:,} ({self.class_names[most]}) to {counts[least]:,} "
            f"({self.class_names[least]}).",
            f"{name}: classes by group: {shares}.",
            f"{name}: images: {', '.join(f'{key} {num:,}' for key, num in self.rows.items())}.",
            *self._table(),
        ]
        empty = {split: int((counts == 0).sum()) for split, counts in self.counts.items()}
        lines += [
            f"{name}: classes without an image in {split}: {num:,}; no figure shows how they fare."
            for split, num in empty.items()
            if num
        ]
        lines += [
            f"{name}: no {each.what}: {each.consequence}; {each.remedy}." for each in self.missing()
        ]
        return lines

    def plain(self) -> dict[str, Any]:
        """The summary as plain values."""
        classes = [
            {
                "name": label,
                "group": group,
                **{split: int(counts[row]) for split, counts in self.counts.items()},
            }
            for row, (label, group) in enumerate(zip(self.class_names, self.groups, strict=True))
        ]
        return {
            "dataset": self.name,
            "classes": classes,
            "groups": {group: self.groups.count(group) for group in GROUPS},
            "images": dict(self.rows),
            "repeats": [
                {
                    "split": each.split,
                    "other": each.other,
                    "images": each.images,
                    "examples": [list(pair) for pair in each.examples],
                }
                for each in self.repeats
            ],
            "unreadable": {key: list(found) for key, found in (self.skipped or {}).items()},
            "notes": {key: list(found) for key, found in (self.notes or {}).items()},
            "missing": [
                {"what": each.what, "consequence": each.consequence, "remedy": each.remedy}
                for each in self.missing()
            ],
        }

    def _table(self) -> Iterator[str]:
        """Classes with their images in each split, the largest first."""
        order = np.argsort(-self.counts["train"], kind="stable").tolist()
        half = _SHOWN // 2
        left_out = len(order) - _SHOWN if len(order) > _SHOWN else 0
        shown = [*order[:half], *order[-half:]] if left_out else order
        wide = max(5, *(min(width(self.class_names[row]), _WIDEST) for row in shown))
        yield f"  {'class':<{wide}}" + "".join(f"{split:>8}" for split in self.counts) + "  group"
        groups = self.groups
        for place, row in enumerate(shown):
            if left_out and place == half:
                yield f"  … {left_out:,} more classes, all of them in summary.json"
            name = padded(shortened(self.class_names[row], wide), wide)
            numbers = "".join(f"{counts[row]:>8,}" for counts in self.counts.values())
            yield f"  {name}{numbers}  {groups[row]}"
