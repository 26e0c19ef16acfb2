"""What the digest of a stage's code covers: all that computes, and nothing else."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltood.core.errors import StoreError
from ltood.pipeline._code import STAGES, code_of, roots
from ltood.pipeline._params import Params
from ltood.runtime import source
from ltood.runtime.params import read_params
from ltood.runtime.provenance import WITHOUT_EFFECT, code_digest
from ltood.store.adapted import AdaptedHead, with_adapted_head, write_adapted
from ltood.store.exchange import import_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def params() -> Params:
    found = Params()
    found.content = read_params(ROOT / "params.yaml")
    return found


def imported(path: Path) -> set[str]:
    """Every name that a file imports from us, wherever it stands; packages around it too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: the walk below knows no relative imports"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in names if name.partition(".")[0] == "ltood"}


def file_of(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def walked(starts: list[str]) -> set[str]:
    """Import closure of modules, with the packages around each, but not through the list."""
    found: set[str] = set()
    waiting = set(starts)
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if path is None or name in found or name in WITHOUT_EFFECT:
            continue
        found.add(name)
        waiting |= imported(path) | {name.rpartition(".")[0]}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_the_digest_of_a_stage_covers_what_it_imports(stage, params):
    names = roots(stage, params)
    assert walked(names) == set(code_of(stage, params)["modules"])
    assert {f"ltood.pipeline.{stage}", *names} <= walked(names)


@pytest.mark.parametrize(
    ("stage", "modules"),
    [
        # What made stale features look fresh when they were left out.
        ("extract", {"ltood.networks.scaled", "ltood.images.decoding", "ltood.images.prepared"}),
        ("extract", {"ltood.runtime.devices", "ltood.store.chunks"}),
        ("prepare", {"ltood.images.archives", "ltood.images.longtail", "ltood.datasets._outliers"}),
        ("train", {"ltood.networks.scaled", "ltood.images.views", "ltood.recipes._base"}),
        ("score", {"ltood.store.chunks", "ltood.ops.gaussian", "ltood.scoring.sources"}),
        ("normalise", {"ltood.methods.mahalanobis", "ltood.store.features"}),
        ("report", {"ltood.store.scores", "ltood.metrics._ranking"}),
    ],
)
def test_modules_that_decide_numbers_are_covered(stage, modules, params):
    assert modules <= set(code_of(stage, params)["modules"])


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """The code in a folder of its own, of which digests are taken."""
    for package in source.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    monkeypatch.setattr(source, "ROOT", tmp_path)
    return tmp_path


def with_another_constant(text: str) -> str:
    """A module with its first number or text changed, docstrings aside; or with one more."""
    tree = ast.parse(text)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    hints = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.FormattedValue)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in alone | hints:
            continue
        if type(node.value) in {int, float, str} and node.lineno == node.end_lineno:
            lines = text.encode().splitlines(keepends=True)
            line = lines[node.lineno - 1]
            new = repr(node.value + (1 if type(node.value) is not str else "x")).encode()
            lines[node.lineno - 1] = line[: node.col_offset] + new + line[node.end_col_offset :]
            return b"".join(lines).decode()
    return f"{text}\nEXTRA = 1\n"


def test_a_constant_in_any_module_that_extract_runs_gives_a_new_digest(copy, params):
    names = roots("extract", params)
    before = code_digest(*names)
    modules = code_of("extract", params)["modules"]
    assert len(modules) > 25
    for name in modules:
        path = source.module_file(name)
        text = path.read_text(encoding="utf-8")
        changed = with_another_constant(text)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
        path.write_text(changed, encoding="utf-8")
        assert code_digest(*names) != before, name
        path.write_text(text, encoding="utf-8")
        assert code_digest(*names) == before, name


def test_words_in_no_module_give_a_new_digest(copy, params):
    before = {stage: code_of(stage, params) for stage in STAGES}
    for package in source.PACKAGES:
        for path in (copy / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            docstring = ast.get_docstring(ast.parse(text), clean=False)
            if docstring:
                text = text.replace(docstring, f"Other words.\n\n{docstring}", 1)
            text = text.replace("\n\n\n", "\n\n\n# A comment, and an empty line.\n\n")
            path.write_text(f"{text}\n# The end.\n", encoding="utf-8")
    assert {stage: code_of(stage, params) for stage in STAGES} == before


def with_ensemble(params, **settings) -> Params:
    found = Params()
    methods = {**params.content["methods"], "ensemble": settings}
    found.content = {**params.content, "method": "ensemble", "methods": methods}
    return found


@pytest.mark.parametrize("stage", ["score", "normalise", "compare"])
def test_the_code_of_members_counts(stage, params):
    default = roots(stage, with_ensemble(params))
    assert {"ltood.methods.ensemble", "ltood.methods.fdbd"} <= set(default)
    member = {"method": "gmm", "calibrator": "logit_adjustment", "normaliser": "imood"}
    names = ("methods.gmm", "calibrators.logit_adjustment", "normalisers.imood")
    found = with_ensemble(params, members=["vra", member])
    assert {f"ltood.{name}" for name in (*names, "methods.vra")} <= set(roots(stage, found))
    modules = code_of(stage, found)["modules"]
    assert {"ltood.ops.fusion", "ltood.methods.gmm", "ltood.normalisers.imood"} <= modules.keys()


def test_members_are_found_without_torch():
    code = (
        "import sys; from ltood.pipeline._code import roots; from ltood.pipeline._params import "
        "Params; roots('compare', Params()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_another_store_counts_by_its_fingerprint(params, tmp_path, monkeypatch):
    folder = tmp_path / "arrays"
    folder.mkdir()
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.savez(folder / "train.npz", features=features, labels=[0, 1, 2, 0, 1, 2])
    np.savez(folder / "head.npz", weight=np.ones((3, 4), np.float32), bias=np.zeros(3, np.float32))
    store = import_folder(folder, tmp_path / "other.zarr")
    monkeypatch.chdir(tmp_path)
    found = with_ensemble(params, members=["gen", {"method": "msp", "store": "other.zarr"}])
    for stage in ("score", "compare"):
        assert code_of(stage, found)["stores"] == {"other.zarr": store.fingerprint}
    arrays = {"weight": np.eye(3, 4, dtype=np.float32), "bias": np.zeros(3, np.float32)}
    write_adapted(tmp_path / "head", AdaptedHead(tuple(store.class_names), "", {}, arrays))
    through = {"method": "msp", "store": "other.zarr", "head": "head"}
    seen = code_of("score", with_ensemble(params, members=["gen", through]))["stores"]
    assert list(seen) == ["other.zarr::head"]
    assert seen["other.zarr::head"] == with_adapted_head(store, tmp_path / "head").fingerprint
    assert "stores" not in code_of("evaluate", found)
    assert "stores" not in code_of("score", params)
    missing = with_ensemble(params, members=[{"method": "msp", "store": "nothing.zarr"}])
    with pytest.raises(StoreError, match=r"nothing\.zarr"):
        code_of("score", missing)
