import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.oodd import bank, oodd

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.oodd import OODD

SMALL = {"k_train": 3, "k_memory": 2, "queue": 6, "batch": 5}


def make_rows(seed, count, dim=4, classes=3):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, dim))
    features = rng.normal(size=(count, dim)) + 2 * weight[np.arange(count) % classes]
    return features, np.arange(count) % classes, (weight, np.zeros(classes))


def reference(seed, new, **settings):
    features, labels, (weight, bias) = make_rows(seed, 21)
    given = {**SMALL, "share": 0.5, "stabilise": True, **settings}
    kept = bank(features, features @ weight.T + bias, labels, given["share"])
    step = given["batch"]
    batches = [new[start : start + step] for start in range(0, len(new), step)]
    names = ("k_train", "k_memory", "queue", "stabilise")
    first = given.get("official_update_first", False)
    return oodd(kept, batches, **{key: given[key] for key in names}, update_first=first)


@given(
    seed=st.integers(0, 50),
    batch=st.integers(1, 12),
    queue=st.integers(1, 9),
    stabilise=st.booleans(),
    share=st.sampled_from([0.3, 0.5, 1.0]),
    first=st.booleans(),
)
def test_it_equals_the_loops(seed, batch, queue, stabilise, share, first):
    features, labels, head = make_rows(seed, 21)
    new = make_rows(seed + 1, 17)[0]
    settings = {
        **SMALL,
        **{"batch": batch, "queue": queue, "stabilise": stabilise, "share": share},
        "official_update_first": first,
    }
    found = OODD(**settings).fit(features, labels, head=head).score(new)
    np.testing.assert_allclose(found, reference(seed, new, **settings), atol=2e-5)


def test_a_row_is_not_its_own_neighbour():
    features, labels, head = make_rows(0, 21)
    far = -10 * np.ones((1, 4))
    settings = {**SMALL, "stabilise": False, "k_memory": 1}
    late = OODD(**settings).fit(features, labels, head=head).score(far)
    early = OODD(**settings, official_update_first=True).fit(features, labels, head=head).score(far)
    # Compared with itself, it is as near to the memory as can be.
    assert early - late == pytest.approx(1, abs=1e-5)


def test_the_memory_holds_the_rows_that_are_least_like_training_rows():
    features, labels, head = make_rows(0, 30)
    method = OODD(**{**SMALL, "stabilise": False, "queue": 4}).fit(features, labels, head=head)
    memory, new = method.start(), torch.tensor(make_rows(9, 40)[0]).float()
    for part in new.split(7):
        method.step(memory, FeatureBatch.of(part))
    nearness = method.prepared(FeatureBatch.of(new)).column("nearness")
    torch.testing.assert_close(memory._nearness.sort().values, nearness.sort().values[:4])


def test_order_within_a_batch_does_not_matter():
    features, labels, head = make_rows(0, 30)
    new = torch.tensor(make_rows(3, 24)[0]).float()
    method = OODD(**{**SMALL, "batch": 8}).fit(features, labels, head=head)
    order = torch.cat([torch.randperm(8) + start for start in (0, 8, 16)])
    torch.testing.assert_close(method.score(new[order]), method.score(new)[order])


def test_a_bank_smaller_than_k_is_refused():
    features, labels, head = make_rows(0, 8)
    with pytest.raises(ConfigError, match="k_train"):
        OODD(k_train=5).fit(features, labels, head=head)
    with pytest.raises(DataError):
        OODD().fit(FitInputs.of(features[:0], labels[:0], head=head))


def test_one_class_and_one_row_are_scored():
    features, _, _ = make_rows(0, 8)
    head = (np.ones((1, 4)), np.zeros(1))
    found = OODD(**SMALL).fit(features, np.zeros(8, int), head=head).score(features[:1])
    assert np.isfinite(found).all()
