"""Figures of a run, or of several, written as files for papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ltood.core.errors import ConfigError, DataError, quoted
from ltood.reporting.drawing import Drawing
from ltood.reporting.inputs import read_leaderboard
from ltood.reporting.paper import FORMATS, Paper, drawn
from ltood.reporting.run_figures import figures_of
from ltood.runs import page
from ltood.runs.comparing import compare_runs
from ltood.runs.single import history_of
from ltood.runs.sources import count_runs, open_runs
from ltood.runtime.console import progress
from ltood.runtime.files import replace_together
from ltood.runtime.scratch import scratch_folder


def drawings_of(given: Sequence[str], by: Sequence[str] = ()) -> dict[str, Drawing]:
    """Figures of one run, or of several over one another, by name.

    Args:
        given: What `open_runs` takes.
        by: Settings that runs shown as one may differ in.

    Raises:
        DataError: If a run holds no scores.
        LtoodError: If a run cannot be read.
    """
    with scratch_folder() as folder:
        if count_runs(given) > 1:
            return page.figures_of(compare_runs(given, folder, by=by))
        run = open_runs(given, folder)[0]
        if run.evaluation is None:
            raise DataError(f"{run.source} holds metrics alone; figures are drawn of its scores.")
        board = None if run.board is None else read_leaderboard(run.board, run.evaluation)
        return figures_of(run.evaluation, board, history_of(run))


def chosen(drawings: Mapping[str, Drawing], kinds: Sequence[str]) -> dict[str, Drawing]:
    """Figures by their names, or by what their names begin with, such as "scores".

    Raises:
        ConfigError: If there is none of a kind.
    """
    found: dict[str, Drawing] = {}
    for kind in kinds:
        exact = {kind: drawings[kind]} if kind in drawings else {}
        of_kind = {n: made for n, made in drawings.items() if n.startswith(f"{kind}-")}
        if not exact and not of_kind:
            # Of a run without OOD sets, the histogram of ID scores has no set in its name.
            advice = " (others need an OOD set: datasets.<name>.ood)" * ("scores" in drawings)
            raise ConfigError(f"--kind is {quoted(kind)}; there are {', '.join(drawings)}{advice}.")
        found |= exact or of_kind
    return found


def write_figures(
    out: Path, drawings: Mapping[str, Drawing], formats: Sequence[str], paper: Paper
) -> list[Path]:
    """Write figures, all of them or none.

    Args:
        out: A file whose ending names its format, for one figure; else a folder.
        drawings: Figures by name.
        formats: Formats of the files in a folder.
        paper: How they are drawn.

    Returns:
        The files.

    Raises:
        ConfigError: If a file is named for several figures, or a format is not known.
    """
    ending = out.suffix.removeprefix(".").lower()
    if ending in FORMATS and not out.is_dir():
        if len(drawings) > 1:
            raise ConfigError(
                f"--out is {out}, one file for {len(drawings)} figures ({', '.join(drawings)}); "
                "name a folder, or one figure with --kind."
            )
        places = {name: {out: ending} for name in drawings}
    else:
        if out.is_file():
            raise ConfigError(f"--out is {out}, a file of none of {', '.join(FORMATS)}.")
        places = {
            name: {out / f"{_file_name(name)}.{form}": form for form in formats}
            for name in drawings
        }
    files = {}
    with progress("figures", len(drawings), "figures") as advance:
        for name, drawing in drawings.items():
            for path, form in places[name].items():
                files[path] = drawn(drawing, form, paper)
            advance(1)
    replace_together(files)
    return list(files)


def _file_name(name: str) -> str:
    """A name that every file system takes."""
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
