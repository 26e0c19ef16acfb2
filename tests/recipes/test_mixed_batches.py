from dataclasses import replace

import numpy as np
import pytest
import torch
from outlier_samples import GoldenStep

from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.recipes import build_recipe
from ltood.recipes._mixed_batches import logit_shift, mixed_pass


def test_rows_and_outputs_are_told_apart():
    step = GoldenStep(num_aux_outputs=2)
    out = mixed_pass(step.batch, 7)
    outputs = step.backbone.classify(step.rows)
    assert torch.equal(out.labels, step.batch.labels.repeat(2))
    assert torch.equal(out.pooled, step.rows[:48])
    assert torch.equal(out.aux_pooled, step.rows[48:])
    for found, expected in (
        (out.logits, outputs[:48, :7]),
        (out.aux_logits, outputs[48:, :7]),
        (out.nodes, outputs[:48, 7:]),
        (out.aux_nodes, outputs[48:, 7:]),
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["outlier_exposure", "energy_oe", "bin_disc"])
def test_the_number_of_views_is_a_setting(name):
    prior = ClassPrior(np.array([8, 4, 2]))
    found = [build_recipe(name, given, prior).num_views for given in ({}, {"views": 2})]
    assert found == [1, 2]
    with pytest.raises(ConfigError, match=rf"recipes\.{name}\.views is 3"):
        build_recipe(name, {"views": 3}, prior)


def test_a_batch_holds_as_many_views_as_the_recipe_takes():
    from training.test_batches import make_batches

    batches = make_batches(lambda prior: build_recipe("bin_disc", {"views": 2}, prior))
    batch = batches.batch(0, 0)
    assert len(batch.views) == 2
    assert not torch.equal(*batch.views)


def test_half_precision_is_widened_for_the_losses():
    step = GoldenStep()
    views = tuple(view.float() for view in step.batch.views)
    batch = replace(step.batch, views=views, aux=step.batch.aux.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert step.backbone.float()(views[0]).logits.dtype == torch.bfloat16
        out = mixed_pass(batch, 7)
    assert out.logits.dtype == torch.float32


def test_a_batch_without_outliers_is_refused():
    step = GoldenStep()
    batch = replace(step.batch, aux=None)
    with pytest.raises(MissingNeedError, match=r"holds no auxiliary outliers.*split aux"):
        mixed_pass(batch, 7)


def test_the_shift_is_the_logarithm_of_the_shares():
    prior = ClassPrior(np.array([90, 9, 1]))
    expected = 0.5 * np.log([0.9, 0.09, 0.01])
    np.testing.assert_allclose(logit_shift(prior, 0.5), expected, rtol=1e-6)


def test_only_a_shift_of_strength_zero_bears_empty_classes():
    prior = ClassPrior(np.array([3, 0]))
    assert logit_shift(prior, 0.0).tolist() == [0, 0]
    with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
        logit_shift(prior, 1.0)
