"""Counts in sentences."""

from hypothesis import given
from hypothesis import strategies as st

from ltood.core.words import counted


@given(st.integers(0, 10**9))
def test_one_thing_is_one(number):
    for more, one, several in (((), "file", "files"), (("classes",), "class", "classes")):
        digits, _, word = counted(number, one, *more).partition(" ")
        assert int(digits.replace(",", "")) == number
        assert word == (one if number == 1 else several)
