import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.ops.spaced import spaced


def source_of(num):
    rows = torch.arange(float(num))[:, None]
    return TensorSource(FeatureBatch.of(rows, labels=torch.arange(num)), max(1, num))


@given(num=st.integers(1, 40), wanted=st.integers(1, 40), batch=st.integers(1, 45))
def test_rows_are_evenly_spaced_however_they_are_read(num, wanted, batch):
    found = spaced(source_of(num), wanted)
    parts = list(found.batches(batch))
    rows = torch.cat([part.labels for part in parts]).tolist()
    assert len(rows) == len(found) == min(num, wanted)
    assert rows == torch.cat([part.features[:, 0] for part in parts]).tolist()
    gaps = {b - a for a, b in itertools.pairwise(rows)}
    assert gaps <= {num // len(rows), -(-num // len(rows))}


@pytest.mark.parametrize("num", [0, 3])
def test_few_rows_stay_the_source_they_are(num):
    source = source_of(num)
    assert spaced(source, 3) is source
