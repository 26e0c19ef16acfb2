"""Does everything work on this GPU, does it agree with a CPU, and is it as fast as the card?

    python -m benchmarks.gpu [--quick] [--only PART ...] [--pretend] [--out PAGE]

In order of value, less than 8 minutes on one GPU with 16 cores, no network. Bounds on results hold
anywhere; times are given as shares of what the same card reaches without ltood, measured in the
same run. No part is begun after 450 seconds. Exits with 1 where a bound is missed and with 2 where
there is no GPU. The page goes to docs/results/gpu.md.

`--pretend` runs on the pretended device of the tests (always with `--quick`), which shows that the
script works and what mixes devices, and writes a page only where `--out` names one.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "gpu.md"
#: Seconds after which no part is begun.
LIMIT = 450.0
#: Fewest bytes in memory for stores, else they lie on disk.
IN_MEMORY = 24 << 30


def main() -> int:
    """Run the parts, print what is found and write the page."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--pretend", action="store_true", help="on the tests' pretended GPU")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    import torch

    if not options.pretend and not torch.cuda.is_available():
        print(
            "there is no CUDA GPU that this torch can use (`ltood doctor` says why); --pretend "
            "tries the script without one.",
            file=sys.stderr,
        )
        return 2
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    warnings.simplefilter("ignore")
    with contextlib.ExitStack() as stack:
        gpu = None
        if options.pretend:
            from pretended_device import pretended_gpu

            gpu = stack.enter_context(pretended_gpu())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_fast_folder())))
        return _run(folder, options, gpu)


def _run(folder: Path, options: argparse.Namespace, gpu: object) -> int:
    from benchmarks.gpu.acceptance import Acceptance
    from benchmarks.gpu.page import page

    run = Acceptance(folder, quick=options.quick or options.pretend, gpu=gpu)
    parts = _parts()
    unknown = sorted(set(options.only) - set(parts))
    if unknown:
        print(f"no part {', '.join(unknown)}; there are {', '.join(parts)}.", file=sys.stderr)
        return 2
    for name, part in parts.items():
        if options.only and name not in options.only:
            continue
        if run.elapsed() > LIMIT:
            run.say("note", name, "left out: no time")
            continue
        with (
            run.part(name),
            Path(os.devnull).open("w") as nothing,
            contextlib.redirect_stderr(nothing),
        ):
            part(run)
    cores = len(os.sched_getaffinity(0))
    out = options.out or (None if run.pretends or options.only else RESULT)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(run, cores))
    print(f"{len(run.failed)} missed{': ' if run.failed else ''}{', '.join(run.failed)}")
    return int(bool(run.failed))


def _parts() -> "dict[str, Callable[..., None]]":
    """All parts in order of value."""
    from benchmarks.gpu import agreement, extracting, large, learning, ranks, steps

    return {
        "ceilings": steps.ceilings,
        "methods": agreement.methods,
        "slots": agreement.calibrators_and_normalisers,
        "losses": learning.losses,
        "extraction": extracting.results,
        "resuming": learning.resuming,
        "neighbours": agreement.neighbours,
        "compare": agreement.comparing,
        "variants": learning.variants,
        "nccl": ranks.one_rank,
        "step": steps.training_step,
        "rates": extracting.rates,
        "faster": extracting.faster,
        "large": large.imagenet,
        "prompts": steps.prompt_step,
        "ranks": ranks.two_ranks,
    }


def _fast_folder() -> Path | None:
    """A folder in memory, so that no disk sets the pace; None for the usual place."""
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free >= IN_MEMORY:
        return shared
    return None


if __name__ == "__main__":
    sys.exit(main())
