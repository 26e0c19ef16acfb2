import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import negatives as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.mcm import MCM
from ltood.methods.neglabel import NegLabel
from ltood.ops import negatives as ops


def made(seed, num_classes=5, dim=8, labels=23, rows=9, *, length=3.0):
    """Features, text features of classes and of negative labels; none of unit length."""
    rng = np.random.default_rng(seed)
    sizes = (rows, dim), (num_classes, dim), (labels, dim)
    return [torch.tensor(length * rng.normal(size=size), dtype=torch.float32) for size in sizes]


def scores(features, weight, negatives, **settings):
    head = ClassifierHead(weight, torch.zeros(len(weight)), negative_weight=negatives)
    return NegLabel(**settings).fit(FitInputs(head=head)).score(FeatureBatch.of(features))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (4, 0), (5, 3), (23, 0), (100, 1)])
def test_reference(groups, seed, temperature):
    features, weight, negatives = made(0)
    size = max(1, 23 // groups)
    used = negatives[: min(groups, 23) * size]
    order = torch.randperm(len(used), generator=torch.Generator().manual_seed(seed))
    dealt = used[order].reshape(-1, size, 8)
    expected = [reference.neglabel(row, weight, dealt, temperature) for row in features]
    got = scores(features, weight, negatives, groups=groups, seed=seed, temperature=temperature)
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-7)


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 9))
def test_one_group_is_one_softmax(seed, num_classes, labels):
    features, weight, negatives = made(seed, num_classes, labels=labels)
    cosines = torch.nn.functional.cosine_similarity(
        features[:, None].double(), torch.cat([weight, negatives])[None].double(), dim=2
    )
    known = torch.softmax(cosines / 0.05, dim=1)[:, :num_classes].sum(dim=1)
    got = scores(features, weight, negatives, groups=1, temperature=0.05)
    torch.testing.assert_close(got.double(), 1 - known, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 1000), st.integers(2, 6))
def test_with_the_other_classes_for_negative_labels_it_is_mcm(seed, num_classes):
    features, weight, _ = made(seed, num_classes)
    others = [
        scores(features, row[None], torch.cat([weight[:c], weight[c + 1 :]]), groups=1)
        for c, row in enumerate(weight)
    ]
    head = ClassifierHead(weight, torch.zeros(num_classes))
    mcm = MCM(temperature=0.01).fit(FitInputs(head=head)).score(FeatureBatch.of(features))
    torch.testing.assert_close(torch.stack(others).amin(dim=0) - 1, mcm, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 4))
def test_repeated_labels_add_to_the_odds(seed, times):
    features, weight, negatives = made(seed, labels=6)
    once = scores(features, weight, negatives, groups=1, temperature=0.2)
    more = scores(features, weight, negatives.repeat(times, 1), groups=1, temperature=0.2)
    expected = torch.sigmoid(torch.logit(once.double()) + np.log(times))
    torch.testing.assert_close(more.double(), expected, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_order_of_labels_matters_to_groups_alone(seed, groups):
    features, weight, negatives = made(seed, labels=12)
    shuffled = negatives[torch.randperm(12, generator=torch.Generator().manual_seed(seed))]
    # One label for each group, or one group of all: however they are dealt.
    for wanted in {1, 12, 12 + groups}:
        torch.testing.assert_close(
            scores(features, weight, shuffled, groups=wanted, temperature=0.1),
            scores(features, weight, negatives, groups=wanted, temperature=0.1),
            rtol=1e-4,
            atol=1e-6,
        )


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
def test_each_of_the_first_labels_is_in_one_group(labels, groups, seed):
    dealt = ops.grouped(torch.arange(labels)[:, None].float(), groups, seed)
    assert len(dealt) == min(groups, labels)
    found = sorted(dealt.flatten().tolist())
    assert found == list(range(labels - labels % min(groups, labels)))


@given(st.integers(0, 1000), st.floats(1e-4, 100))
def test_scores_are_probabilities_at_any_temperature(seed, temperature):
    features, weight, negatives = made(seed)
    features = torch.cat([features, weight, -weight, negatives, torch.zeros(1, 8)])
    got = scores(features, weight, negatives, groups=3, temperature=temperature)
    assert torch.isfinite(got).all()
    assert ((got >= 0) & (got <= 1)).all()


def test_lengths_and_blocks_of_rows_do_not_matter(monkeypatch):
    features, weight, negatives = made(1)
    expected = scores(features, weight, negatives, groups=4)
    got = scores(features * 7, weight * 0.01, negatives / 3, groups=4)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
    monkeypatch.setattr(ops, "CHUNK_VALUES", 40)
    got = scores(features, weight, negatives, groups=4)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_what_is_in_use_is_told():
    features, weight, negatives = made(0)
    head = ClassifierHead(weight, torch.zeros(5), negative_weight=negatives)
    method = NegLabel(groups=4).fit(FitInputs(head=head))
    assert method.derived() == {"groups": 4, "labels": 20}
    assert NegLabel().fit(FitInputs(head=head)).derived() == {"groups": 23, "labels": 23}
    assert len(method.score(features.numpy()[:0])) == 0


def test_arrays_are_given_by_name():
    features, weight, negatives = made(0)
    method = NegLabel(groups=4).fit(head=(weight, None), negatives=negatives.numpy())
    got = method.score(features.numpy())
    np.testing.assert_array_equal(got, scores(features, weight, negatives, groups=4))


def test_without_negative_labels_it_is_refused():
    features, weight, negatives = made(0)
    with pytest.raises(MissingNeedError, match="negative_weight"):
        NegLabel().fit(head=(weight, None))
    with pytest.raises(MissingNeedError, match="head"):
        NegLabel().fit(features)
    with pytest.raises(DataError, match="head="):
        NegLabel().fit(negatives=negatives)
    with pytest.raises(DataError, match="negatives"):
        NegLabel().fit(head=(weight, None), negatives=negatives[:, :7])
    with pytest.raises(DataError, match="negative_weight"):
        NegLabel().fit(head=(weight, None), negatives=negatives * float("nan"))
    head = ClassifierHead(weight, torch.zeros(5), negative_weight=negatives)
    with pytest.raises(DataError, match="negative_weight"):
        NegLabel().fit(head=head, negatives=negatives)
    with pytest.raises(DataError, match="FitInputs"):
        NegLabel().fit(FitInputs(head=head), negatives=negatives)
    for wrong in (torch.ones(8), torch.ones(0, 8)):
        with pytest.raises(DataError, match="negative_weight"):
            ClassifierHead(weight, torch.zeros(5), negative_weight=wrong)


@pytest.mark.parametrize(("key", "value"), [("groups", 0), ("temperature", 0.0), ("seed", -1)])
def test_ranges(key, value):
    with pytest.raises(ConfigError, match=key):
        NegLabel(**{key: value})
