import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pooled_samples import made, scored
from reference import grood as reference
from reference.scores import class_means

from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.inputs import FitInputs
from ltood.methods.grood import GROOD, Config, gradients


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 5), dim=st.integers(1, 9))
def test_the_closed_form_is_the_gradient_of_autograd(seed, classes, dim):
    rng = np.random.default_rng(seed)
    row, outlier = rng.normal(size=(2, dim))
    means = 2 * rng.normal(size=(classes, dim))
    expected = reference.gradient(row, means, outlier, int(rng.integers(classes)))
    got = gradients(torch.tensor(row[None]), torch.tensor(means), torch.tensor(outlier))
    np.testing.assert_allclose(got[0], expected, rtol=1e-9, atol=1e-12)


def expected(case, prototype, k, lam=0.5, aux=None):
    means = class_means(case.train, case.labels, len(case.bias))
    present = means[sorted(set(case.labels.tolist()))]
    logits = case.head.logits(torch.tensor(case.train)).numpy()
    outlier = {
        "mean": lambda: present.mean(axis=0),
        "aux": lambda: aux.astype(np.float64).mean(axis=0),
        "mixup": lambda: reference.mixture(case.train, means, logits, lam),
    }[prototype]()
    is_right = case.predictions == case.labels
    assert 0 < is_right.sum() < len(is_right)
    bank = [reference.gradient(row, present, outlier, 0) for row in case.train[is_right]]
    return [reference.grood(row, 0, bank, present, outlier, k) for row in case.rows]


@pytest.mark.parametrize("prototype", ["mixup", "mean", "aux"])
@pytest.mark.parametrize(("sizes", "k"), [({}, 1), ({"counts": (12, 6)}, 3), ({"dim": 90}, 2)])
def test_reference(rng, prototype, sizes, k):
    case = made(rng, **sizes)
    aux = made(rng, **sizes).rows
    got = scored(GROOD(Config(prototype=prototype, k=k)), case, aux=aux)
    np.testing.assert_allclose(got, expected(case, prototype, k, aux=aux), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.8, 1.0])
def test_weight_of_the_mixture(rng, lam):
    case = made(rng)
    got = scored(GROOD(Config(lam=lam)), case)
    np.testing.assert_allclose(got, expected(case, "mixup", 1, lam), rtol=1e-4, atol=1e-6)


def test_a_class_without_rows_is_never_mixed_with(rng):
    case = made(rng, counts=(30, 0, 10))
    case.bias[1] = 1  # likely, though it has no rows
    detector = GROOD(Config(lam=0.0)).fit(case.inputs())
    assert len(detector.learned("means_")) == 2
    low, high = (getattr(detector.learned("means_"), end)(dim=0) for end in ("amin", "amax"))
    prototype = detector.learned("prototype_")
    assert ((prototype >= low - 1e-6) & (prototype <= high + 1e-6)).all()


def test_training_rows_that_are_right_score_zero(rng):
    case = made(rng)
    is_right = case.predictions == case.labels
    got = GROOD().fit(case.inputs()).score(torch.tensor(case.train))
    assert (got[torch.tensor(is_right)] == 0).all()
    assert (got[torch.tensor(~is_right)] > 0).all()


def test_a_row_at_the_prototype_has_no_gradient(rng):
    case = made(rng)
    detector = GROOD().fit(case.inputs())
    outlier = detector.learned("prototype_")
    got = gradients(outlier[None], detector.learned("means_"), outlier)
    assert torch.equal(got, torch.zeros_like(got))


def test_what_cannot_be_fitted_is_refused(rng):
    case = made(rng)
    with pytest.raises(MissingNeedError, match="auxiliary outlier"):
        GROOD(Config(prototype="aux")).fit(case.inputs())
    with pytest.raises(ConfigError, match=r"methods.grood.k is 1000"):
        GROOD(Config(k=1000)).fit(case.inputs())
    with pytest.raises(ConfigError, match=r"methods.grood.prototype is 'mixup'"):
        GROOD().fit(made(rng, counts=(5,)).inputs())
    wrong = made(rng)
    wrong.labels[:] = (wrong.predictions + 1) % 3
    with pytest.raises(DataError, match="predicts no training row as its label"):
        GROOD().fit(wrong.inputs())


def test_it_asks_for_what_gives_predictions(rng):
    rows, labels = rng.normal(size=(9, 4)).astype(np.float32), np.arange(9) % 3
    with pytest.raises(MissingNeedError, match="head"):
        GROOD().fit(FitInputs.of(rows, labels))


def test_a_share_of_the_rows_is_kept(rng):
    case = made(rng)
    detector = GROOD(Config(fraction=0.5)).fit(case.inputs())
    whole = GROOD().fit(case.inputs())
    kept, all_rows = len(detector.learned("bank_")), len(whole.learned("bank_"))
    assert 0 < kept < all_rows
    rows = torch.tensor(case.rows)
    assert (detector.score(rows) >= whole.score(rows) - 1e-6).all()
