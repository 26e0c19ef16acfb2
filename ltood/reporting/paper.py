"""One figure as a file for a paper: PDF, PNG or SVG, the same bytes for the same input.

Sizes are those of columns, fonts are embedded as Type 42, which publishers take, and nothing in a
file tells when it was made. Colours are those of the report's light theme; lines also differ in
dashes and marks in shape, so that colour alone never says anything.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ltood.core.errors import ConfigError, quoted
from ltood.reporting.drawing import ROLES, Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Widths of columns by name, in inches: 84 and 174 mm.
WIDTHS = {"single": 3.31, "double": 6.85}
FORMATS = ("pdf", "png", "svg")
#: Letters never become smaller than by this factor for the sake of a narrow column.
_SMALLEST = 0.8
#: Colours by role, as in report.css.
_COLOURS = {
    **{"ink": "#18202b", "muted": "#5b6675", "grid": "#e3e7ec"},
    **{"id": "#0072b2", "ood": "#d1570b"},
    **{"many": "#08427a", "medium": "#2f86c6", "few": "#86bfe6"},
    **{"s0": "#0072b2", "s1": "#d1570b", "s2": "#00876a", "s3": "#b3598f"},
    **{"s4": "#7a6a00", "s5": "#3f9bd8", "s6": "#8a3ffc", "s7": "#4a5568"},
}
#: What a file would say of when and by what it was made, by format.
_SILENT: Mapping[str, Mapping[str, None]] = {
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
}


@dataclass(frozen=True)
class Paper:
    """How figures are drawn.

    Attributes:
        width: Width in inches.
        font: Family of fonts that is tried first; None for Matplotlib's own.
        dpi: Dots per inch of PNG files.
    """

    width: float = WIDTHS["single"]
    font: str | None = None
    dpi: int = 300

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 40:
            raise ConfigError(f"--width is {self.width} inches; use 1 to 40, single or double.")
        if not 30 <= self.dpi <= 1200:
            raise ConfigError(f"--dpi is {self.dpi}; use 30 to 1200 (300 is usual for print).")


def width_of(text: str) -> float:
    """Inches of a width: "single", "double", or a number of inches.

    Raises:
        ConfigError: If it is something else.
    """
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"--width is {quoted(text)}; use single, double or a number of inches."
        ) from None


def drawn(drawing: Drawing, form: str, paper: Paper) -> bytes:
    """The file of a figure.

    Args:
        drawing: The figure.
        form: One of `FORMATS`.
        paper: How it is drawn.

    Raises:
        ConfigError: If there is no such format, or no such font.
    """
    if form not in FORMATS:
        raise ConfigError(f"there is no format {quoted(form)}; use {', '.join(FORMATS)}.")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ltood.reporting.drawing import STYLE

    with mpl.rc_context(), _missing_glyphs(drawing.label):
        # The reader's own matplotlibrc must not change the bytes.
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams.update({"svg.fonttype": "path", "pdf.fonttype": 42})
        mpl.rcParams["font.family"] = _families(paper.font)
        width, height = drawing.inches
        figure = Figure(figsize=(paper.width, height * paper.width / width), layout="constrained")
        FigureCanvasAgg(figure)
        drawing.draw(figure.add_subplot())
        _coloured(figure)
        _fitted(figure, paper.width / width)
        file = BytesIO()
        figure.savefig(file, format=form, dpi=paper.dpi, metadata=_SILENT[form])
    return file.getvalue()


def _families(font: str | None) -> list[str]:
    from matplotlib import font_manager

    if font is None:
        return ["DejaVu Sans"]
    known = sorted(font_manager.get_font_names())
    if font not in known:
        near = [name for name in known if font.lower() in name.lower()][:5]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"there is no font {quoted(font)} on this machine.{hint}")
    return [font, "DejaVu Sans"]


def _fitted(figure: "Figure", scale: float) -> None:
    """Make letters as small as the figure asks for, and labels as long as it has room."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        _shrink(text, min(1.0, max(_SMALLEST, scale)))
    axes = figure.axes[0]
    legend = axes.get_legend()
    parts: list[tuple[Any, list[Any]]] = [
        (part, [part]) for part in (axes.xaxis.label, axes.yaxis.label)
    ]
    if legend is not None:
        parts.append((legend, legend.get_texts()))
    for _ in range(6):
        figure.draw_without_rendering()
        for part, texts in parts:
            if _is_outside(part.get_window_extent(), figure.bbox):
                for text in texts:
                    _shrink(text, 0.93)


def _shrink(text: Any, factor: float) -> None:  # noqa: ANN401 - a text of Matplotlib
    text.set_fontsize(factor * text.get_fontsize())


def _is_outside(box: Any, room: Any) -> bool:  # noqa: ANN401 - boxes of Matplotlib
    return bool(box.x0 < 0 or box.y0 < 0 or box.x1 > room.x1 or box.y1 > room.y1)


def _coloured(figure: "Figure") -> None:
    """Put colours in the place of the roles that parts were drawn with."""
    from matplotlib.colors import to_hex, to_rgba

    real = {ROLES[role]: colour for role, colour in _COLOURS.items()}

    def changed(colour: Any) -> Any:  # noqa: ANN401 - whatever Matplotlib has
        try:
            found = real.get(to_hex(colour, keep_alpha=False))
        except (ValueError, TypeError):
            return None
        return None if found is None else (*to_rgba(found)[:3], to_rgba(colour)[3])

    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, put = (getattr(artist, f"{verb}_{part}", None) for verb in ("get", "set"))
            if get is None or put is None:
                continue
            colour = get()
            several = getattr(colour, "ndim", 1) == 2
            if several:
                put([changed(one) or one for one in colour])
            elif (new := changed(colour)) is not None:
                put(new)


@contextmanager
def _missing_glyphs(label: str) -> Iterator[None]:
    """Say once for a figure that the font lacks letters that it holds."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        logger = logging.getLogger("matplotlib.font_manager")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
    lacking = [str(item.message) for item in found if "missing from font" in str(item.message)]
    if lacking:
        warnings.warn(
            f"{label}: the font lacks {len(lacking)} of its letters; name one that has them with "
            "--font.",
            UserWarning,
            stacklevel=3,
        )
