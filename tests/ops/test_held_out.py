import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.ops.held_out import first_part, ids_and_strata, keyed_hash


def splitmix(state: int) -> int:
    """One number of splitmix64, as its definition has it, in whole numbers of any size."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.integers(0, 2**63 - 1))
def test_the_hash_is_that_of_whole_numbers(ids, seed):
    found = keyed_hash(np.array(ids, dtype=np.int64), seed)
    assert found.tolist() == [splitmix((number % 2**64) ^ splitmix(seed)) for number in ids]


def test_the_hash_is_the_published_one():
    # The first outputs of splitmix64 with seed 0, whose state grows by a constant.
    states = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    key = np.uint64(splitmix(0))
    found = keyed_hash((states ^ key).view(np.int64), 0)
    assert found.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


strata_lists = st.lists(st.integers(0, 4), min_size=1, max_size=80)


@given(strata_lists, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]), st.integers(0, 99))
def test_every_stratum_gives_its_share_to_less_than_a_row(strata, share, seed):
    strata = torch.tensor(strata)
    chosen = first_part(torch.arange(len(strata)) * 7, strata, share, seed)
    for stratum in [strata == value for value in strata.unique()] + [strata >= 0]:
        assert abs(int(chosen[stratum].sum()) - share * int(stratum.sum())) < 1 + 1e-9
    assert int(chosen.sum()) == int(share * len(strata) + 1e-9)


@given(strata_lists, st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(strata, seed, random):
    strata = torch.tensor(strata)
    ids = torch.arange(len(strata)) * 3 + 5
    order = list(range(len(strata)))
    random.shuffle(order)
    chosen = first_part(ids, strata, 0.5, seed)
    assert torch.equal(first_part(ids[order], strata[order], 0.5, seed), chosen[order])


def test_the_seed_decides_and_every_row_has_its_chance():
    ids, strata = torch.arange(40), torch.arange(40) % 3
    parts = torch.stack([first_part(ids, strata, 0.5, seed) for seed in range(400)])
    assert (parts[0] != parts[1]).any()
    assert torch.equal(parts[0], first_part(ids, strata, 0.5, 0))
    shares = parts.double().mean(dim=0)  # A standard deviation is 0.025.
    assert 0.4 < shares.min() < shares.max() < 0.6
    # Rows of one class are drawn without regard to one another: about as often together.
    together = (parts[:, 0] == parts[:, 3]).double().mean()
    assert 0.4 < together < 0.6


@pytest.mark.parametrize("labels", ["given", "unknown", "absent"])
def test_strata_are_labels_or_else_predictions(labels):
    logits = torch.eye(3)[torch.tensor([2, 0, 1, 1])]
    arrays = {"logits": logits, "ids": torch.tensor([4, 9, 2, 7])}
    if labels != "absent":
        arrays["labels"] = torch.tensor([0, 1, 2, 0] if labels == "given" else [-1, 1, -1, 0])
    ids, strata = ids_and_strata(TensorSource(FeatureBatch(arrays), 3))
    assert ids.tolist() == [4, 9, 2, 7]
    expected = {"given": [0, 1, 2, 0], "unknown": [2, 1, 1, 0], "absent": [2, 0, 1, 1]}
    assert strata.tolist() == expected[labels]


def test_without_labels_and_head_all_rows_are_one_stratum():
    batch = FeatureBatch({"features": torch.zeros(3, 2), "ids": torch.tensor([4, 9, 2])})
    ids, strata = ids_and_strata(TensorSource(batch, 3))
    assert ids.tolist() == [4, 9, 2]
    assert strata.tolist() == [-1, -1, -1]
