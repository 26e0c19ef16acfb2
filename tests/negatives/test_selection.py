import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from ltood.core.errors import DataError
from ltood.negatives.selection import Closeness, by_images, by_names, select
from ltood.negatives.settings import Rules


def texts(seed, words=17, classes=6, dim=5):
    rng = torch.Generator().manual_seed(seed)
    return (normalize(torch.randn(n, dim, generator=rng), dim=1) for n in (words, classes))


@given(st.integers(0, 500), st.floats(0.01, 1), st.integers(1, 20))
def test_words_are_ranked_by_a_quantile_of_their_cosines(seed, quantile, size):
    words, names = texts(seed)
    found = by_names(torch.split(words, size), names, Rules(quantile=quantile, exclude_above=0.4))
    cosines = words.double().numpy() @ names.double().numpy().T
    np.testing.assert_allclose(found.rank, np.quantile(cosines, quantile, axis=1), atol=1e-6)
    clear = np.abs(cosines.max(axis=1) - 0.4) > 1e-5
    np.testing.assert_array_equal(found.allowed[clear], (cosines.max(axis=1) <= 0.4)[clear])


@given(st.integers(0, 500), st.integers(1, 20))
def test_interneg_asks_for_less_than_the_own_name_of_every_class(seed, size):
    words, names = texts(seed)
    images = normalize(names + 0.5 * next(iter(texts(seed + 1, words=6))), dim=1)
    found = by_images(torch.split(words, size), names, images)
    for word, rank, allowed in zip(words, found.rank, found.allowed, strict=True):
        gaps = [
            float(name @ image - word @ image) for name, image in zip(names, images, strict=True)
        ]
        assert rank == pytest.approx(-np.mean(gaps), abs=1e-6)
        if min(map(abs, gaps)) > 1e-6:
            assert allowed == all(gap > 0 for gap in gaps)


def closeness(ranks, allowed=None):
    given_ = np.array(ranks, dtype=float)
    return Closeness(given_, np.ones(len(ranks), bool) if allowed is None else np.array(allowed))


def test_a_share_of_each_kind_is_kept_the_farthest_first():
    kinds = ["noun", "adjective"] * 10
    found = select(closeness(range(20, 0, -1)), kinds, Rules(share=0.3))
    assert found.tolist() == [18, 16, 14, 19, 17, 15]


def test_a_share_counts_excluded_words_and_keeps_one():
    kinds = ["noun"] * 8 + ["adjective"]
    ranks = [*range(8), 5]
    allowed = [False, False, *[True] * 7]
    assert select(closeness(ranks, allowed), kinds, Rules(share=0.5)).tolist() == [2, 3, 4, 5, 8]
    assert select(closeness(ranks), ["noun"] * 9, Rules(share=0.01)).tolist() == [0]


def test_a_number_is_split_between_the_kinds():
    kinds = ["noun"] * 8 + ["adjective"] * 4
    assert select(closeness(range(12)), kinds, Rules(labels=6)).tolist() == [0, 1, 2, 3, 8, 9]
    allowed = [False] * 4 + [True] * 8
    found = select(closeness(range(12), allowed), kinds, Rules(labels=6))
    assert found.tolist() == [4, 5, 6, 8, 9, 10]
    assert len(select(closeness(range(12)), kinds, Rules(labels=100))) == 12


def test_equal_words_keep_the_order_of_the_list():
    assert select(closeness([1] * 6), ["noun"] * 6, Rules(share=0.5)).tolist() == [0, 1, 2]


def test_no_word_is_an_error():
    with pytest.raises(DataError, match="exclude_above"):
        select(closeness([1, 2], [False, False]), ["noun", "noun"], Rules())
