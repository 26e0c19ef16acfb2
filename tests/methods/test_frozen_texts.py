"""MCM, L-MCM and GL-MCM with the frozen texts of FA beside the learned ones."""

import clip_samples
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import mcm as reference

from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.gl_mcm import GLMCM
from ltood.methods.l_mcm import LMCM
from ltood.methods.mcm import MCM

TEMPERATURES = [0.01, 0.05, 1.0]


def samples(seed, copies, dim=8):
    rng = np.random.default_rng(seed)
    inputs, batch, weight, features, local = clip_samples.random_rows(rng, dim=dim)
    frozen = (weight + 0.5 * rng.normal(size=weight.shape)).astype(np.float32)
    head = ClassifierHead(
        torch.tensor(weight),
        inputs.head.bias,
        frozen_weight=torch.tensor(frozen),
        frozen_copies=torch.tensor(float(copies)),
    )
    every = np.concatenate([weight, *[frozen] * copies])
    return FitInputs(head=head), inputs, batch, every, features, local


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("copies", [1, 2, 4])
def test_they_score_over_all_copies(temperature, copies):
    inputs, _, batch, every, features, local = samples(0, copies)
    found = MCM(temperature=temperature).fit(inputs).score(batch)
    expected = [reference.mcm(row, every, temperature) for row in features]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    found = LMCM(temperature=temperature).fit(inputs).score(batch)
    expected = [reference.l_mcm(row, every, temperature) for row in local]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    found = GLMCM(temperature=temperature, local_weight=0.5).fit(inputs).score(batch)
    rows = zip(features, local, strict=True)
    expected = [reference.gl_mcm(row, patches, every, temperature, 0.5) for row, patches in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("method", [MCM, LMCM, GLMCM])
def test_they_can_leave_the_copies_out(method):
    forced, plain, batch, *_ = samples(1, 3)
    expected = method().fit(plain).score(batch)
    assert torch.equal(method(frozen_texts=False).fit(forced).score(batch), expected)
    assert not torch.equal(method().fit(forced).score(batch), expected)
    # A fit on a head without copies forgets those of the last one.
    assert torch.equal(method().fit(forced).fit(plain).score(batch), expected)


@pytest.mark.parametrize("method", [MCM, LMCM, GLMCM])
def test_a_restored_one_has_them(method):
    inputs, _, batch, *_ = samples(2, 2)
    fitted = method().fit(inputs)
    again = method().restore(fitted.state())
    assert torch.equal(again.score(batch), fitted.score(batch))


@given(seed=st.integers(0, 2**20), copies=st.integers(1, 6))
def test_more_copies_make_no_row_surer(seed, copies):
    few, _, batch, *_ = samples(seed, copies)
    more, *_ = samples(seed, copies + 1)
    assert (MCM().fit(more).score(batch) > MCM().fit(few).score(batch)).all()


@given(seed=st.integers(0, 2**20), copies=st.integers(1, 6))
def test_frozen_texts_that_equal_the_learned_ones_divide_by_their_number(seed, copies):
    _, plain, batch, every, *_ = samples(seed, copies)
    del every
    head = ClassifierHead(
        plain.head.weight,
        plain.head.bias,
        frozen_weight=plain.head.weight,
        frozen_copies=torch.tensor(float(copies)),
    )
    found = MCM().fit(FitInputs(head=head)).score(batch)
    torch.testing.assert_close(found * (1 + copies), MCM().fit(plain).score(batch))
