"""What is said of a threshold that few rows set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.deployment.exporting import threshold_at
from ltood.deployment.wording import rows_note


def described(rows, tpr):
    """Threshold of rows with different scores, as a detector describes it."""
    scores = np.arange(rows, dtype=float)
    accepted = float((scores <= threshold_at(scores, tpr)).mean())
    return {"rows": rows, "accepted": accepted, "tpr": tpr, "split": "val"}


def test_few_rows_say_what_can_be_reached_and_how_many_are_needed():
    note = rows_note(described(4, 0.95))
    assert "1 in 5 (20.0%)" in note
    assert "19 rows of val" in note
    assert "1 row " in rows_note(described(1, 0.95))


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_note_is_there_exactly_where_few_rows_lie_above(rows, tpr):
    note = rows_note(described(rows, tpr))
    above = rows - round(described(rows, tpr)["accepted"] * rows)
    assert (note is None) == (above >= 9)
    if note is not None:
        assert ("cannot" in note) == (1 - tpr > 0 and (rows + 1) * round(1 - tpr, 6) < 1)


@pytest.mark.parametrize("rows", [19, 60])
def test_the_share_to_expect_is_that_of_new_rows(rows):
    random = np.random.default_rng(0)
    scores = np.sort(random.normal(size=(4000, rows)))
    new = random.normal(size=4000)
    place = int(threshold_at(np.arange(rows), 0.95))
    seen = float(np.mean(new > scores[:, place]))
    said = float(rows_note(described(rows, 0.95)).split("average ")[1].split("%")[0]) / 100
    assert seen == pytest.approx(said, abs=0.015)
