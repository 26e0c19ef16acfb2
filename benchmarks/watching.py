"""What looking at a data set costs when nothing changed.

    python benchmarks/watching.py            100,000 files
    python benchmarks/watching.py 1281167    as many as ImageNet's training split

Makes class folders of tiny files (nothing is decoded, so what they hold does not matter), takes
the digests that the stage `inputs` takes, first with an empty database, then again with nothing
changed, then after one file was replaced. Prints the table and writes
docs/results/watching.md. Each look is a process of its own.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "results" / "watching.md"
CLASSES = 1000
LIMIT = 3.0

LOOK = """
import sys
from pathlib import Path
from ltood.core.settings import to_section
from ltood.datasets.folder import Config, Dataset
from ltood.preparing.watch import manifest
config = Config(root=sys.argv[1])
manifest(Dataset(config), "folder", to_section(config), Path(sys.argv[2]))
"""


def make(root: Path, files: int) -> None:
    """Write `files` training images in class folders, and one test image for each class."""
    for label in range(CLASSES):
        for split, count in (("train", len(range(label, files, CLASSES))), ("test", 1)):
            folder = root / split / f"n{label:08}"
            folder.mkdir(parents=True)
            for row in range(count):
                (folder / f"{label}_{row}.JPEG").write_bytes(b"%d %d" % (label, row))


def look(root: Path, database: Path) -> tuple[float, float]:
    """Processor seconds and peak memory in MiB of one look."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = f"{LOOK}\nimport resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", code, str(root), str(database)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stdout) / 1024


def main() -> int:
    """Measure, print and write the table; 1 where 100,000 files cost more than the limit."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        root, database = Path(name, "set"), Path(name, "hashes.sqlite")
        make(root, files)
        rows = [("first look, all files read", *look(root, database))]
        # Files that changed within the last seconds are read twice; by now none are.
        look(root, database)
        rows.append(("nothing changed", *look(root, database)))
        (root / "train" / "n00000000" / "0_0.JPEG").write_bytes(b"other")
        rows.append(("one file replaced", *look(root, database)))
    lines = [
        "# Looking at a data set",
        "",
        f"{files:,} tiny files in {CLASSES:,} class folders, by `benchmarks/watching.py`; starting",
        "Python and importing ltood is part of each figure.",
        "",
        "| | processor seconds | MiB |",
        "|---|---|---|",
        *(f"| {what} | {seconds:.2f} | {memory:.0f} |" for what, seconds, memory in rows),
    ]
    print("\n".join(lines))
    if files == 100_000:
        RESULT.write_text("\n".join(lines) + "\n")
        return int(rows[1][1] > LIMIT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
