import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.made_outliers import midpoints

from ltood.choosing.keyed import keyed, keyed_normal
from ltood.choosing.pseudo import outliers
from ltood.core.batches import FeatureBatch

KINDS = ("mixup", "shuffle", "noise")


def batch(num=60, dim=5, classes=4, seed=0, local=False):
    rng = torch.Generator().manual_seed(seed)
    rows = {
        "features": torch.randn(num, dim, generator=rng),
        "labels": torch.randint(0, classes, (num,), generator=rng),
        "ids": torch.randperm(10 * num, generator=rng)[:num],
    }
    if local:
        rows["local"] = torch.randn(num, 3, dim, generator=rng)
    return FeatureBatch(rows)


def by_row(rows):
    """Rows in an order that depends on nothing but their numbers."""
    return torch.tensor(sorted(rows.flatten(1).tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_rows_does_not_matter(kind):
    rows = batch(local=True)
    order = torch.randperm(len(rows))
    shuffled = FeatureBatch({name: tensor[order] for name, tensor in rows.arrays.items()})
    one, other = outliers(kind, rows, 7), outliers(kind, shuffled, 7)
    for name in ("features", "local"):
        torch.testing.assert_close(by_row(one[name]), by_row(other[name]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    rows = batch()
    assert torch.equal(outliers(kind, rows, 1)["features"], outliers(kind, rows, 1)["features"])
    assert not torch.equal(
        by_row(outliers(kind, rows, 1)["features"]), by_row(outliers(kind, rows, 2)["features"])
    )


def test_mixtures_are_midpoints_of_rows_of_different_classes():
    rows = batch()
    made = outliers("mixup", rows, 0)["features"]
    allowed = midpoints(rows.features, rows.labels)
    distance = (made[:, None] - allowed).abs().amax(dim=2).amin(dim=1)
    assert distance.max() < 1e-6


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_every_row_is_mixed_unless_one_class_has_half_of_them(labels):
    labels = torch.tensor(labels)
    features = torch.eye(len(labels))
    rows = FeatureBatch({"features": features, "labels": labels, "ids": torch.arange(len(labels))})
    made = outliers("mixup", rows, 0)["features"]
    for row in made:
        first, second = row.nonzero()[:, 0].tolist()
        assert labels[first] != labels[second]
    if torch.bincount(labels).amax() * 2 <= len(labels):
        assert len(made) == len(labels)


def test_shuffled_dimensions_keep_their_values_and_lose_their_rows():
    rows = batch(num=200)
    made = outliers("shuffle", rows, 0)["features"]
    torch.testing.assert_close(made.sort(dim=0).values, rows.features.sort(dim=0).values)
    whole = {tuple(row) for row in rows.features.tolist()}
    assert sum(tuple(row) in whole for row in made.tolist()) <= 2


def test_noise_adds_as_much_variance_as_each_dimension_has():
    rows = batch(num=4000)
    rows = FeatureBatch({**rows.arrays, "features": rows.features * torch.logspace(-2, 2, 5)})
    made = outliers("noise", rows, 0)["features"]
    torch.testing.assert_close(made.var(dim=0), 2 * rows.features.var(dim=0), rtol=0.1, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_unit_rows_stay_unit_rows_and_activations_stay_positive(kind):
    rows = batch()
    unit = torch.nn.functional.normalize(rows.features, dim=1)
    made = outliers(kind, FeatureBatch({**rows.arrays, "features": unit}), 0)["features"]
    torch.testing.assert_close(made.norm(dim=1), torch.ones(len(made)))
    positive = FeatureBatch({**rows.arrays, "features": rows.features.relu()})
    assert outliers(kind, positive, 0)["features"].min() >= 0


def test_numbers_of_an_id_do_not_depend_on_the_others():
    ids = torch.arange(100)
    assert torch.equal(keyed(ids, 3)[17:40], keyed(ids[17:40], 3))
    assert torch.equal(keyed_normal(ids, 4, 3)[17:40], keyed_normal(ids[17:40], 4, 3))


def test_numbers_are_uniform_and_normal():
    ids = torch.arange(20_000)
    assert torch.histc(keyed(ids, 0), 10, 0, 1).sub(2000).abs().max() < 5 * 42.5
    normal = keyed_normal(ids, 3, 0)
    assert normal.mean(dim=0).abs().max() < 5 / 20_000**0.5
    torch.testing.assert_close(torch.cov(normal.T), torch.eye(3).double(), rtol=0, atol=0.05)
