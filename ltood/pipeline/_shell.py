"""Shared parts of the stages: paths, errors, and the comparison at the end."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError
from ltood.pipeline._code import INPUTS, SOURCES, STAGES, code_of, recorded
from ltood.pipeline._going_back import telling_how_to_go_back
from ltood.pipeline._lock import only_run
from ltood.pipeline._params import FILE, Params
from ltood.runtime.console import duration, log, one_line_errors
from ltood.runtime.first import is_first, is_shared
from ltood.runtime.process import passive_omp_wait
from ltood.runtime.provenance import differences
from ltood.runtime.records import Clock
from ltood.runtime.source import recall
from ltood.runtime.workspace import locate

__all__ = ["INPUTS", "SOURCES", "STAGES", "Params", "refuse_changes", "stage"]

WORK = Path("data/work")
RESULTS = Path("results")
LOCKS = WORK / "locks"
PREPARED = WORK / "prepared"
CHECKPOINT = WORK / "checkpoint"
FEATURES = WORK / "features.zarr"
HEAD = WORK / "head"
REGIONS = WORK / "regions"
EXAMPLES = WORK / "examples"
CALIBRATION = WORK / "calibration"
METHOD = WORK / "method"
RAW_SCORES = WORK / "scores" / "raw.zarr"
FINAL_SCORES = WORK / "scores" / "final.zarr"
COMPARED = WORK / "scores" / "compared"
LEADERBOARD = RESULTS / "leaderboard.json"
METRICS = RESULTS / "metrics.json"
SUMMARY = RESULTS / "summary.json"
CHOICE = RESULTS / "choice.json"
REPORT = RESULTS / "report.html"
EPOCHS = RESULTS / "training.csv"
DETECTOR = RESULTS / "detector.safetensors"
PLOTS = RESULTS / "plots"
#: Unfinished work of a stage; no output, so that DVC leaves it to a killed run.
TRAINING = WORK / "training"
EXTRACTING = WORK / "extracting"
ADAPTING = WORK / "adapting"
#: When and where results were made; no output, since no two runs agree on it.
RUNS = WORK / "runs"
#: The small file of each stage that differs where its result does.
RESULTS_OF = {
    "prepare": PREPARED / "manifest.json",
    "train": CHECKPOINT / "checkpoint.json",
    "extract": FEATURES / "zarr.json",
    "adapt": HEAD / "head.json",
    "visualise": REGIONS / "regions.json",
    "calibrate": CALIBRATION / "fitted.json",
    "score": RAW_SCORES / "zarr.json",
    "normalise": FINAL_SCORES / "zarr.json",
    "export": RESULTS / "detector.json",
    "evaluate": METRICS,
    "compare": LEADERBOARD,
    "examples": EXAMPLES / "examples.json",
}
#: Stages that say themselves what they have made; there may be nothing to draw.
_SAYING = ("visualise", "export")
#: Stages whose work `LTOOD_PROCESSES` shares.
_SHARED = ("train", "extract")


def stage(name: str) -> Callable[[Callable[[Params], None]], Callable[[], None]]:
    """Make a function the command of a stage.

    Expected failures end in one line and exit code 1. A second run of the stage is refused while
    the first one lives, and so is a result whose settings or code were changed while it was made.
    Waiting threads sleep from here on, so that a busy machine is shared.

    Args:
        name: Name of the stage, such as "train".
    """

    def wrap(command: Callable[[Params], None]) -> Callable[[], None]:
        @functools.wraps(command)
        def run() -> None:
            if (code := _shared(name)) is not None:
                raise SystemExit(code)
            passive_omp_wait()
            with one_line_errors(), telling_how_to_go_back(FILE), only_run(name, LOCKS):
                chosen = Params()
                recall(locate(SOURCES))
                before = _state(name, chosen, recorded)
                clock = Clock.start()
                command(chosen)
                refuse_changes(name, "params.yaml", chosen.changes())
                for what, found in _state(name, chosen).items():
                    clauses = differences(before[what], found)
                    # Which digests they were is nothing to read.
                    names = [clause.partition(" was ")[0].partition(".")[2] for clause in clauses]
                    refuse_changes(name, what, names)
                if name in RESULTS_OF and is_first():
                    clock.note(RUNS / name, RESULTS_OF[name])
                    tell(name, time.perf_counter() - clock.seconds)

        return run

    return wrap


def tell(name: str, seconds: float) -> None:
    """Say what a stage has made and what comes next, where it has not said so itself."""
    result = RESULTS_OF[name]
    if name in _SAYING or not result.exists():
        return
    place = result if result.parent == RESULTS else result.parent
    names = list(STAGES)
    following = names[names.index(name) + 1]
    log(f"{name}: wrote {place} in {duration(seconds)}; next is the stage {following}.")


def _shared(name: str) -> int | None:
    """Exit code of a stage run by several processes, which LTOOD_PROCESSES asks for.

    Returns:
        None where this process runs the stage itself; 0 ends it as well.
    """
    wanted = os.environ.get("LTOOD_PROCESSES", "1")
    if name not in _SHARED or is_shared() or wanted == "1":
        return None
    if not wanted.isdigit() or wanted == "0":
        raise ConfigError(f"LTOOD_PROCESSES is {wanted!r}; set a number of processes, from 1.")
    command = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", wanted)
    return subprocess.call([*command, "--module", "ltood.pipeline._rank", name])


def refuse_changes(stage: str, what: str, changes: list[str]) -> None:
    """Let a stage fail whose inputs were changed while it ran, so that nothing is recorded.

    Raises:
        ConfigError: If there are changes.
    """
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ConfigError(
            f"{what} changed while {stage} ran ({'; '.join(changes[:3])}{more}), so its result "
            "belongs to neither state; run the same command again."
        )


def _state(
    name: str, chosen: Params, known: Callable[[str, str], dict[str, Any] | None] | None = None
) -> dict[str, dict[str, Any]]:
    """Code and watched files of a stage, as DVC will record them where `known` has them."""
    from ltood.pipeline._watched import WATCHED

    if name not in STAGES:
        return {}
    kinds: dict[str, tuple[str, Callable[[Params], dict[str, Any]]]] = {
        "the code": (f"code/{name}", functools.partial(code_of, name))
    }
    if name in WATCHED:
        file, what, describe = WATCHED[name]
        kinds[what] = (file, describe)
    return {
        what: (known and known(name, file)) or describe(chosen)
        for what, (file, describe) in kinds.items()
    }
