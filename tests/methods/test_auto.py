import dataclasses

import numpy as np
import pytest
import torch
from choosing_samples import FEW, directions, inputs_of, reordered

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.holding import held
from ltood.core.registry import available, load
from ltood.core.settings import SettingError
from ltood.methods.auto import HOLDS, Auto
from ltood.ops.held_out import first_part


def choice(inputs, **settings):
    return Auto(**{"candidates": FEW, "draws": 4, **settings})._fit(inputs).findings()["choice"]


def ranks(found):
    return {row["title"]: row["mean_rank"] for row in found["candidates"]}


def test_the_family_that_fits_the_data_is_chosen():
    # Lengths mean nothing here, so a method that reads directions is right.
    found = choice(inputs_of(*directions()), candidates=(*FEW, "maxlogit", "residual"))
    assert found["chosen"] == found["best"] == "knn(k=3)"


def test_scores_are_those_of_the_chosen_method():
    inputs = inputs_of(*directions())
    auto = Auto(candidates=FEW, draws=4)._fit(inputs)
    knn = load("methods", "knn").Entry(k=3)._fit(inputs)
    batch = next(iter(inputs.val.batches()))
    assert auto.findings()["choice"]["chosen"] == "knn(k=3)"
    assert torch.equal(auto._score(batch), knn._score(batch))


def test_the_seed_decides_and_repeats():
    inputs = inputs_of(*directions())
    assert choice(inputs, seed=1) == choice(inputs, seed=1)
    assert choice(inputs, seed=1)["draws"] != choice(inputs, seed=2)["draws"]


def test_batches_and_order_do_not_matter():
    train, val, head = directions()
    whole = choice(inputs_of(train, val, head))
    small = choice(inputs_of(train, val, head, batch_rows=7))
    other = choice(inputs_of(reordered(train), reordered(val, 2), head))
    for found in (small, other):
        assert found["draws"] == whole["draws"]
        assert found["chosen"] == whole["chosen"]
        assert ranks(found) == pytest.approx(ranks(whole), abs=0.3)


def test_rows_for_promises_stay_untouched():
    train, val, head = directions()
    auto = Auto(candidates=FEW, draws=4)._fit(inputs_of(train, val, head))
    is_used = first_part(val.ids, val.labels, 0.5, 0)
    assert torch.equal(auto.learned_rows(val.ids, val.labels), is_used)
    assert auto.findings()["choice"]["rows"] == int(is_used.sum())
    spoilt = torch.where(is_used[:, None], val.features, 1e3 * torch.ones_like(val.features))
    changed = inputs_of(train, FeatureBatch({**val.arrays, "features": spoilt}), head)
    assert Auto(candidates=FEW, draws=4)._fit(changed).findings() == auto.findings()


def test_the_cheapest_come_first_and_the_budget_ends_them():
    inputs = inputs_of(*directions())
    found = choice(inputs, draws=3, budget=7)
    assert {row["title"] for row in found["candidates"]} == {"energy", "mahalanobis"}
    assert found["untried"] == ["knn(k=3)"]
    assert found["repeat"] == {"budget": 6}
    assert choice(inputs, draws=3, budget=9)["untried"] == []


def test_a_choice_within_seconds_is_repeated_by_the_budget_it_records(monkeypatch):
    inputs = inputs_of(*directions())
    moments = iter(range(1000))
    monkeypatch.setattr("ltood.choosing.choice.perf_counter", lambda: next(moments))
    # The clock moves by one with every look, the first of which starts the draw.
    timed = choice(inputs, candidates=(*FEW, "msp", "vim"), draws=2, seconds=6)
    assert timed["untried"]
    again = choice(inputs, candidates=(*FEW, "msp", "vim"), draws=2, **timed["repeat"])
    assert again == timed


def test_candidates_that_do_not_suit_are_named_with_the_reason():
    found = choice(inputs_of(*directions()), candidates=(*FEW, "mcm", "gl_mcm", "bin_disc"))
    assert [row["title"] for row in found["left_out"]] == ["mcm", "gl_mcm", "bin_disc"]
    assert all(row["reason"] for row in found["left_out"])


def test_a_candidate_that_fails_in_a_draw_is_left_out():
    settings = {"k": 150}  # There are 240 rows, but fewer where a third of the classes is out.
    failing = {"method": "knn", "settings": settings}
    found = choice(inputs_of(*directions()), candidates=(*FEW, failing), shares=(0.5,))
    assert [row["title"] for row in found["left_out"]] == ["knn(k=150)"]


def test_all_default_candidates_are_tried_on_a_long_tail():
    train, val, head = directions(counts=(60, 30, 12, 6, 1, 1))
    aux = FeatureBatch({**val.arrays, "labels": torch.full_like(val.labels, -1)})
    auto = Auto(draws=2)._fit(inputs_of(train, val, head, aux=aux))
    found = auto.findings()["choice"]
    titles = {row["title"] for row in found["candidates"]}
    assert {"patt+energy", "energy+imood", "himplos", "vim", "nnguide"} <= titles
    assert not {"mcm", "gl_mcm"} & titles


def test_a_store_without_a_head_has_methods_of_features():
    train, val, _ = directions()
    found = choice(inputs_of(train, val, None), candidates=("energy", "mahalanobis", "knn"))
    assert {row["title"] for row in found["candidates"]} == {"mahalanobis", "knn"}
    assert "head" in found["left_out"][0]["reason"]


def test_declared_outliers_judge_and_the_others_are_learned_from():
    train, val, head = directions()
    aux = FeatureBatch({**val.arrays, "labels": torch.full_like(val.labels, -1)})
    inputs = inputs_of(train, val, head, aux=aux)
    found = choice(inputs, outliers="aux")
    assert list(found["kinds"]) == ["held_out", "mixup", "shuffle", "noise", "declared"]
    # These outliers are ID rows of all classes, the held-out ones among them.
    for row in found["candidates"]:
        assert row["auroc"]["declared"] < row["auroc"]["held_out"]
    with pytest.raises(MissingNeedError, match="aux"):
        choice(inputs_of(train, val, head), outliers="aux")


def test_an_ensemble_is_a_candidate_and_is_judged_on_rows_it_has_not_learned_from():
    ensemble = {"method": "ensemble", "settings": {"members": ["knn", "vim"]}, "name": "pair"}
    inputs = inputs_of(*directions())
    auto = Auto(candidates=("energy", "mahalanobis", ensemble), draws=2)._fit(inputs)
    found = auto.findings()["choice"]
    assert {"energy", "mahalanobis", "pair"} == {row["title"] for row in found["candidates"]}
    assert {row["cost"] for row in found["candidates"] if row["title"] == "pair"} == {
        "several methods"
    }


def test_a_calibrated_winner_is_restored_with_its_head():
    train, val, head = directions(counts=(60, 30, 12, 6, 3, 3))
    aux = FeatureBatch({**val.arrays, "labels": torch.full_like(val.labels, -1)})
    inputs = inputs_of(train, val, head, aux=aux)
    candidates = (
        {"method": "energy", "calibrator": "patt", "normaliser": "imood"},
        {"method": "gradnorm"},
    )
    auto = Auto(candidates=candidates, draws=2)._fit(inputs)
    assert auto.findings()["choice"]["chosen"] == "patt+energy+imood"
    twin = Auto(candidates=candidates, draws=2).restore(auto.state())
    raw = FeatureBatch({"features": val.features})
    assert torch.equal(twin._score(raw), auto._score(raw))
    assert twin.arrays == auto.arrays == ("features",)


def test_kinds_that_few_held_out_rows_cannot_make_have_no_auroc():
    # With one class held out, what remains is often of a single class: nothing to mix.
    train, val, head = directions()
    order = torch.cat([(val.labels == own).nonzero()[:num, 0] for own, num in ((0, 4), (5, 2))])
    few = FeatureBatch({name: tensor[order] for name, tensor in val.arrays.items()})
    found = choice(inputs_of(train, few, head), share=1.0, shares=(0.1,))
    values = [row["auroc"] for row in found["candidates"]]
    assert {type(value["held_out"]) for value in values} == {float}
    assert all(value["mixup"] is None for value in values)
    assert all(np.isfinite(row["mean_rank"]) for row in found["candidates"])


def test_two_classes_are_too_few_and_three_suffice():
    with pytest.raises(DataError, match="2 classes"):
        choice(inputs_of(*directions(counts=(40, 40))))
    assert choice(inputs_of(*directions(counts=(40, 40, 40))))["chosen"]


def test_held_out_rows_with_classes_are_needed():
    train, val, head = directions()
    inputs = inputs_of(train, val, head)
    with pytest.raises(MissingNeedError, match="val"):
        choice(dataclasses.replace(inputs, val=None))
    nameless = FeatureBatch({**val.arrays, "labels": torch.full_like(val.labels, -1)})
    with pytest.raises(DataError, match="val_labels"):
        choice(inputs_of(train, nameless, None))


def test_fewer_than_two_usable_candidates_are_refused():
    with pytest.raises(DataError, match="candidates"):
        choice(inputs_of(*directions()), candidates=("knn", "mcm", "gl_mcm"))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"candidates": ["knn"]}, "candidates"),
        ({"candidates": ["knn", "knn"]}, "candidates"),
        ({"candidates": ["knn", "auto"]}, "candidates"),
        ({"candidates": ["knn", "kn"]}, "candidates"),
        ({"candidates": ["knn", {"method": "knn", "settings": {"q": 1}}]}, "candidates"),
        ({"candidates": ["knn", {"method": "vim", "store": "other.zarr"}]}, "candidates"),
        ({"candidates": ["vim", {"method": "knn", "normaliser": "imood"}]}, "candidates"),
        ({"shares": [1.0]}, "shares"),
        ({"shares": []}, "shares"),
        ({"pseudo": ["noise", "noise"]}, "pseudo"),
        ({"pseudo": ["blur"]}, "pseudo"),
        ({"budget": 7, "draws": 4}, "budget"),
        ({"outliers": "ood_svhn"}, "outliers"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, key):
    with pytest.raises(SettingError) as caught:
        Auto(**settings)
    assert caught.value.key == key


def test_the_code_of_all_candidates_counts_with_a_stage():
    found = held("methods", "auto", {})
    named = {name for package, name in found if package == "methods"}
    assert {"knn", "vim", "energy", "himplos"} <= named <= set(available("methods"))
    assert {("calibrators", "patt"), ("normalisers", "imood")} <= set(found)
    assert ("methods", "line") in held("methods", "auto", {"candidates": ["line", "knn"]})


def test_default_candidates_are_valid():
    assert Auto(candidates=HOLDS["candidates"]).config.members == Auto().config.members


def test_more_candidates_do_not_move_the_draws():
    inputs = inputs_of(*directions())
    few, more = choice(inputs), choice(inputs, candidates=(*FEW, "msp"))
    assert few["draws"] == more["draws"]
    aurocs = [
        {row["title"]: row["auroc"] for row in found["candidates"]}["energy"]
        for found in (few, more)
    ]
    assert aurocs[0] == aurocs[1]
    np.testing.assert_array_less(0.5, list(aurocs[0].values())[:1])


def test_messages_name_the_setting_as_python_does():
    with pytest.raises(ConfigError, match="Auto: candidates"):
        Auto(candidates=["knn"])
