"""The adapt stage by itself: what it writes, what it costs, what it says."""

import subprocess
import sys

from ltood.store.adapted import read_adapted
from ltood.store.features import FeatureStore
from tests import prompt_samples

PARAMS = "backbone: cifar_resnet\nrecipe: {0}\nrecipes: {{{0}: {{}}}}\n"
MARKER = """
import sys
from stages.adapt import main
main(standalone_mode=False)
assert "torch" not in sys.modules
"""


def run(folder, *command):
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_nothing_to_adapt_is_noted_without_torch_in_equal_bytes(tmp_path):
    written = []
    for recipe in ("cross_entropy", "pascl"):
        (tmp_path / "params.yaml").write_text(PARAMS.format(recipe), encoding="utf-8")
        done = run(tmp_path, "-c", MARKER)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "data/work/head"
        assert read_adapted(folder) is None
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]


def test_an_unknown_recipe_ends_in_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.format("locop"), encoding="utf-8")
    done = run(tmp_path, "-m", "stages.adapt")
    assert done.returncode == 1
    assert "No recipe 'locop'. Did you mean locoop" in done.stderr
    assert "Traceback" not in done.stderr


def test_scoring_stages_read_the_store_through_the_head(tmp_path, monkeypatch, rng):
    from ltood.adapting.adapt import adapt
    from ltood.pipeline import _features, _shell

    names = ["cat", "dog", "emu"]
    path = tmp_path / _shell.FEATURES
    path.parent.mkdir(parents=True)
    store = prompt_samples.write_store(path, prompt_samples.random_splits(rng, 3), names)
    monkeypatch.chdir(tmp_path)
    head = adapt(
        store,
        "zero_shot",
        {},
        prompt_samples.encoder(),
        _shell.HEAD,
        state_folder=_shell.ADAPTING,
        device_name="cpu",
    )
    seen = _features.features()
    assert isinstance(seen, FeatureStore)
    assert (seen.head_arrays()["weight"] == head.arrays["weight"]).all()


def test_a_linear_head_asks_for_no_checkpoint(tmp_path, rng):
    """Features without CLIP: the stage loads no network and no words."""
    from ltood.pipeline import _shell

    path = tmp_path / _shell.FEATURES
    path.parent.mkdir(parents=True)
    prompt_samples.write_store(path, prompt_samples.random_splits(rng, 3), ["cat", "dog", "emu"])
    text = "recipe: linear_probe\nrecipes: {linear_probe: {epochs: 1, batch_size: 8}}\nseed: 3\n"
    (tmp_path / "params.yaml").write_text(
        f"backbone: cifar_resnet\ndevice: cpu\n{text}", encoding="utf-8"
    )
    done = run(tmp_path, "-m", "stages.adapt")
    assert done.returncode == 0, done.stderr
    head = read_adapted(tmp_path / "data/work/head")
    assert head.arrays["weight"].shape == (3, 32)
    assert head.inputs["seed"] == 3
