"""Text in columns: wide characters take two."""

from hypothesis import given
from hypothesis import strategies as st

from ltood.evaluation.tables import aligned
from ltood.runtime.widths import padded, shortened, width

NAMES = st.text(st.sampled_from("ab é漢字ｶ한🦊"), min_size=1, max_size=30)


def test_wide_characters_take_two_columns():
    assert [width(text) for text in ("ab", "é", "漢字", "🦊")] == [2, 1, 4, 2]


@given(NAMES, st.integers(1, 40))
def test_a_name_fits_its_column(text, columns):
    fits = shortened(text, columns)
    assert width(fits) <= columns
    assert fits == text or fits.endswith("…")
    assert width(padded(fits, columns)) == columns


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5))
def test_aligned_lines_are_equally_wide(rows):
    assert len({width(line) for line in aligned(rows)}) == 1
