import hashlib
import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.images.splitting import UNKNOWN, Rule, divide

parts = st.integers(0, 50)
rules = st.builds(
    lambda train, val, test, seed: Rule(
        tuple(part / (train + val + test) for part in (train, val, test)), seed
    ),
    st.integers(1, 50),
    parts,
    parts,
    st.integers(0, 3),
)


def pictures(labels, numbers=None):
    numbers = range(len(labels)) if numbers is None else numbers
    digests = [hashlib.sha256(str(number).encode()).digest() for number in numbers]
    return np.array(labels, np.int64), digests, np.full(len(labels), UNKNOWN, np.int8)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), rules)
def test_counts_are_the_shares_rounded_up_or_down(labels, rule):
    rows = pictures(labels)
    found = divide(*rows[:2], rule, rows[2])
    exact = [Fraction(repr(share)) for share in rule.shares]
    for label in set(labels):
        counts = np.bincount(found[rows[0] == label], minlength=3).tolist()
        assert counts[0] >= 1
        num = sum(counts)
        # The first is for training, however small that share is.
        if exact[0] * num >= 1:
            for count, share in zip(counts, exact, strict=True):
                assert math.floor(share * num) <= count <= math.ceil(share * num)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=60),
    rules,
    st.integers(0, 60),
)
def test_same_bytes_stay_together_and_nothing_known_moves(rows, rule, num_old):
    labels, digests, new = pictures(*zip(*rows, strict=True))
    first = divide(labels[:num_old], digests[:num_old], rule, new[:num_old])
    known = new.copy()
    known[: len(first)] = first
    found = divide(labels, digests, rule, known)
    assert (found[: len(first)] == first).all()
    assert set(found.tolist()) <= {0, 1, 2}
    splits = {}
    for digest, split in zip(digests, found.tolist(), strict=True):
        assert splits.setdefault(digest, split) == split


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), rules, st.randoms())
def test_the_order_of_rows_does_not_matter(labels, rule, random):
    labels, digests, new = pictures(labels)
    order = list(range(len(labels)))
    random.shuffle(order)
    found = divide(labels, digests, rule, new)
    shuffled = divide(labels[order], [digests[row] for row in order], rule, new)
    assert (shuffled == found[order]).all()


def counts(found):
    return np.bincount(found, minlength=3).tolist()


def test_many_small_classes_give_all_splits():
    for size in (2, 3, 5):
        rows = pictures([label for label in range(300) for _ in range(size)])
        found = divide(*rows[:2], Rule((0.7, 0.1, 0.2)), rows[2])
        shares = np.array(counts(found)) / len(found)
        np.testing.assert_allclose(shares, (0.7, 0.1, 0.2), atol=0.01)
        trained = np.bincount(rows[0][found == 0], minlength=300)
        assert trained.min() == int(0.7 * size)


def test_a_class_of_few_pictures_trains():
    for num, wanted in {1: [1, 0, 0], 10: [7, 1, 2], 20: [14, 2, 4], 100: [70, 10, 20]}.items():
        rows = pictures([0] * num)
        assert counts(divide(*rows[:2], Rule((0.7, 0.1, 0.2)), rows[2])) == wanted
