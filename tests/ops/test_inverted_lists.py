import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.ops.inverted_lists import InvertedLists
from ltood.ops.neighbours import search


def clustered(seed, num, clusters=12, dim=16):
    rng = np.random.default_rng(seed)
    rows = 3 * rng.normal(size=(clusters, dim))[np.arange(num) % clusters]
    return torch.tensor((rows + rng.normal(size=rows.shape)).astype(np.float32))


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**16),
    num=st.integers(3, 60),
    lists=st.integers(1, 80),
    k=st.integers(1, 3),
    queries=st.integers(0, 5),
)
def test_looking_at_every_list_is_exact(seed, num, lists, k, queries):
    rows, asked = clustered(seed, num), clustered(seed + 1, queries)
    index = InvertedLists.of(rows, lists, seed)
    assert index.ends[-1] == num
    assert len(index.centroids) == min(lists, num)
    assert torch.equal(index.rows.sort(dim=0).values, rows.sort(dim=0).values)
    found, squared = index.search(asked, k, lists)
    exact = search(asked, rows, k)
    torch.testing.assert_close(index.rows[found], rows[exact.indices])
    torch.testing.assert_close(squared, exact.distances.square(), rtol=1e-4, atol=1e-3)
    assert index.recall(k, lists) == 1


@pytest.mark.parametrize("k", [1, 5, 290])
def test_few_lists_never_give_a_closer_row(k):
    rows, asked = clustered(0, 300), clustered(1, 40)
    index = InvertedLists.of(rows, 17, 0)
    exact = search(asked, rows, k).distances[:, -1]
    found = [index.distances(asked, k, probes) for probes in (1, 4, 17)]
    assert all((exact <= distances + 1e-4).all() for distances in found)
    torch.testing.assert_close(found[-1], exact, rtol=1e-4, atol=1e-4)


def test_more_lists_find_more_and_a_seed_decides():
    rows = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
    index = InvertedLists.of(rows, 40, 3)
    recalls = [index.recall(3, probes) for probes in (1, 8, 40)]
    assert recalls[0] < recalls[2] == 1
    assert recalls == sorted(recalls)
    same, other = (InvertedLists.of(rows, 40, seed) for seed in (3, 4))
    assert torch.equal(index.rows, same.rows)
    assert not torch.equal(index.centroids, other.centroids)
