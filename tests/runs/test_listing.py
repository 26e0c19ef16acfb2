"""`ltood runs`: a short table of experiments."""

import pytest

from ltood.core.errors import ConfigError
from ltood.runs.listing import as_text, listed
from tests.runs.run_samples import Repository


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("listing") / "repository")
    repository.experiment("msp-seed0", "msp", seed=0)
    repository.experiment("msp-seed1", "msp", seed=1)
    repository.experiment("energy", "energy", seed=0)
    return repository.root


def test_runs_are_told_apart_by_what_differs(root):
    lines = {line.name: line for line in listed(root)}
    assert set(lines) == {"msp-seed0", "msp-seed1", "energy"}
    text = as_text(list(lines.values())).splitlines()
    row = next(line for line in text if line.startswith("msp-seed1"))
    assert "60.00" in row
    assert "seed=1" in row
    assert "msp" in row.split("  ")[-1]
    assert "temperature" not in "\n".join(text)


def test_what_training_started_from_tells_runs_apart(tmp_path):
    repository = Repository(tmp_path / "repository")
    for name, start in {"afresh": "null", "tuned": "data/weights/first"}.items():
        repository.experiment(name, settings=f"training: {{weights: {start}}}\n")
    repository.experiment("odd", settings="training: [1]\n")
    rows = {
        line.split()[0]: line.split("  ")[-1]
        for line in as_text(listed(repository.root)).splitlines()
    }
    assert (rows["afresh"], rows["tuned"]) == ("weights=null", "weights=data/weights/first")
    assert "weights" not in rows["odd"]


def test_a_run_without_sets_is_listed_beside_others(tmp_path):
    repository = Repository(tmp_path / "repository")
    repository.experiment("with")
    repository.experiment("without", auroc=None)
    lines = listed(repository.root, sort="auroc")
    assert [line.name for line in lines] == ["with", "without"]
    rows = {line.split()[0]: line.split() for line in as_text(lines).splitlines()}
    assert rows["with"][3] == "50.00"
    assert rows["without"][3:5] == [rows["without"][3], "75.00"]
    assert not rows["without"][3][0].isdigit()


def test_seeds_become_one_line(root):
    lines = {line.name: line for line in listed(root, ["seed"])}
    assert set(lines) == {"msp", "energy"}
    assert lines["msp"].mean("auroc") == pytest.approx(0.55)
    assert lines["msp"].std("auroc") == pytest.approx(0.1 / 2**0.5)
    assert "±" in as_text(list(lines.values()))


def test_the_best_comes_first(root):
    names = [line.name for line in listed(root, sort="auroc")]
    assert names[0] == "msp-seed1"
    with pytest.raises(ConfigError, match="speed"):
        listed(root, sort="speed")
    with pytest.raises(ConfigError, match="speed"):
        listed(root, ["speed"])


def test_no_runs_say_what_makes_one(tmp_path):
    assert "dvc" in as_text(listed(Repository(tmp_path / "empty").root))
