"""What is built, and that it works where nothing else of the repository is."""

import email
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from ltood.runtime.extras import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = {module for packages in EXTRAS.values() for module in packages}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [found] = folder.glob("*.whl")
    return found


def test_a_wheel_holds_ltood_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(metadata))
        shipped = {name for name in names if name.startswith("ltood/shipped/")}
        for name in shipped:
            own = ROOT / name.removeprefix("ltood/shipped/")
            assert archive.read(name) == own.read_bytes(), name
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ltood"}
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ltood").rglob("*.*")}
    assert {name for name in own if "__pycache__" not in name} <= names
    assert {"ltood/py.typed", "ltood/cli/template/gitignore"} <= names
    assert "ltood/tables/presets/patt-cifar10-lt.yaml" in names
    assert {f"ltood/shipped/{name}" for name in ("dvc.yaml", "params.yaml")} < shipped
    images = {f"ltood/shipped/data/demo/{path.name}" for path in ROOT.glob("data/demo/*.npz")}
    assert images | {"ltood/shipped/data/demo/README.md"} < shipped  # licences travel along
    assert not any(name.endswith(".py") for name in shipped)
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {
        "LICENSE", "NOTICE",
    }  # fmt: skip
    assert about["Author"] == "The ltood authors"
    assert about["License-Expression"] == "MIT"
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert set(about.get_all("Provides-Extra")) == {*EXTRAS, "all"}


def test_a_source_archive_builds_the_same_wheel(wheel, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [found] = tmp_path.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path / "source", **safely)
    [source] = (tmp_path / "source").iterdir()
    assert (source / "stages/train.py").is_file()
    assert not any((source / name).exists() for name in (".venv", "data/work", "results"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    [again] = tmp_path.glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


def test_an_editable_install_copies_nothing(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    [path] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    with zipfile.ZipFile(path) as archive:
        outside = {name.partition("/")[0] for name in archive.namelist()}
    assert not any(name == "ltood" for name in outside)


class Environment:
    """A Python of its own, with a wheel and some of the packages that this one has."""

    def __init__(self, path: Path, wheel: Path, hidden: set[str]) -> None:
        """Make it; packages are linked, so that nothing is fetched or copied."""
        self.path = path
        subprocess.run([sys.executable, "-m", "venv", path / "env"], check=True)
        self.bin = path / "env" / "bin"
        packages = path / "packages"
        packages.mkdir()
        distributions = {"ltood"} | {
            {"PIL": "pillow", "open_clip": "open_clip_torch"}.get(name, name) for name in hidden
        }
        for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
            name, is_pin, _ = entry.name.partition(".dist-info")
            stem = re.split(r"-\d", name)[0].lower() if is_pin else entry.name
            hide = stem in distributions or (stem.startswith("faiss") and "faiss" in hidden)
            if not (hide or entry.name in hidden or entry.name.endswith(".pth")):
                (packages / entry.name).symlink_to(entry)
        [site] = (path / "env").glob("lib/python*/site-packages")
        (site / "packages.pth").write_text(f"{packages}\n")
        self.run("python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)

    def run(self, *command: object, cwd: Path | None = None, code: int = 0) -> str:
        """Run a program of it; returns what it prints."""
        done = subprocess.run(
            [self.bin / str(command[0]), *map(str, command[1:])],
            cwd=cwd or self.path,
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(self.path),
                "VIRTUAL_ENV": str(self.path / "env"),
                "OMP_NUM_THREADS": "1",
                "DVC_SITE_CACHE_DIR": str(self.path / "site"),
                "DVC_NO_ANALYTICS": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory) -> Environment:
    """ltood without any extra, and a folder of features."""
    made = Environment(tmp_path_factory.mktemp("bare"), wheel, OPTIONAL)
    made.run("python", "-c", SAMPLES)
    return made


SAMPLES = """
import numpy as np, pathlib
rng, means = np.random.default_rng(0), 4 * np.eye(3, 8)
folder = pathlib.Path("arrays")
folder.mkdir()
np.savez(folder / "head.npz", weight=means, bias=np.zeros(3))
for name, rows in (("train", 90), ("val", 30), ("test", 30), ("aux", 30), ("ood_far", 30)):
    labels = np.arange(rows) % 3
    features = rng.normal(size=(rows, 8)) + (means[labels] if "a" not in name[:1] + name[4:] else 0)
    np.savez(folder / name, features=np.abs(features), labels=labels)
"""


@pytest.mark.slow
def test_the_library_needs_no_extra(bare):
    """The Python of the README."""
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert snippet is not None
    given = (
        "import numpy as np; rng = np.random.default_rng(0)\n"
        "train_x, test_x = rng.normal(size=(60, 8)), rng.normal(size=(20, 8))\n"
        "train_y = np.arange(60) % 3\n"
        "train_features, train_labels, test_features = train_x, train_y, test_x\n"
    )
    said = bare.run("python", "-c", f"{given}{snippet[1]}\nprint(scores.shape)")
    assert said == "(20,)\n"


@pytest.mark.slow
def test_the_command_line_needs_no_extra(bare):
    bare.run("ltood", "import", "arrays", "--store", "features.zarr")
    bare.run(
        "ltood", "score", "--store", "features.zarr", "--method", "knn", "--set", "k=3",
        "--calibrator", "none", "--normaliser", "none", "--out", "scores.zarr",
    )  # fmt: skip
    bare.run("ltood", "evaluate", "--scores", "scores.zarr", "--out", "metrics.json")
    bare.run("ltood", "compare", "--store", "features.zarr", "--method", "msp", "--out", "board")
    said = bare.run("ltood", "sweep", "knn", "--store", "features.zarr", "--grid", "k=1,3",
                    "--out", "sweep")  # fmt: skip
    assert 'pip install "ltood[report]"' in said
    bare.run("ltood", "export-detector", "--store", "features.zarr", "--method", "msp",
             "--out", "detector.safetensors")  # fmt: skip
    bare.run("ltood", "predict", "detector.safetensors", "arrays/test.npz")
    said = bare.run("ltood", "doctor")
    for extra in EXTRAS:
        assert f'pip install "ltood[{extra}]"' in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("report", "--scores", "scores.zarr", "--out", "report.html"), "report"),
        (("new", "mine"), "pipeline"),
    ],
)
def test_a_missing_extra_is_one_sentence(bare, command, extra):
    said = bare.run("ltood", *command, code=1)
    assert said.startswith("error: ")
    assert said.endswith(f'run pip install "ltood[{extra}]".\n')
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_new_repository_runs_from_the_wheel(wheel, tmp_path):
    made = Environment(tmp_path, wheel, set())
    made.run("ltood", "new", "mine")
    mine, site = tmp_path / "mine", next((tmp_path / "env").glob("lib/python*/site-packages"))
    assert not (mine / "ltood").exists()
    text = (mine / "params.yaml").read_text()
    for key, value in (("epochs: 60", "epochs: 1"), ("methods: all", "methods: [msp]")):
        assert text.count(key) == 1
        text = text.replace(key, value)
    (mine / "params.yaml").write_text(text)
    said = made.run("python", "-m", "dvc", "repro", cwd=mine)
    assert "ltood stage train" in said
    assert (mine / "results/report.html").is_file()
    assert "Stage 'report' didn't change" in made.run("python", "-m", "dvc", "repro", cwd=mine)
    # The library is the installed one, and a change of it is seen.
    shutil.copy(site / "ltood/evaluation/plots.py", tmp_path / "kept")
    with (site / "ltood/evaluation/plots.py").open("a") as file:
        file.write("\nEXTRA = 1\n")
    said = made.run("python", "-m", "dvc", "repro", cwd=mine)
    assert "Running stage 'evaluate'" in said
    assert "Running stage 'score'" not in said
