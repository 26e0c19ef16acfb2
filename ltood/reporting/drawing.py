"""One figure, drawn for a page: same input, same bytes, colours from the page.

Matplotlib draws with colours of no other use, which are then replaced by the page's CSS
variables, so that a figure follows the reader's light or dark theme; text stays text.
The figures are made without `pyplot`: no global state, no display.
"""

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

#: Each role in the figures, and the colour that stands for the page's variable of that name.
ROLES = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "id": "#040404",
    "ood": "#050505",
    "many": "#060606",
    "medium": "#070707",
    "few": "#080808",
    **{
        f"s{number}": f"#{number + 16:02x}{number + 16:02x}{number + 16:02x}" for number in range(8)
    },
}
#: How all figures look.
STYLE: "dict[RcKeyType, object]" = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ltood",
    "font.size": 8.5,
    "text.parse_math": False,
    "axes.edgecolor": ROLES["grid"],
    "axes.labelcolor": ROLES["ink"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": ROLES["grid"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": ROLES["ink"],
    "lines.linewidth": 1.6,
    "text.color": ROLES["ink"],
    "xtick.color": ROLES["muted"],
    "ytick.color": ROLES["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
}


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn.

    Attributes:
        draw: Draws it.
        inches: Width and height on a page.
        label: What it shows, for readers who do not see it.
    """

    draw: Callable[["Axes"], None]
    inches: tuple[float, float]
    label: str

    @cached_property
    def svg(self) -> str:
        """An `<svg>` element for a page."""
        return _render(self.draw, self.inches, self.label)


def _render(draw: Callable[["Axes"], None], inches: tuple[float, float], label: str) -> str:
    from io import StringIO

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # The page's fonts draw the text; matplotlib's own need not know every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # The reader's own matplotlibrc must not change the bytes.
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        text = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _for_page(text.getvalue(), label)


def _for_page(svg: str, label: str) -> str:
    """Make a stand-alone SVG file part of a page: themed, named, without links or clashes."""
    from markupsafe import escape

    start = svg.index("<svg")
    head_end = svg.index(">", start)
    view = re.search(r'viewBox="([^"]+)"', svg[start:head_end])
    assert view is not None
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", svg[head_end + 1 :], flags=re.S)
    # Two figures on one page would otherwise share ids, and the second use the first's parts.
    name = "f" + hashlib.sha256((label + body).encode()).hexdigest()[:8]
    # Only inside tags: the text between them may hold anything, such as a set called "0.1234".
    body = re.sub(r"<[^>]*>", lambda tag: _themed_tag(tag[0], name), body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="{view[1]}">{body}'


def _themed_tag(tag: str, name: str) -> str:
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    # Two decimals of a point are finer than any screen and a third of the bytes.
    tag = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)
    for role, colour in ROLES.items():
        tag = tag.replace(colour, f"var(--{role})")
    return re.sub(r'(\bid="|href="#|url\(#)', lambda found: f"{found[0]}{name}-", tag)
