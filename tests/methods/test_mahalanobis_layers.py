import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.mahalanobis_layers import mahalanobis_layers as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import DataError, MissingNeedError
from ltood.methods.mahalanobis import Mahalanobis
from ltood.methods.mahalanobis_layers import MahalanobisLayers

NAME = "layers/means"
WIDTHS = (3, 6, 4)


def rows(seed, counts, widths=WIDTHS):
    """Rows of some classes, whose layers are zero behind their widths."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    means = torch.zeros(len(labels), len(widths), max(widths))
    for layer, width in enumerate(widths):
        means[:, layer, :width] = torch.randn(len(labels), width, generator=rng)
        means[:, layer, :width] += (layer + 1.0) * labels[:, None]
    return FeatureBatch.of(labels=labels, extras={NAME: means})


def fitted(train, val, **chosen):
    return MahalanobisLayers(**chosen).fit(train, val=val)


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ((30, 20, 10), {}),
        ((30, 20, 10), {"ridge": 0.5}),
        ((20, 0, 9), {"normalise": True, "ridge": 0.01}),  # a class without rows
        ((12, 1), {}),  # two classes, one of a single row
        ((3, 2), {}),  # fewer rows than columns
    ],
)
def test_reference(counts, chosen):
    train, val, tested = rows(0, counts), rows(1, (8,) * len(counts)), rows(2, (4, 3))
    expected = reference(
        *(batch.extra(NAME).numpy() for batch in (tested, val, train)),
        train.labels.numpy(),
        len(counts),
        **chosen,
    )
    got = fitted(train, val, **chosen).score(tested)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(1, 7))
def test_one_layer_orders_rows_as_mahalanobis(seed, width):
    train, val, tested = (rows(seed + i, (20, 15), (width,)) for i in range(3))
    method = fitted(train, val)
    plain = Mahalanobis().fit(train.extra(NAME)[:, 0], train.labels)
    distances = plain.score(tested.extra(NAME)[:, 0]).double()
    expected = (distances - method.centre_) / method.spread_
    torch.testing.assert_close(method.score(tested), expected.float(), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.permutations(range(len(WIDTHS))), st.floats(1e-3, 1e3))
def test_neither_order_nor_unit_of_layers_nor_columns_of_zeros_matter(seed, order, unit):
    batches = [rows(seed + i, (20, 15)) for i in range(3)]

    def changed(batch):
        means = batch.extra(NAME)[:, list(order)].clone()
        means[:, 0] *= unit
        wider = torch.cat([means, torch.zeros_like(means)], dim=2)
        return FeatureBatch.of(labels=batch.labels, extras={NAME: wider})

    expected = fitted(*batches[:2]).score(batches[2])
    got = fitted(*map(changed, batches[:2])).score(changed(batches[2]))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_held_out_rows_have_mean_zero_and_layers_count_alike():
    train, val = rows(0, (50, 50)), rows(1, (30, 30))
    method = fitted(train, val)
    standard = (method._distances(val) - method.centre_) / method.spread_
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(standard.square().mean(dim=0), torch.ones(3, dtype=torch.float64))
    assert method.score(val).mean().abs() < 1e-5


def test_one_held_out_row_gives_no_unit():
    train, val = rows(0, (20, 20)), rows(1, (1,))
    method = fitted(train, val)
    assert (method.spread_ == 1).all()
    expected = (method._distances(train) - method._distances(val)).mean(dim=1)
    torch.testing.assert_close(method.score(train), expected.float())


def test_a_layer_without_variance_is_refused():
    train = rows(0, (20, 20))
    dead = train.extra(NAME).clone()
    dead[:, 1] = 0
    with pytest.raises(DataError, match="ridge"):
        fitted(FeatureBatch.of(labels=train.labels, extras={NAME: dead}), train)


def test_other_layers_are_refused():
    method = fitted(rows(0, (20, 20)), rows(1, (5, 5)))
    with pytest.raises(DataError, match="of 3 layers"):
        method.score(rows(2, (4,), WIDTHS[:2]))
    with pytest.raises(DataError, match="layers, width"):
        fitted(FeatureBatch.of(labels=[0, 1], extras={NAME: [[1.0], [2.0]]}), rows(1, (5, 5)))


def test_the_extra_array_is_named():
    method = fitted(rows(0, (20, 20)), rows(1, (5, 5)))
    with pytest.raises(MissingNeedError, match=r"layers/means.*extraction\.extras"):
        method.score(torch.rand(2, 6))
    with pytest.raises(MissingNeedError, match=r"layers/means.*extraction\.extras"):
        MahalanobisLayers().fit(torch.rand(4, 6), [0, 0, 1, 1], val=rows(1, (5, 5)))


def test_every_held_out_row_has_been_learned_from():
    method = fitted(rows(0, (20, 20)), rows(1, (5, 5)))
    assert method.learned_rows(torch.arange(4), torch.zeros(4)).all()


def test_a_batch_of_training_rows_holds_their_labels():
    train, val = rows(0, (20, 20)), rows(1, (5, 5))
    with pytest.raises(DataError, match="labels"):
        MahalanobisLayers().fit(train, train.labels, val=val)
