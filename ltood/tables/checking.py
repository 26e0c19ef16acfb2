"""Whether our figures are those that were published, within the tolerance of the table."""

from dataclasses import dataclass

from ltood.tables.summary import Filled


@dataclass(frozen=True)
class Check:
    """One figure beside the published one, in percent.

    Attributes:
        row: Our row.
        published: Name of the published row.
        place: "" for the mean over the sets, "@near" for a group, "/svhn" for a set.
        key: The metric.
        wanted: As published.
        found: Ours; None where there is none.
        tolerance: Points by which they may differ.
    """

    row: str
    published: str
    place: str
    key: str
    wanted: float
    found: float | None
    tolerance: float

    @property
    def is_right(self) -> bool:
        """Whether ours is there and near enough."""
        return self.found is not None and abs(self.found - self.wanted) <= self.tolerance

    def __str__(self) -> str:
        """One line for a reader."""
        where = self.place.replace("@", " over ").replace("/", " on ")
        found = "missing" if self.found is None else f"{self.found:.2f}"
        return (
            f"{self.row}: {self.key}{where} is {found}, published {self.wanted:.2f} "
            f"({self.published}), tolerance {self.tolerance:g}"
        )


def checks(filled: Filled) -> list[Check]:
    """Every figure that has a published one with a tolerance."""
    found = []
    for line in filled.lines:
        for item in line.published:
            if item.tolerance is None:
                continue
            for place, values in item.checked().items():
                for key, value in values.items():
                    figure = line.figures.get(place, {}).get(key)
                    ours = None if figure is None else 100 * figure.mean
                    found.append(
                        Check(line.row.name, item.name, place, key, value, ours, item.tolerance)
                    )
    return found
