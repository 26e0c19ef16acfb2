import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.ops import distances
from ltood.ops.distances import pair_distances
from ltood.ops.graphs import writing


@given(
    seed=st.integers(0, 2**32 - 1),
    gap=st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 1.0]),
    shift=st.sampled_from([0.0, 1.0, 1e6]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_close_pairs_keep_their_digits(seed, gap, shift, scale):
    rng = np.random.default_rng(seed)
    rows, others = shift + rng.normal(size=(2, 6, 5))
    others[:3] = rows[:3] + gap * rng.normal(size=(3, 5))
    rows, others = scale * rows, scale * others
    expected = np.linalg.norm(rows[:, None] - others, axis=2)
    got = pair_distances(torch.tensor(rows), torch.tensor(others))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=0)
    with writing():
        written = pair_distances(torch.tensor(rows), torch.tensor(others))
    np.testing.assert_allclose(written, expected, rtol=1e-9, atol=0)


def test_many_close_pairs_are_taken_in_parts(monkeypatch, rng):
    monkeypatch.setattr(distances, "DIFFERENCE_VALUES", 7)
    rows = torch.tensor(rng.normal(size=(9, 3)))
    assert pair_distances(rows, rows).diagonal().eq(0).all()
    assert pair_distances(rows[:1].expand(9, 3), rows[:1].expand(4, 3)).eq(0).all()
    assert pair_distances(rows[:0], rows).shape == (0, 9)
