import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.gram import gram as reference
from reference.gram import gram_sums as sums_of

from ltood.core.batches import FeatureBatch
from ltood.core.errors import DataError, MissingNeedError
from ltood.extraction import gram as extraction
from ltood.methods import gram as module
from ltood.methods.gram import Gram

NAME = "gram/sums"


def rows(seed, num, classes=3, shape=(2, 3, 5)):
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num, classes, generator=rng)
    sums = torch.randn(num, *shape, generator=rng) + logits.argmax(dim=1).view(-1, 1, 1, 1)
    return FeatureBatch.of(logits=logits, labels=logits.argmax(dim=1), extras={NAME: sums})


def pair(batch):
    return batch.extra(NAME).numpy(), batch.logits.numpy()


@pytest.mark.parametrize("num", [1, 7, 60])
@pytest.mark.parametrize("block", [1, 2**22])
def test_reference(monkeypatch, num, block):
    monkeypatch.setattr(module, "_BLOCK_VALUES", block)
    # Of three classes one may have no predicted training row.
    train, val, tested = rows(0, num), rows(1, 9), rows(2, 11)
    got = Gram().fit(train, val=val).score(tested)
    expected = reference(pair(tested), pair(val), pair(train))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_training_rows_do_not_deviate():
    train = rows(0, 40)
    assert (Gram().fit(train, val=rows(1, 9)).score(train) == 0).all()


@given(st.integers(0, 99), st.floats(1e-2, 1e2))
def test_neither_unit_nor_order_of_layers_nor_columns_of_zeros_matter(seed, unit):
    batches = [rows(seed + place, 20) for place in range(3)]

    def changed(batch):
        sums = batch.extra(NAME).flip(1).clone()
        sums[:, 0] *= unit
        wider = torch.cat([sums, torch.zeros_like(sums)], dim=3)
        return FeatureBatch.of(logits=batch.logits, labels=batch.labels, extras={NAME: wider})

    train, val, tested = batches
    expected = Gram().fit(train, val=val).score(tested)
    train, val, tested = map(changed, batches)
    got = Gram().fit(train, val=val).score(tested)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@given(st.integers(0, 99), st.sampled_from([1e-3, 1.0, 50.0, 1e12]), st.booleans())
def test_row_sums_are_those_of_whole_matrices(seed, scale, rectified):
    rng = torch.Generator().manual_seed(seed)
    maps = scale * torch.randn(3, 6, 7, generator=rng)
    maps = maps.relu() if rectified else maps
    orders = (1, 2, 3, 10)
    # Float64 holds the powers of the reference; of an odd order sums may cancel.
    expected = np.array([sums_of(image.numpy() / scale, orders) for image in maps]) * scale**2
    got = extraction.gram_sums(maps, orders)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * scale**2)


def test_row_sums_do_not_depend_on_other_images(monkeypatch):
    maps = torch.randn(5, 4, 6)
    together = extraction.gram_sums(maps, (1, 5))
    monkeypatch.setattr(extraction, "BLOCK_VALUES", 1)
    assert torch.equal(extraction.gram_sums(maps, (1, 5)), together)
    assert (extraction.gram_sums(torch.zeros(2, 3, 4), (1, 2)) == 0).all()


def test_other_shapes_are_refused():
    method = Gram().fit(rows(0, 20), val=rows(1, 9))
    with pytest.raises(DataError, match="3 orders"):
        method.score(rows(2, 4, shape=(2, 4, 5)))
    flat = FeatureBatch.of(logits=torch.rand(2, 3), labels=[0, 1], extras={NAME: torch.rand(2, 4)})
    with pytest.raises(DataError, match=r"\[N, layers, orders, channels\]"):
        Gram().fit(flat, val=rows(1, 9))


def test_the_extra_array_is_named():
    with pytest.raises(MissingNeedError, match=r"gram/sums.*extraction\.extras"):
        Gram().fit(FeatureBatch.of(logits=torch.rand(4, 3), labels=[0, 1, 2, 1]), val=rows(1, 5))
