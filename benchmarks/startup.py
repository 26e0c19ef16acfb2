"""What waiting for a command costs, beside starting Python with torch.

    python benchmarks/startup.py

Copies the tracked files to a temporary repository, runs the demo pipeline there once with
one epoch, then takes the median wall and processor seconds of three runs of each command:
`ltood --help`, `dvc repro` with nothing to do, and `dvc exp run -S method=...` with a
method that was not scored before. Prints the table and writes docs/results/startup.md.
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "results" / "startup.md"
METHODS = ("energy", "knn", "react")
TORCH = (sys.executable, "-c", "import torch")


def environment(folder: Path) -> dict[str, str]:
    """Variables that keep the copy's runs away from the user's caches and identity."""
    identity = {f"GIT_{role}_{key}": "a@b.example" for role in ("AUTHOR", "COMMITTER")
                for key in ("NAME", "EMAIL")}  # fmt: skip
    return {
        **os.environ,
        **identity,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_NO_ANALYTICS": "1",
    }


def copy(path: Path, env: dict[str, str]) -> None:
    """Make a committed copy of the tracked files, with one epoch of training."""
    path.mkdir()
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(path)], input=archive.stdout, check=True)
    params = path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(re.sub(r"(?m)^(  epochs:) .*$", r"\1 1", text, count=1), encoding="utf-8")
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "copy"]):
        subprocess.run(command, cwd=path, env=env, check=True)


def clock(command: tuple[str, ...], path: Path, env: dict[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of one command and all that it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=path, env=env, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path, env = folder / "copy", environment(folder)
        copy(path, env)
        clock(("dvc", "repro", "-q"), path, env)
        commands: dict[str, list[tuple[str, ...]]] = {
            '`python -c "import torch"`': [TORCH] * 3,
            "`ltood --help`": [("ltood", "--help")] * 3,
            "`dvc repro`, nothing to do": [("dvc", "repro", "-q")] * 3,
            "`dvc exp run -S method=...`": [
                ("dvc", "exp", "run", "-q", "-S", f"method={method}") for method in METHODS
            ],
        }
        # In turns, so that a busy moment of the machine hits all of them alike.
        laps: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(3):
            for name, runs in commands.items():
                laps[name].append(clock(runs[turn], path, env))
    loads.append(os.getloadavg()[0])
    medians = {
        name: [statistics.median(lap[i] for lap in found) for i in (0, 1)]
        for name, found in laps.items()
    }
    wall, cpu = next(iter(medians.values()))
    lines = [
        f"| {name} | {mine[0]:.2f} | {mine[0] / wall:.1f} | {mine[1]:.2f} | {mine[1] / cpu:.1f} |"
        for name, mine in medians.items()
    ]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(_page(lines, loads), encoding="utf-8")
    print("\n".join(lines))


def _page(lines: list[str], loads: list[float]) -> str:
    return "\n".join(
        [
            "# What waiting costs",
            "",
            "Medians of three runs on the demo, in turns, beside starting Python with torch on the",
            f"same machine (load {min(loads):.1f} to {max(loads):.1f}, so read the ratios). A",
            "method switch scores, normalises, evaluates and writes the report.",
            "",
            "| Command | wall, s | times torch | processor, s | times torch |",
            "|---|---|---|---|---|",
            *lines,
            "",
            "`python benchmarks/startup.py` writes this page.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
