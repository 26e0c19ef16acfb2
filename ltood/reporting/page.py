"""From content to HTML, by the template in this folder, with everything escaped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ltood.metrics import COLUMNS, JUDGED, METRICS, Metric
from ltood.reporting import wording
from ltood.reporting.script import policy, script
from ltood.reporting.tables import ABSENT, ACCURACIES

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from ltood.reporting.content import Content

_FOLDER = Path(__file__).parent
#: Named here, so that their content counts for what a report is made from.
_TEMPLATES = (
    "report.html.jinja",
    "macros.html.jinja",
    "leaderboard.html.jinja",
    "examples.html.jinja",
    "learning.html.jinja",
)


def render(content: "Content") -> str:
    """HTML text of a report."""
    text = script()
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            absent=ABSENT,
            content=content,
            wording=wording,
            metrics=METRICS,
            judged=JUDGED,
            accuracies=ACCURACIES,
            papers=COLUMNS.values(),
            columns=content.set_columns,
            column_groups=_column_groups(content.set_columns),
            policy=policy(text, images=bool(content.regions or content.examples)),
            script=text,
            style=style(),
        )
    )


def environment(templates: Mapping[str, str] = MappingProxyType({})) -> "Environment":
    """What fills in templates: those of reports, and further ones that may use their macros.

    Args:
        templates: Texts of further templates by name.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    own = {name: (_FOLDER / name).read_text("utf-8") for name in _TEMPLATES}
    made = Environment(
        autoescape=True,
        loader=DictLoader({**own, **templates}),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["breakable"] = _breakable
    made.tests["mapping_value"] = lambda value: isinstance(value, Mapping)
    return made


def style() -> str:
    """Style of pages."""
    return (_FOLDER / "report.css").read_text(encoding="utf-8")


def _breakable(name: str) -> "Markup":
    """A name that may wrap to a new line after an underscore."""
    from markupsafe import Markup, escape

    return escape(name).replace("_", "_" + Markup("<wbr>"))


def _column_groups(columns: Sequence[Metric | wording.Count]) -> list[tuple[str, int]]:
    """Headings over neighbouring columns with the number of columns below each."""
    groups: dict[str, int] = {}
    for column in columns:
        groups[column.group] = groups.get(column.group, 0) + 1
    return list(groups.items())
