import pytest

from ltood.runtime.params import read_params

#: The command prints warnings; a test that is not about them need not fail because of one.
pytestmark = pytest.mark.filterwarnings("default::UserWarning")


@pytest.fixture
def sweep(ltood, store, tmp_path):
    """Sweep a method on the store into a folder."""

    def run(method, folder, *options, code=0):
        arguments = (method, "--store", store, "--device", "cpu", "--out", tmp_path / folder)
        return ltood("sweep", *arguments, *options, code=code)

    return run


def test_the_best_of_a_grid_becomes_a_section(sweep, tmp_path):
    swept = ("--grid", "percentile=0,30,...,90", "--grid", "clip=1,2,null")
    options = ("--set", "scorer=msp", "--metric", "fpr95_ood_pos")
    assert "best of 12: percentile=" in sweep("himplos", "out", *swept, *options).stdout
    assert read_params(tmp_path / "out" / "best.yaml")["methods"]["himplos"]["scorer"] == "msp"


def test_the_seed_decides_what_is_drawn(sweep, tmp_path):
    swept = ("--random", 9, "--range", "percentile=0:95", "--grid", "clip=1,null")
    options = ("--calibrator", "patt", "--calibrator-set", "high=1.5")
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        sweep("himplos", folder, *swept, "--seed", seed, *options)
    tables = [(tmp_path / folder / "sweep.csv").read_text() for folder in "abc"]
    assert tables[0] == tables[1] != tables[2]
    assert tables[0].count("\n") == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--range", "percentile=0:95"), "--range draws at random; say how many settings"),
        (
            ("--grid", "percentile=0,10", "--validation-ood", "ood_far"),
            "ood_far is a test set",
        ),
    ],
)
def test_refused_sweeps_write_nothing(sweep, tmp_path, options, said):
    assert said in sweep("himplos", "out", *options, code=1).stderr
    assert not (tmp_path / "out").exists()


def test_problems_and_edges_are_warned_of(sweep):
    said = sweep("knn", "out", "--grid", "k=999,3").stderr
    assert "1 of 2 candidates could not be scored" in said
    assert "the best k is 3, at the edge of what was tried; try values beyond it." in said
