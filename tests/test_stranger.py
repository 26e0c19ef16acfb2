"""A stranger's hour: from a wheel in an empty folder to a shared store, as the pages say it.

The first minutes of it run in the gate. The whole way takes longer, mostly for the stages of `dvc
repro`, and is run by hand: `pytest -m slow -s tests/test_stranger.py`. The gate runs the pipeline
itself at its end.
"""

import re
import shutil
import time
from pathlib import Path

import pytest

from tests.browser import BROWSER, dom
from tests.pages.running import BLOCKS, DOCS
from tests.test_wheel import SAMPLES, Environment, wheel  # noqa: F401 - a fixture

SHORT = (("epochs: 60", "epochs: 1"), ("methods: all", "methods: [msp, mean_distance]"))


def python_of(page: str, upto: str) -> str:
    """Python blocks of a page before a heading, as one script."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(upto)[0]
    return "\n".join(block.text for block in BLOCKS(text) if block.language == "python")


def write_method(repository: Path) -> None:
    """The files of the page on own methods."""
    for block in BLOCKS((DOCS / "how-to/own-method.md").read_text(encoding="utf-8")):
        if block.title:
            (repository / block.title).parent.mkdir(exist_ok=True)
            (repository / block.title).write_text(block.text, encoding="utf-8")


#: Commands one after the other in one process, which imports torch once.
DRIVER = """
import shlex, sys, ltood
from ltood.cli import main
assert "site-packages" in ltood.__file__
for line in open("commands.txt"):
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, line
"""
SLOTS = "--method mean_distance --calibrator none --normaliser none"
COMMANDS = f"""
ltood init
ltood import arrays --store features.zarr
ltood compare --store features.zarr --out board --method mean_distance --method knn --set knn.k=5
ltood score --store features.zarr {SLOTS} --out scores.zarr
ltood report --scores scores.zarr --leaderboard board/leaderboard.json --out report.html
ltood push features.zarr shared
ltood pull shared again.zarr
""".strip()


def test_the_first_minutes(wheel, tmp_path):  # noqa: F811
    made = Environment(tmp_path, wheel, set())
    made.run("ltood", "new", "mine")
    mine = tmp_path / "mine"
    write_method(mine)
    (mine / "samples.py").write_text(SAMPLES + DRIVER)
    (mine / "commands.txt").write_text(COMMANDS)
    said = made.run("python", "samples.py", cwd=mine)
    assert "added methods.mean_distance" in said
    assert "mean_distance" in (mine / "board/leaderboard.md").read_text()
    assert same_files(mine / "features.zarr", mine / "again.zarr")
    if BROWSER is not None:
        found = dom(mine / "report.html", tmp_path / "profile")
        assert "mean_distance" in found
        assert "<svg" in found or "<img" in found


def same_files(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files."""
    held = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (first, second)
    ]
    return held[0] == held[1] and bool(held[0])


class Hour:
    """Says how long each part took."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def passed(self, what: str) -> None:
        now = time.monotonic()
        print(f"{what}: {now - self.last:.0f} s")
        self.last = now


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_strangers_hour(wheel, tmp_path):  # noqa: F811
    hour = Hour()
    made = Environment(tmp_path, wheel, set())
    hour.passed("install the wheel in an empty folder")

    made.run("ltood", "new", "mine")
    mine = tmp_path / "mine"
    hour.passed("ltood new")

    # A method as one file, and its test.
    write_method(mine)
    assert "added methods.mean_distance" in made.run("ltood", "init", cwd=mine)
    said = made.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "methods", cwd=mine)
    assert "2 passed" in said
    hour.passed("a method and its test")

    text = (mine / "params.yaml").read_text()
    for key, value in SHORT:
        assert text.count(key) == 1
        text = text.replace(key, value)
    (mine / "params.yaml").write_text(re.sub(r"(?m)^method: .*", "method: mean_distance", text))
    made.run("python", "-m", "dvc", "repro", cwd=mine)
    assert "mean_distance" in (mine / "results/leaderboard.md").read_text()
    hour.passed("dvc repro with it")

    with (mine / "methods/mean_distance.py").open("a") as file:
        file.write("\nEXTRA = 1\n")
    said = made.run("python", "-m", "dvc", "repro", cwd=mine)
    assert "Running stage 'score'" in said
    assert "Running stage 'extract'" not in said
    hour.passed("dvc repro after an edit of it")

    # Features of a plain PyTorch script.
    (mine / "features.py").write_text(python_of("tutorials/first-report.md", "## 4."))
    assert "with head" in made.run("python", "features.py", cwd=mine)
    made.run("ltood", "compare", "--store", "features.zarr", "--out", "board",
             "--method", "mean_distance", "--method", "vim", cwd=mine)  # fmt: skip
    made.run("ltood", "score", "--store", "features.zarr", "--method", "mean_distance",
             "--calibrator", "none", "--normaliser", "none", "--out", "scores.zarr",
             cwd=mine)  # fmt: skip
    made.run("ltood", "report", "--scores", "scores.zarr", "--leaderboard",
             "board/leaderboard.json", "--out", "report.html", cwd=mine)  # fmt: skip
    hour.passed("features of a PyTorch script, compare, score, report")

    if BROWSER is not None:
        for page in (mine / "report.html", mine / "results/report.html"):
            found = dom(page, tmp_path / "profile")
            assert "mean_distance" in found
            assert "<svg" in found or "<img" in found
        hour.passed("both reports in a browser")

    made.run("ltood", "push", "features.zarr", tmp_path / "shared", cwd=mine)
    shutil.move(mine / "features.zarr", mine / "original.zarr")
    made.run("ltood", "pull", tmp_path / "shared", "features.zarr", cwd=mine)
    assert same_files(mine / "original.zarr", mine / "features.zarr")
    hour.passed("push and pull the store")
