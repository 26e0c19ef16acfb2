import numpy as np
import pytest
import torch
from reference.neco import neco as reference
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.methods.neco import NECO, Config


def made(rng, num_rows=60, dim=10, rows=12):
    labels = rng.integers(3, size=num_rows)
    train = (rng.normal(size=(num_rows, dim)) + 2 * labels[:, None]).astype(np.float32)
    train *= np.linspace(0.1, 5, dim, dtype=np.float32)
    return train, labels, (3 * rng.normal(size=(rows, dim))).astype(np.float32)


def fitted(train, labels, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels))
    return NECO(Config(**{"max_logit": False, **settings})).fit(inputs)


@pytest.mark.parametrize("dim", [1, 4, 9])
def test_textbook(rng, dim):
    train, labels, rows = made(rng)
    got = fitted(train, labels, dim=dim).score(FeatureBatch.of(torch.tensor(rows)))
    np.testing.assert_allclose(got, reference(rows, train, dim), rtol=1e-5)


def test_scaler_and_components_of_scikit_learn(rng):
    train, labels, rows = made(rng)
    train[:, 2] = 0.1  # a constant feature keeps its unit
    scaler = StandardScaler().fit(train.astype(np.float64))
    components = PCA(4).fit(scaler.transform(train.astype(np.float64)))
    points = scaler.transform(rows.astype(np.float64))
    inside = np.linalg.norm(components.transform(points), axis=1)
    got = fitted(train, labels, dim=4).score(FeatureBatch.of(torch.tensor(rows)))
    np.testing.assert_allclose(got, -inside / np.linalg.norm(points, axis=1), rtol=1e-5)


def test_max_logit_multiplies(rng):
    train, labels, rows = made(rng)
    batch = FeatureBatch.of(torch.tensor(rows), torch.tensor(rows[:, :3]))
    plain = fitted(train, labels).score(batch)
    got = fitted(train, labels, max_logit=True).score(batch)
    torch.testing.assert_close(got, plain * torch.tensor(rows[:, :3].max(axis=1)))


def test_the_product_is_the_default_and_the_share_alone_reads_no_logits():
    assert NECO().config.max_logit
    assert NECO().arrays == ("features", "logits")
    assert NECO(max_logit=False).arrays == ("features",)


def test_the_unit_of_a_feature_does_not_matter(rng):
    train, labels, rows = made(rng)
    units = (10.0 ** np.arange(-5, 5)).astype(np.float32)
    expected = fitted(train, labels, dim=3).score(FeatureBatch.of(torch.tensor(rows)))
    scaled = fitted(train * units, labels, dim=3).score(FeatureBatch.of(torch.tensor(rows * units)))
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-5)


def test_wide_features(rng):
    train, labels, rows = made(rng, num_rows=40, dim=512)
    train[:, 5] = rows[0] = 0
    detector = fitted(train, labels)
    assert detector.derived() == {"dim": 39}
    assert torch.isfinite(detector.score(FeatureBatch.of(torch.tensor(rows)))).all()


def test_rows_that_do_not_vary_give_a_share_of_zero():
    detector = fitted(np.ones((4, 6), np.float32), np.array([0, 0, 1, 1]))
    assert detector.derived() == {"dim": 1}
    assert detector.score(FeatureBatch.of(torch.ones(1, 6))).tolist() == [0]


@pytest.mark.parametrize("dim", ["auto", 25])
def test_the_order_of_more_features_than_rows_does_not_matter(rng, dim):
    train, labels, rows = made(rng, num_rows=20, dim=60)
    detector = fitted(train, labels, dim=dim)
    assert detector.derived() == {"dim": 19}
    expected = detector.score(FeatureBatch.of(torch.tensor(rows)))
    order = rng.permutation(60)
    permuted = fitted(train[:, order], labels, dim=dim)
    got = permuted.score(FeatureBatch.of(torch.tensor(rows[:, order])))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    # All that the rows span is taken, so none of them is out of the ordinary.
    own = detector.score(FeatureBatch.of(torch.tensor(train)))
    torch.testing.assert_close(own, -torch.ones(20))


def test_another_dimension_reuses_the_components(rng, monkeypatch):
    train, labels, rows = made(rng)
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels))
    NECO(Config(dim=3)).fit(inputs)
    monkeypatch.delattr(torch.linalg, "eigh")
    got = (
        NECO(Config(dim=5, max_logit=False)).fit(inputs).score(FeatureBatch.of(torch.tensor(rows)))
    )
    np.testing.assert_allclose(got, reference(rows, train, 5), rtol=1e-5)


@pytest.mark.parametrize("dim", [0, -3, "all"])
def test_dim_is_a_number_or_auto(dim):
    with pytest.raises(ConfigError, match=r"methods.neco.dim is "):
        Config(dim=dim)


def test_dim_must_leave_a_residual_space(rng):
    train, labels, _ = made(rng)
    with pytest.raises(ConfigError, match=r"methods.neco.dim is 10 but the features are 10 wide"):
        fitted(train, labels, dim=10)
