import dataclasses

import pytest
import torch
from choosing_samples import directions, inputs_of

from ltood.choosing.candidates import Candidate
from ltood.choosing.held_classes import Draw
from ltood.choosing.material import Material, gathered
from ltood.choosing.trial import Trial
from ltood.core.batches import FeatureBatch
from ltood.core.members import Member
from ltood.ops.held_methods import HeldMethod
from ltood.ops.statistics import class_statistics

DRAW = Draw(0, held_out=(1, 4), kept=(0, 2, 3, 5), share=0.3)
KINDS = ("mixup", "shuffle", "noise")


def material(*, limit=1000, declared=False, text=False, **more):
    train, val, head = directions(**more)
    if text:
        head = dataclasses.replace(head, logit_scale=torch.tensor(100.0))
    aux = FeatureBatch({**val.arrays, "labels": torch.full_like(val.labels, -1)})
    inputs = inputs_of(train, val, head, aux=aux, batch_rows=50)
    outliers = inputs.aux if declared else None
    return Material.of(inputs, share=0.5, limit=limit, seed=0, declared=outliers), train, val


def rows(source, arrays=("features", "labels", "ids")):
    batches = list(source.batches(arrays=arrays))
    return {name: torch.cat([batch.arrays[name] for batch in batches]) for name in arrays}


def test_statistics_are_those_of_the_kept_classes_numbered_anew():
    shared, train, _ = material(counts=(40, 30, 20, 10, 5, 1))
    inputs = Trial(shared, DRAW, KINDS, 5e-4).inputs()
    found = class_statistics(inputs)
    assert found.counts.tolist() == [40, 20, 10, 1]
    assert inputs.prior.counts.tolist() == [40, 20, 10, 1]
    assert len(inputs.train) == 71
    for place, own in enumerate(DRAW.kept):
        mean = train.features[train.labels == own].double().mean(dim=0)
        torch.testing.assert_close(found.means[place], mean)


def test_logits_of_all_rows_are_those_of_the_head_of_the_kept_classes():
    shared, _, _ = material()
    inputs = Trial(shared, DRAW, KINDS, 5e-4).inputs()
    assert inputs.head.num_classes == 4
    for source in (inputs.train, inputs.val, inputs.aux):
        assert source.num_classes in (4, 6)
        found = rows(source, ("features", "logits"))
        torch.testing.assert_close(found["logits"], inputs.head.logits(found["features"]))


def test_held_out_rows_of_the_inputs_are_used_rows_of_kept_classes():
    shared, _, val = material()
    found = rows(Trial(shared, DRAW, KINDS, 5e-4).inputs().val)
    allowed = shared.is_used & torch.isin(val.labels, torch.tensor(DRAW.kept))
    assert sorted(found["ids"].tolist()) == sorted(val.ids[allowed].tolist())


@pytest.mark.parametrize("text", [False, True])
def test_a_head_is_refitted_unless_it_is_made_of_text_or_to_be_sliced(text):
    shared, _, _ = material(text=text)
    whole, kept = shared.inputs.head, list(DRAW.kept)
    refitted = Trial(shared, DRAW, KINDS, 5e-4).head()
    sliced = Trial(shared, DRAW, KINDS, None).head()
    assert torch.equal(sliced.weight, whole.weight[kept])
    assert torch.equal(refitted.weight, sliced.weight) == text


def test_sets_hold_rows_from_which_nothing_has_learned():
    shared, _, val = material()
    trial = Trial(shared, DRAW, KINDS, 5e-4)
    inputs = trial.inputs()
    ensemble = HeldMethod(Member("knn"))
    learned = val.ids[shared.is_used][::2]

    class Learner:
        arrays = frozenset({"features"})

        def learned_rows(self, ids, labels):
            assert labels.max() < 4
            return torch.isin(ids, learned)

    sets = trial.sets(inputs.head, [ensemble, Learner()])
    is_kept = torch.isin(val.labels, torch.tensor(DRAW.kept))
    unseen = shared.is_used & is_kept & ~torch.isin(val.ids, learned)
    assert len(sets["id"]) == int(unseen.sum()) == len(sets["noise"])
    assert len(sets["held_out"]) == int((shared.is_used & ~is_kept).sum())
    assert {tuple(row) for row in sets["held_out"].features.tolist()} == {
        tuple(row) for row in val.features[shared.is_used & ~is_kept].tolist()
    }
    assert "labels" not in sets["id"].arrays


def test_halves_of_declared_outliers_are_disjoint_and_whole():
    shared, _, val = material(declared=True)
    trial = Trial(shared, DRAW, KINDS, 5e-4)
    learned = rows(trial.inputs().aux, ("ids",))["ids"].tolist()
    judging = shared.declared_rows(["features"]).ids.tolist()
    assert sorted(learned + judging) == sorted(val.ids.tolist())
    assert abs(len(learned) - len(judging)) <= 1


def test_rows_are_thinned_by_their_ids():
    shared, _, val = material(limit=20)
    is_all = torch.ones_like(val.ids, dtype=torch.bool)
    source = shared.inputs.val
    few = gathered(source, is_all, val.ids, ["features"], 20, 0)
    more = gathered(source, is_all, val.ids, ["features"], 40, 0)
    assert len(few) == 20
    assert set(few.ids.tolist()) < set(more.ids.tolist())
    others = gathered(source, is_all, val.ids, ["features"], 20, 1)
    assert set(few.ids.tolist()) != set(others.ids.tolist())


def test_wide_rows_are_held_within_a_bound_of_memory(monkeypatch):
    shared, _, val = material()
    monkeypatch.setattr("ltood.choosing.material.MOST_BYTES", 4 * 16 * 7)
    chosen = torch.ones_like(val.ids, dtype=torch.bool)
    assert len(shared.rows_of(chosen, ["features"])) == 7


def test_a_candidate_at_fault_fails_alone():
    shared, _, _ = material()
    candidates = [Candidate("knn", {"k": 3}), Candidate("knn", {"k": 9999}), Candidate("energy")]
    good, bad, other = Trial(shared, DRAW, KINDS, 5e-4).run(candidates)
    assert "knn" in bad.reason
    assert len(good) == len(other) == 4
    assert all(0 <= value <= 1 for value in good + other)
