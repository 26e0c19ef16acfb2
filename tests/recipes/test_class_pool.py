import numpy as np
import pytest
import torch
from conftest import load_golden

from ltood.recipes._class_pool import RIDGE, ClassPool


@pytest.fixture(scope="module")
def golden():
    return load_golden("imood_training")


def kept(pool, label):
    """Rows of a class, oldest first."""
    start, size = int(pool.start[label]), int(pool.capacity[label])
    rows = pool.queue[start : start + size]
    seen = int(pool.seen[label])
    return rows[:seen] if seen < size else rows.roll(-(seen % size), dims=0)


def by_hand(rows, labels, capacity):
    """Lists from which the oldest row drops."""
    lists = [[] for _ in capacity]
    for row, label in zip(rows, labels, strict=True):
        lists[label].append(row)
        if len(lists[label]) > capacity[label]:
            lists[label].pop(0)
    return lists


def test_holds_the_latest_rows_of_each_class(rng):
    capacity = [4, 2, 1]
    pool = ClassPool(capacity, 3)
    rows, labels = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    for cut in (slice(0, 1), slice(1, 4), slice(4, 30), slice(30, 40)):
        pool.update(torch.tensor(rows[cut]), torch.tensor(labels[cut]))
        lists = by_hand(rows[: cut.stop], labels[: cut.stop], capacity)
        for label, expected in enumerate(lists):
            found = kept(pool, label)
            assert torch.equal(found, torch.tensor(np.array(expected)).view(-1, 3))
    means, covariance = pool.gaussian()
    arrays = [np.array(members, dtype=np.float64) for members in lists]
    expected = [members.mean(axis=0) for members in arrays]
    np.testing.assert_allclose(means, expected, rtol=1e-12, atol=1e-12)
    pairs = zip(arrays, expected, strict=True)
    residuals = np.concatenate([members - mean for members, mean in pairs])
    np.testing.assert_allclose(covariance, residuals.T @ residuals / 7, rtol=1e-12, atol=1e-12)
    assert not pool.queue[-1].any()


def test_means_and_inverse_covariance_are_the_published_ones(golden):
    pool = ClassPool([60] * 7, 64).double()
    rows = torch.tensor(golden["pool_feats"], dtype=torch.float64)
    labels = torch.tensor(golden["pool_labels"])
    for start in range(0, len(rows), 50):
        pool.update(rows[start : start + 50], labels[start : start + 50])
    means, covariance = pool.gaussian()
    np.testing.assert_allclose(means, golden["f64_pool_mean"], rtol=1e-8)
    inverse = torch.linalg.inv(covariance + RIDGE * torch.eye(64))
    expected = golden["f64_pool_covinv"]
    np.testing.assert_allclose(inverse, expected, rtol=1e-8, atol=1e-8)


def test_first_rows_alone_give_the_published_queue(golden):
    pool = ClassPool([4] * 7, 64).double()
    whole = ClassPool([4] * 7, 64)
    for rows, labels in zip(golden["stream_feats"], golden["stream_labels"], strict=True):
        pool.update(torch.tensor(rows, dtype=torch.float64), torch.tensor(labels), first_only=True)
        whole.update(torch.tensor(rows), torch.tensor(labels))
    np.testing.assert_array_equal(pool.counts, golden["f64_stream_count"])
    for label, expected in enumerate(golden["f64_stream_queue"]):
        rows = kept(pool, label)
        np.testing.assert_array_equal(rows, expected[: len(rows)])
        assert not expected[len(rows) :].any()
    assert (whole.seen > pool.seen).any()


def test_distances_are_those_to_the_nearest_mean_and_reach_the_features(rng):
    pool = ClassPool([20, 20], 4)
    rows, labels = rng.normal(size=(40, 4)), np.repeat([0, 1], 20)
    rows[20:] += 3
    pool.update(torch.tensor(rows), torch.tensor(labels))
    points = torch.tensor(rng.normal(size=(6, 4)), requires_grad=True)
    found = pool.min_distances(points)
    means, covariance = pool.gaussian()
    inverse = np.linalg.inv(covariance.numpy() + RIDGE * np.eye(4))
    gaps = points.detach().numpy()[:, None] - means.numpy()
    expected = np.einsum("nkd,de,nke->nk", gaps, inverse, gaps).min(axis=1)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10)
    found.sum().backward()
    assert points.grad.all()


def test_is_ready_when_every_class_has_rows_and_all_have_more_than_dimensions():
    rows, ones = torch.ones(1, 3), torch.tensor([1])
    pool = ClassPool([9, 2], 3)
    steps = [0, 0, 0, 0, 1, 1]
    states = []
    for label in steps:
        pool.update(rows, torch.tensor([label]))
        states.append(pool.ready())
    assert states == [False] * 5 + [True]
    assert torch.equal(pool.min_distances(rows + 1) > 0, torch.tensor([True]))
    small = ClassPool([1, 1], 3)
    small.update(rows, torch.tensor([0]))
    assert not small.ready()
    assert not small.min_distances(rows + 1).any()
    small.update(rows, ones)
    assert small.ready()


def test_a_restored_pool_goes_on_as_the_first_one_would(rng):
    pools = [ClassPool([3, 2], 5), ClassPool([3, 2], 5)]
    batches = [
        (torch.tensor(rng.normal(size=(4, 5))).float(), torch.tensor(rng.integers(0, 2, 4)))
        for _ in range(6)
    ]
    for rows, labels in batches[:3]:
        pools[0].update(rows, labels)
    pools[1].load_state_dict(pools[0].state_dict())
    for pool in pools:
        for rows, labels in batches[3:]:
            pool.update(rows, labels)
    first, second = (pool.state_dict() for pool in pools)
    assert all(torch.equal(first[name], second[name]) for name in first)
