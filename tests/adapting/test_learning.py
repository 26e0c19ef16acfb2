import numpy as np
import pytest
import torch

from ltood.adapting.learning import Learner, start_context
from ltood.adapting.rows import training_rows
from ltood.core.errors import DataError, TrainingError
from ltood.core.prior import ClassPrior
from ltood.networks.training_state import load_state
from ltood.recipes import coop, locoop
from ltood.recipes._text_heads import PromptConfig
from tests import prompt_samples

NAMES = ["cat", "11 12", "emu"]


def learner(store, recipe, config, names=NAMES, seed=0):
    built = recipe.Entry(config, ClassPrior(np.ones(len(names), dtype=np.int64)))
    rows = training_rows(store, config, seed, local=built.needs_local)
    return Learner(built, names, prompt_samples.encoder(), rows, seed)


@pytest.fixture
def store(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    return prompt_samples.write_store(tmp_path / "f.zarr", splits, NAMES)


@pytest.mark.parametrize("mode", ["prefix", "cut", "full"])
def test_three_steps_from_a_store_lead_to_the_published_context(tmp_path, monkeypatch, mode):
    g = prompt_samples.golden()
    names = prompt_samples.golden_names(g)
    images = [g[key] for key in ("train/labels", "vit/global", "vit/local")]
    splits = {"train": tuple(np.concatenate([part] * 3) for part in images)}
    store = prompt_samples.write_store(tmp_path / "g.zarr", splits, names)
    monkeypatch.setattr(
        "ltood.adapting.steps.epoch_order",
        lambda *_: (np.arange(9), np.zeros(9, dtype=np.int64)),
    )
    config = locoop.Config(
        n_ctx=4,
        epochs=1,
        batch_size=3,
        warmup_learning_rate=0.002,
        entropy_weight=float(g["train/lambda"]),
        topk=int(g["train/topk"]),
        text_mode=mode,
    )
    run = learner(store, locoop, config, names)
    assert run.steps_per_epoch == 3
    run.context.data.copy_(torch.tensor(g["prompt/ctx_shared"]))
    found = []
    run._optimiser.register_step_post_hook(lambda *_: found.append(run.context.detach().clone()))
    run.run(tmp_path / "state", {})
    np.testing.assert_allclose(torch.stack(found), g["train/ctx_after_sgd_steps"], atol=1e-6)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [True, False])
def test_text_modes_learn_the_same(store, tmp_path, position, class_specific):
    settings = {"n_ctx": 3, "epochs": 2, "batch_size": 4, "position": position}
    contexts = {}
    for mode in ("full", "cut", "prefix"):
        config = locoop.Config(**settings, class_specific=class_specific, text_mode=mode)
        run = learner(store, locoop, config)
        run.run(tmp_path / mode, {})
        contexts[mode] = run.context.detach()
    start = start_context(config, 3, prompt_samples.encoder(), 0)
    moved = (contexts["full"] - start).norm()
    assert moved > 1e-4
    for mode in ("cut", "prefix"):
        assert (contexts[mode] - contexts["full"]).norm() < 1e-3 * moved


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_killed_run_goes_on_to_the_same_bits(store, tmp_path, monkeypatch, stop):
    config = locoop.Config(n_ctx=2, epochs=3, batch_size=4)
    whole = learner(store, locoop, config)
    whole.run(tmp_path / "unused", {})
    assert not (tmp_path / "unused").exists()

    monkeypatch.setattr("ltood.adapting.steps.SAVE_SECONDS", 0.0)
    killed, steps = learner(store, locoop, config), []
    take = killed._step

    def step(*given):
        if len(steps) == stop:
            raise KeyboardInterrupt
        steps.append(1)
        return take(*given)

    monkeypatch.setattr(killed, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path / "state", {"of": "this"})
    state = load_state(tmp_path / "state")
    assert state["inputs"] == {"of": "this"}
    assert (state["progress"]["epoch"], state["progress"]["step"]) == divmod(stop, 2)
    resumed = learner(store, locoop, config)
    resumed.restore(state)
    resumed.run(tmp_path / "state", {"of": "this"})
    assert torch.equal(resumed.context, whole.context)
    assert resumed.progress.history == whole.progress.history


def test_learning_lowers_the_loss_and_records_it(store, tmp_path):
    config = coop.Config(n_ctx=2, epochs=8, batch_size=11, learning_rate=0.05)
    run = learner(store, coop, config)
    run.run(tmp_path / "state", {})
    losses = run.losses()[:, 0].tolist()
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    assert run.progress.epoch == 8
    torch.testing.assert_close(run.text().norm(dim=1), torch.ones(3))


def test_batches_without_an_irrelevant_patch_add_exactly_nothing(store, tmp_path):
    settings = {"n_ctx": 2, "epochs": 2, "batch_size": 5}
    with pytest.warns(UserWarning, match=r"recipes\.locoop\.topk is 3 of 3"):
        none = learner(store, locoop, locoop.Config(topk=3, entropy_weight=4.0, **settings))
    plain = learner(store, coop, coop.Config(**settings))
    none.run(tmp_path / "none", {})
    plain.run(tmp_path / "plain", {})
    assert none.losses()[:, 1].tolist() == [0.0, 0.0]
    assert torch.equal(none.context, plain.context)


def test_batches_are_whole_unless_there_is_only_a_part_of_one(store):
    assert learner(store, coop, coop.Config(n_ctx=2, batch_size=4)).steps_per_epoch == 2
    assert learner(store, coop, coop.Config(n_ctx=2, batch_size=12)).steps_per_epoch == 1


def test_the_start_is_random_or_the_words():
    encoder = prompt_samples.encoder()
    shared = start_context(PromptConfig(n_ctx=50), 3, encoder, 0)
    assert shared.shape == (50, 64)
    assert shared.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(shared, start_context(PromptConfig(n_ctx=50), 3, encoder, 0))
    assert not torch.equal(shared, start_context(PromptConfig(n_ctx=50), 3, encoder, 1))
    own = start_context(PromptConfig(n_ctx=4, class_specific=True), 3, encoder, 0)
    assert own.shape == (3, 4, 64)
    assert not torch.equal(own[0], own[1])
    words = PromptConfig(ctx_init="20_21 22", class_specific=True)
    expected = encoder.tower.embed(torch.tensor([20, 21, 22]))
    found = start_context(words, 3, encoder, 0)
    assert all(torch.equal(row, expected) for row in found)
    shared = start_context(PromptConfig(ctx_init="20_21 22"), 3, encoder, 0)
    assert torch.equal(shared, expected)


def test_too_long_a_context_is_refused(store):
    with pytest.raises(DataError, match="the text encoder has 16; set n_ctx to"):
        learner(store, coop, coop.Config(n_ctx=14))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=4)
    labels, features, local = splits["train"]
    features[:] = np.nan
    path = tmp_path / "nan.zarr"
    broken = prompt_samples.write_store(path, {"train": (labels, features, local)}, NAMES)
    run = learner(broken, coop, coop.Config(n_ctx=2))
    with pytest.raises(TrainingError, match=r"losses of step 0 in epoch 0 are .*nan.*not finite"):
        run.run(tmp_path / "state", {})
