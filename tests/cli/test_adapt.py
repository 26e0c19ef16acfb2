import numpy as np
import pytest
from typer.testing import CliRunner

from ltood.cli import app
from ltood.core.errors import ConfigError, MissingNeedError, UnknownNameError
from ltood.store.adapted import read_adapted
from ltood.store.exchange import import_folder
from ltood.store.scores import ScoreStore


@pytest.fixture
def store(tmp_path, rng):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("train", "test", "ood_far"):
        labels = np.arange(24) % 3
        held = {} if name == "ood_far" else {"labels": labels}
        features = rng.normal(size=(24, 4)) + 3 * np.eye(3, 4)[labels]
        np.savez(folder / f"{name}.npz", features=features, **held)
    import_folder(folder, tmp_path / "features.zarr")
    return tmp_path / "features.zarr"


def ltood(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception:
        raise done.exception
    return done.stdout


def test_a_store_without_a_head_gets_one_and_is_scored_with_it(store, tmp_path):
    out = tmp_path / "head"
    words = ("--recipe", "linear_probe", "--set", "epochs=3", "--set", "batch_size=8", "--seed", 2)
    assert "3 classes x 4 features" in ltood("adapt", "--store", store, "--out", out, *words)
    head = read_adapted(out)
    assert head.inputs["seed"] == 2
    assert head.inputs["recipe"]["settings"]["epochs"] == 3
    assert not (tmp_path / "head.state").exists()
    made = out / "head.json"
    before = made.stat().st_mtime_ns
    ltood("adapt", "--store", store, "--out", out, *words)
    assert made.stat().st_mtime_ns == before
    scores = tmp_path / "s.zarr"
    ltood("score", "--store", store, "--head", out, "--method", "msp", "--out", scores)
    found = ScoreStore.open(scores).split("test")
    assert (found.predictions == found.labels).mean() > 0.7


@pytest.mark.parametrize(
    ("recipe", "setting", "error"),
    [
        ("linear_prob", "epochs=1", UnknownNameError),
        ("linear_probe", "epoch=1", ConfigError),
        ("cross_entropy", "tau=0", ConfigError),
        ("coop", "epochs=1", MissingNeedError),
    ],
)
def test_what_it_cannot_make_is_refused(store, tmp_path, recipe, setting, error):
    words = ("adapt", "--store", store, "--out", tmp_path / "head")
    with pytest.raises(error):
        ltood(*words, "--recipe", recipe, "--set", setting)
    assert not (tmp_path / "head").exists()
