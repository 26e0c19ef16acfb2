"""The report of one run: what its stages made beside its scores."""

import json

import pytest

from ltood.reporting.threshold import Decision
from ltood.reporting.training import training_panel
from ltood.runs.single import decision_for, history_of
from ltood.runs.sources import HISTORIES, open_runs
from ltood.store.scores import ScoreStore
from tests.runs.run_samples import Repository, write_scores

EPOCHS = "epoch,loss,val_accuracy\n1,0.5,0.75\n2,0.25,\n"
CHECKPOINT, HEAD, KEPT = HISTORIES


def folder_with(**files):
    """What writes a folder with these files."""

    def write(path):
        path.mkdir()
        for name, text in files.items():
            (path / name.replace("_", ".")).write_text(text)

    return write


@pytest.mark.parametrize(
    "made",
    [
        {"data/work/checkpoint": folder_with(history_csv=EPOCHS, weights="x")},
        {"data/work/head": folder_with(history_csv=EPOCHS)},
        {"results/training.csv": lambda path: path.write_text(EPOCHS)},
    ],
    ids=["network", "head", "kept"],
)
def test_epochs_are_those_of_the_network_or_the_head(made, tmp_path, monkeypatch):
    repository = Repository(tmp_path / "repository")
    # A network that was not trained has a checkpoint without a history.
    plain = {"data/work/checkpoint": folder_with(weights="x")}
    repository.experiment("first", made={**plain, **made})
    repository.experiment("second", made=plain)
    monkeypatch.chdir(repository.root)
    first, second = open_runs(["first", "second"], tmp_path / "scratch")
    assert history_of(first)["loss"] == [0.5, 0.25]
    assert history_of(second) is None


@pytest.mark.parametrize("name", [*HISTORIES, "training.csv"])
def test_epochs_of_a_folder(name, tmp_path):
    write_scores(tmp_path / "final.zarr")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(EPOCHS)
    assert history_of(open_runs([str(tmp_path)], None)[0])["epoch"] == [1, 2]
    (tmp_path / name).write_text(EPOCHS.partition("\n")[0])
    assert training_panel(history_of(open_runs([str(tmp_path)], None)[0])) is None


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        ({}, True),
        ({"features_fingerprint": "another"}, False),
        ({"method": {"name": "msp", "settings": {"temperature": 1.0}}}, False),
        ({"method": {"name": "energy", "settings": {"temperature": 2.0}}}, False),
        (None, True),
    ],
)
def test_a_detector_is_told_of_where_it_is_of_these_scores(change, is_told, tmp_path):
    attributes = ScoreStore.open(write_scores(tmp_path / "final.zarr")).attributes
    slots = ("method", "calibrator", "normaliser", "features_fingerprint")
    made = {slot: attributes[slot] for slot in slots} | {"threshold": {"value": 0.5}}
    made = None if change is None else {**made, **change}
    (tmp_path / "detector.json").write_text(json.dumps(made))

    def read(path):
        return Decision(json.loads(path.read_text()), ("words of the decision",))

    run = open_runs([str(tmp_path)], None)[0]
    assert (decision_for(run, read) is not None) == is_told
    assert decision_for(run, None) is None
