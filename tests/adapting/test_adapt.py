import shutil

import numpy as np
import pytest
import torch

from ltood.adapting import adapt as module
from ltood.adapting.adapt import adapt
from ltood.adapting.texts import TextEncoder, template_head
from ltood.clip.prompts import PromptBatch, learned_prompts
from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.core.settings import to_section
from ltood.recipes import locoop, zero_shot
from ltood.scoring.run import score_store
from ltood.store.adapted import with_adapted_head
from ltood.store.scores import ScoreStore
from tests import prompt_samples

NAMES = ["cat", "11 12", "emu"]
SMALL = {"n_ctx": 2, "epochs": 2, "batch_size": 4}


@pytest.fixture
def store(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    return prompt_samples.write_store(tmp_path / "f.zarr", splits, NAMES)


def run(store, tmp_path, recipe="locoop", settings=SMALL, *, out="head", encoder=None, seed=0):
    return adapt(
        store,
        recipe,
        settings,
        encoder or prompt_samples.encoder(),
        tmp_path / out,
        state_folder=tmp_path / f"{out}.state",
        seed=seed,
        device_name="cpu",
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_zero_shot_needs_no_row(store, tmp_path):
    settings = to_section(zero_shot.Config(templates=("a {}", "the {}")))
    head = run(store, tmp_path, "zero_shot", settings)
    expected = template_head(prompt_samples.encoder(), NAMES, ("a {}", "the {}"))
    np.testing.assert_array_equal(head.arrays["weight"], expected)
    assert head.arrays["bias"].tolist() == [0, 0, 0]
    assert head.arrays["logit_scale"] == pytest.approx(100)
    assert "seed" not in head.inputs


def test_a_learned_head_is_the_text_of_its_context(store, tmp_path, capsys):
    head = run(store, tmp_path)
    encoder = prompt_samples.encoder()
    batch = PromptBatch(learned_prompts(NAMES, 2, encoder.vocabulary), "end", encoder.tower, "full")
    text = torch.nn.functional.normalize(batch.encode(torch.tensor(head.arrays["context"])))
    np.testing.assert_allclose(head.arrays["weight"], text, atol=1e-5)
    assert head.arrays["history"].shape == (2, 2)
    lines = (tmp_path / "head/rows.csv").read_text().splitlines()
    assert lines[:3] == ["seed,id,label,class_name", "0,100,0,cat", "0,101,1,11 12"]
    assert len(lines) == 12
    assert head.inputs["in_use"] == {"topk": 1}
    said = capsys.readouterr().err
    assert "locoop: topk in use 1 of 3 classes" in said
    assert "learning from 11 rows of train with 1 view each" in said
    assert "epoch 2 of 2: cross_entropy" in said


def test_equal_inputs_give_equal_bytes_and_are_not_computed_again(store, tmp_path, monkeypatch):
    run(store, tmp_path)
    first = content(tmp_path / "head")
    run(store, tmp_path, out="again")
    assert content(tmp_path / "again") == first
    monkeypatch.setattr(module, "Learner", None)
    run(store, tmp_path)
    assert content(tmp_path / "head") == first
    assert not (tmp_path / "head.state" / "state").exists()


def test_the_written_rows_can_be_given_back(store, tmp_path):
    drawn = run(store, tmp_path, settings={**SMALL, "shots": 2}, seed=3)
    listed = {**SMALL, "rows": str(tmp_path / "head/rows.csv")}
    again = run(store, tmp_path, settings=listed, seed=3, out="again")
    np.testing.assert_array_equal(again.arrays["weight"], drawn.arrays["weight"])


@pytest.mark.parametrize(
    ("changes", "seed"),
    [({"entropy_weight": 0.5}, 0), ({"n_ctx": 3}, 0), ({"position": "front"}, 0), ({}, 1)],
)
def test_other_inputs_replace_the_head(store, tmp_path, changes, seed):
    before = run(store, tmp_path)
    after = run(store, tmp_path, settings={**SMALL, **changes}, seed=seed)
    assert not np.array_equal(before.arrays["weight"], after.arrays["weight"])


def test_a_changed_list_of_rows_is_noticed(store, tmp_path):
    file = tmp_path / "rows.csv"
    settings = {**SMALL, "rows": str(file)}
    file.write_text("id\n100\n101\n102\n", encoding="utf-8")
    before = run(store, tmp_path, settings=settings)
    file.write_text("id\n103\n104\n105\n", encoding="utf-8")
    after = run(store, tmp_path, settings=settings)
    lines = (tmp_path / "head/rows.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["103", "104", "105"]
    assert not np.array_equal(before.arrays["weight"], after.arrays["weight"])


def test_a_killed_run_goes_on_to_the_same_bytes(store, tmp_path, monkeypatch):
    run(store, tmp_path, out="whole")
    monkeypatch.setattr("ltood.adapting.steps.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("ltood.adapting.learning.Learner.text", _interrupt_at(3))
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path)
    assert (tmp_path / "head.state" / "state").is_dir()
    assert not (tmp_path / "head").exists()
    monkeypatch.undo()
    run(store, tmp_path)
    assert content(tmp_path / "head") == content(tmp_path / "whole")
    assert not (tmp_path / "head.state" / "state").exists()


def test_a_deleted_head_comes_back_without_learning(store, tmp_path, monkeypatch):
    run(store, tmp_path)
    before = content(tmp_path / "head")
    shutil.rmtree(tmp_path / "head")  # as DVC does before it runs the stage
    monkeypatch.setattr(module, "Learner", None)
    run(store, tmp_path)
    assert content(tmp_path / "head") == before


def test_what_is_not_learned_from_does_not_count(tmp_path, rng, monkeypatch):
    """One OOD set more, or test rows that changed, learn no prompt again."""
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    run(prompt_samples.write_store(tmp_path / "a.zarr", splits, NAMES), tmp_path)
    before = content(tmp_path / "head")
    splits["ood_more"] = splits["test"]
    monkeypatch.setattr(module, "Learner", None)
    run(prompt_samples.write_store(tmp_path / "b.zarr", splits, NAMES), tmp_path)
    assert content(tmp_path / "head") == before


def _interrupt_at(calls):
    from ltood.adapting.learning import Learner

    text, done = Learner.text, []

    def interrupted(self):
        done.append(1)
        if len(done) == calls:
            raise KeyboardInterrupt
        return text(self)

    return interrupted


def test_the_state_of_other_inputs_is_left_aside(store, tmp_path, monkeypatch):
    monkeypatch.setattr("ltood.adapting.steps.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("ltood.adapting.learning.Learner.text", _interrupt_at(2))
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path)
    other = {**SMALL, "entropy_weight": 0.0}
    run(store, tmp_path, settings=other)
    run(store, tmp_path, settings=other, out="fresh")
    assert content(tmp_path / "head") == content(tmp_path / "fresh")


def test_a_broken_head_is_made_anew(store, tmp_path, capsys):
    run(store, tmp_path)
    good = content(tmp_path / "head")
    (tmp_path / "head" / "head.json").write_text("{")
    run(store, tmp_path)
    assert content(tmp_path / "head") == good
    assert "made again" in capsys.readouterr().err


def test_stage_two_scores_with_it(store, tmp_path):
    head = run(store, tmp_path)
    seen = with_adapted_head(store, tmp_path / "head")
    score_store(seen, tmp_path / "s.zarr", EntrySpec("gl_mcm"), device="cpu")
    found = ScoreStore.open(tmp_path / "s.zarr").split("test")
    held = store.split("test").load(["features", "local"])

    def best(rows):
        unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        powers = np.exp(unit.astype(np.float64) @ head.arrays["weight"].T)
        return (powers / powers.sum(-1, keepdims=True)).max(-1)

    expected = -(best(held["features"]) + best(held["local"]).max(1))
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
    predicted = (held["features"] @ head.arrays["weight"].T).argmax(1)
    np.testing.assert_array_equal(found.predictions, predicted)


FORCED = {"ctx_init": "20 21", "epochs": 2, "batch_size": 4}


def test_a_forced_prompt_keeps_the_texts_that_it_started_from(store, tmp_path):
    head = run(store, tmp_path, "fa", {**FORCED, "copies": 3})
    encoder = prompt_samples.encoder()
    start = encoder.tower.embed(torch.tensor([20, 21]))
    batch = PromptBatch(learned_prompts(NAMES, 2, encoder.vocabulary), "end", encoder.tower, "full")
    text = torch.nn.functional.normalize(batch.encode(start))
    np.testing.assert_allclose(head.arrays["frozen_weight"], text, atol=1e-5)
    assert head.arrays["frozen_copies"] == 3
    assert not np.allclose(head.arrays["weight"], text, atol=1e-3)
    seen = with_adapted_head(store, tmp_path / "head").head_arrays()
    np.testing.assert_array_equal(seen["frozen_weight"], head.arrays["frozen_weight"])


def test_copies_force_the_prompt_further_from_its_start(store, tmp_path):
    def distance(copies):
        head = run(
            store, tmp_path, "fa", {**FORCED, "copies": copies, "epochs": 8}, out=str(copies)
        )
        return np.linalg.norm(head.arrays["weight"] - head.arrays["frozen_weight"])

    assert distance(1) < distance(8)


def test_a_prompt_without_copies_is_that_of_coop(store, tmp_path):
    settings = {**FORCED, "schedule": "step", "warmup_learning_rate": None}
    forced = run(store, tmp_path, "fa", {**settings, "copies": 0}, out="forced")
    plain = run(store, tmp_path, "coop", settings, out="plain")
    assert forced.arrays.keys() == plain.arrays.keys()
    for name, values in plain.arrays.items():
        np.testing.assert_array_equal(forced.arrays[name], values)


def test_a_killed_run_keeps_the_texts_of_the_start(store, tmp_path, monkeypatch):
    settings = {**FORCED, "copies": 2}
    run(store, tmp_path, "fa", settings, out="whole")
    monkeypatch.setattr("ltood.adapting.steps.SAVE_SECONDS", 0.0)
    # The first text is that of the start.
    monkeypatch.setattr("ltood.adapting.learning.Learner.text", _interrupt_at(4))
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path, "fa", settings)
    monkeypatch.undo()
    run(store, tmp_path, "fa", settings)
    assert content(tmp_path / "head") == content(tmp_path / "whole")


def test_sct_without_weights_is_locoop_bit_for_bit(store, tmp_path):
    plain = run(store, tmp_path, "locoop", SMALL, out="plain")
    settings = {**SMALL, "weight_id": "none", "weight_ood": "none"}
    own = run(store, tmp_path, "sct", settings, out="own")
    for name, values in plain.arrays.items():
        np.testing.assert_array_equal(own.arrays[name], values)
    weighted = run(store, tmp_path, "sct", SMALL, out="weighted")
    assert not np.array_equal(weighted.arrays["weight"], plain.arrays["weight"])


def test_other_weights_and_widths_are_refused(store, tmp_path, rng):
    encoder = prompt_samples.encoder()
    other = TextEncoder(encoder.tower, encoder.vocabulary, "77" * 32)
    with pytest.raises(StoreError, match="made with weights 5e5e5e5e5e5e… but the text encoder"):
        run(store, tmp_path, encoder=other)
    splits = prompt_samples.random_splits(rng, 3, dim=8)
    narrow = prompt_samples.write_store(tmp_path / "n.zarr", splits, NAMES)
    with pytest.raises(DataError, match=r"n\.zarr have width 8 but text embeddings have 32"):
        run(narrow, tmp_path)


def test_a_recipe_that_trains_a_backbone_is_refused(store, tmp_path):
    with pytest.raises(ConfigError, match="recipe cross_entropy makes no head"):
        run(store, tmp_path, "cross_entropy", {})


def test_names_of_a_file_are_part_of_the_inputs(store, tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("hound\nbird\nfish\n", encoding="utf-8")
    settings = to_section(zero_shot.Config(class_names=str(file)))
    head = run(store, tmp_path, "zero_shot", settings)
    assert head.inputs["names"] == ["hound", "bird", "fish"]
    assert list(head.class_names) == NAMES


def test_all_settings_of_the_recipe_are_recorded(store, tmp_path):
    settings = to_section(locoop.Config(n_ctx=2, epochs=1))
    assert run(store, tmp_path, settings=settings).inputs["recipe"]["settings"] == settings
