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
#: Folders of the first two, and the file of the third.
CHECKPOINT, HEAD, KEPT = (name.removesuffix("/history.csv") for name in HISTORIES)
LOSSES = {"network": [0.5, 0.25], "head": [0.5, 0.25], "kept": [0.5, 0.25], "none": None}


def folder_with(**files):
    """What writes a folder with these files."""

    def write(path):
        path.mkdir()
        for name, text in files.items():
            (path / name.replace("_", ".")).write_text(text)

    return write


def test_epochs_are_those_of_the_network_or_the_head(tmp_path, monkeypatch):
    repository = Repository(tmp_path / "repository")
    # A network that was not trained has a checkpoint without a history.
    plain = {CHECKPOINT: folder_with(weights="x")}
    given = {
        "network": {CHECKPOINT: folder_with(history_csv=EPOCHS, weights="x")},
        "head": {HEAD: folder_with(history_csv=EPOCHS)},
        "kept": {KEPT: lambda path: path.write_text(EPOCHS)},
        "none": {},
    }
    for name, made in given.items():
        repository.experiment(name, made={**plain, **made})
    monkeypatch.chdir(repository.root)
    for run in open_runs(list(given), tmp_path / "scratch"):
        history = history_of(run)
        assert (None if history is None else history["loss"]) == LOSSES[run.name]


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
