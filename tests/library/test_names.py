import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ltood
from ltood.core.registry import available, load

ROOT = Path(__file__).resolve().parents[2]


def test_lists_of_names_are_up_to_date():
    script = ROOT / "docs" / "make_names.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", ["methods", "calibrators", "normalisers"])
def test_every_entry_stands_under_its_class_name(package):
    for name in available(package):
        entry = load(package, name).Entry
        if name == "none":
            assert entry.__name__ not in dir(ltood)
        else:
            assert getattr(ltood, entry.__name__) is entry


def test_dir_lists_what_a_person_needs_and_nothing_else():
    entries = {
        load(package, name).Entry.__name__
        for package in ("methods", "calibrators", "normalisers")
        for name in available(package)
        if name != "none"
    }
    others = set(dir(ltood)) - entries
    assert others == set(OTHERS)
    assert sorted(ltood.__all__) == dir(ltood)
    for name in dir(ltood):
        assert getattr(ltood, name) is not None


OTHERS = (
    *("ClassPrior", "ClassifierHead", "LtoodError", "Pipeline", "__version__", "calibrator"),
    *("compare", "compare_runs", "evaluate", "extract", "load", "method", "normaliser"),
    "open_features",
)


def test_import_loads_neither_torch_nor_numpy():
    code = (
        "import ltood, sys; dir(ltood); "
        "found = {'torch', 'numpy', 'ltood.core'} & sys.modules.keys(); assert not found, found; "
        "from ltood import LtoodError; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_near_names_are_suggested():
    with pytest.raises(AttributeError, match=r"'Knn'\. Did you mean KNN"):
        _ = ltood.Knn
    with pytest.raises(AttributeError, match="no name 'zzzzzz'"):
        _ = ltood.zzzzzz
    with pytest.raises(ImportError, match="himplos"):
        exec("from ltood import himplos")


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", ltood.__version__)
    assert "\nversion = " not in (ROOT / "pyproject.toml").read_text()
    assert importlib.metadata.version("ltood") == ltood.__version__
    assert f"\nversion: {ltood.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{ltood.__version__}] - 20" in (ROOT / "CHANGELOG.md").read_text()


def test_entries_come_by_name():
    assert repr(ltood.method("gen", k=7)) == "GEN(gamma=0.1, k=7)"
    assert isinstance(ltood.calibrator("patt"), ltood.PATT)
    assert ltood.normaliser("imood", base="energy", tau=2.0).get_params()["tau"] == 2.0
    with pytest.raises(ltood.LtoodError, match=r"No method 'ract'\. Did you mean react"):
        ltood.method("ract")
    with pytest.raises(ltood.LtoodError, match=r"No method 'KNN'\. Did you mean knn"):
        ltood.method("KNN")
    with pytest.raises(ltood.LtoodError, match="KNN: k is 0"):
        ltood.method("knn", k=0)


@pytest.mark.slow
def test_types_are_known_to_callers(tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(
        "import numpy as np\nimport torch\nimport ltood\nfrom ltood import KNN\n"
        "rows = np.zeros((3, 2))\n"
        "reveal_type(KNN(k=1).fit(rows, [0, 1, 0]).score(rows))\n"
        "reveal_type(KNN(k=1).score(torch.zeros(3, 2)))\n"
        "reveal_type(ltood.Pipeline('knn').fit(rows).predict(rows))\n"
        "reveal_type(ltood.load('d.json').score(rows))\n"
        "reveal_type(ltood.evaluate(rows, rows))\n"
        "ltood.nothing\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    found = re.findall(r'note: Revealed type is "(.*?)"', done.stdout)
    assert found[0].startswith("numpy.ndarray["), done.stdout
    assert found[1] == "torch._tensor.Tensor"
    assert found[2] == "ltood.library.predictions.Predictions"
    assert found[3] == found[0]
    assert found[4] == "ltood.library.evaluating.Metrics"
    assert 'Module has no attribute "nothing"' in done.stdout
