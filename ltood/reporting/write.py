"""The report: one HTML file that opens anywhere, offline, and holds its own data.

No web font and no address is loaded, and the one script sorts tables; figures are inline SVG and
the numbers stand in the page a second time as JSON. The same input gives the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltood.evaluation.measures import Evaluation
    from ltood.reporting.content import Pieces


def check_packages() -> None:
    """Refuse early what would fail at the end.

    Raises:
        MissingPackageError: If a package that draws or fills the page is not installed.
    """
    from ltood.runtime.extras import EXTRAS, require

    for module in EXTRAS["report"]:
        require(module, "the report")


def write_report(
    out: Path,
    evaluation: "Evaluation",
    *,
    intervals: Mapping[str, Any] | None = None,
    leaderboard: Mapping[str, Any] | None = None,
    title: str | None = None,
    pieces: "Pieces | None" = None,
) -> None:
    """Write the report; an existing one is replaced only when the new one is complete.

    Args:
        out: The .html file.
        evaluation: Scores with their metrics.
        intervals: What `uncertainty` gives for the same evaluation; None omits intervals.
        leaderboard: What `compare` gives for the same features; None omits it.
        title: Heading of the page; the chosen entries by default.
        pieces: Examples, training and what else there is to show.

    Raises:
        DataError: If the scores lack a part, or a piece was made from other features.
        StoreError: If the file cannot be written.
        MissingPackageError: If a package of the extra `report` is not installed.
    """
    check_packages()
    from ltood.reporting.content import Pieces, build
    from ltood.reporting.page import render
    from ltood.runtime.files import write_atomically

    page = render(build(evaluation, intervals, leaderboard, title, pieces or Pieces()))
    # A title or file name given as bytes that are not UTF-8 is shown escaped.
    write_atomically(out, page.encode(errors="backslashreplace"))
