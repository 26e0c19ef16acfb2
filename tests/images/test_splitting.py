import hashlib
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
def test_counts_are_within_one_of_the_shares(labels, rule):
    rows = pictures(labels)
    found = divide(*rows[:2], rule, rows[2])
    exact = [Fraction(repr(share)) for share in rule.shares]
    for label in set(labels):
        counts = np.bincount(found[rows[0] == label], minlength=3)
        assert counts[0] >= 1
        # The first is for training, however small that share is.
        over = max(0, 1 - exact[0] * int(counts.sum()))
        for count, share in zip(counts.tolist(), exact, strict=True):
            assert abs(count - share * int(counts.sum())) <= 1 + over


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


def test_a_class_of_few_pictures_trains():
    for num, wanted in {
        1: [1, 0, 0],
        2: [2, 0, 0],
        3: [2, 0, 1],
        5: [4, 0, 1],
        6: [4, 1, 1],
    }.items():
        rows = pictures([0] * num)
        found = divide(*rows[:2], Rule((0.7, 0.1, 0.2)), rows[2])
        assert np.bincount(found, minlength=3).tolist() == wanted
