import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import outlier_class as reference

from ltood.calibrators.logit_adjustment import LogitAdjustment
from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.core.slots import check_needs
from ltood.methods.bin_disc import BinDisc
from ltood.methods.outlier_class import OutlierClass, mean_log_odds
from ltood.ops.calibrated import calibrated_head, calibrated_inputs

C, D = 4, 6


def make_head(num_outliers=3, num_nodes=0, experts=0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    total = C + num_nodes + num_outliers
    weight = torch.randn(max(experts, 1), total, D, generator=rng)
    bias = torch.randn(max(experts, 1), total, generator=rng)
    extra = {} if experts == 0 else {"expert_weight": weight, "expert_bias": bias}
    return ClassifierHead(
        weight.mean(0)[:C],
        bias.mean(0)[:C],
        weight.mean(0)[C:],
        bias.mean(0)[C:],
        outlier_classes=torch.tensor(float(num_outliers)),
        **extra,
    )


def rows(num=9, seed=1):
    return torch.randn(num, D, generator=torch.Generator().manual_seed(seed))


def mass(scores):
    return torch.sigmoid(scores.double()).numpy()


def fitted(head, prior=None, **settings):
    return OutlierClass(**settings).fit(FitInputs(head=head, prior=prior))


@pytest.mark.parametrize(("num_outliers", "num_nodes"), [(1, 0), (3, 0), (2, 1)])
def test_reference(num_outliers, num_nodes):
    head, features = make_head(num_outliers, num_nodes), rows()
    weight = torch.cat([head.weight, head.extra_weight[num_nodes:]]).double().numpy()
    bias = torch.cat([head.bias, head.extra_bias[num_nodes:]]).double().numpy()
    expected = [
        reference.outlier_class(row, [(weight, bias)], num_outliers)
        for row in features.double().numpy()
    ]
    got = fitted(head).score(FeatureBatch.of(features, head=head))
    np.testing.assert_allclose(mass(got), expected, rtol=1e-5)


def test_reference_of_experts():
    head, features = make_head(3, experts=3), rows()
    pairs = zip(head.expert_weight.numpy(), head.expert_bias.numpy(), strict=True)
    heads = [(weight.astype(float), bias.astype(float)) for weight, bias in pairs]
    expected = [reference.outlier_class(row, heads, 3) for row in features.double().numpy()]
    got = fitted(head).score(FeatureBatch.of(features, head=head))
    np.testing.assert_allclose(mass(got), expected, rtol=1e-5)


def test_equal_experts_are_one_head():
    head = make_head(2)
    whole = torch.cat([head.weight, head.extra_weight]), torch.cat([head.bias, head.extra_bias])
    twice = dataclasses.replace(
        head, expert_weight=whole[0].repeat(2, 1, 1), expert_bias=whole[1].repeat(2, 1)
    )
    batch = FeatureBatch.of(rows())
    torch.testing.assert_close(fitted(twice).score(batch), fitted(head).score(batch))


@pytest.mark.parametrize("experts", [0, 3])
def test_logit_adjustment_before_it_is_the_calibration_of_cocl(experts):
    head, features = make_head(2, experts=experts), rows()
    prior = ClassPrior(np.array([50, 20, 5, 1]))
    inputs = FitInputs(head=head, prior=prior)
    calibrator = LogitAdjustment().fit(inputs)
    method = OutlierClass().fit(calibrated_inputs(inputs, calibrator))
    got = method.score(FeatureBatch.of(features, head=calibrated_head(head, calibrator)))
    # The outlier classes have the prior 1.
    shift = np.concatenate([np.log(prior.probabilities()), np.zeros(2)])
    if experts:
        pairs = zip(head.expert_weight.numpy(), head.expert_bias.numpy(), strict=True)
    else:
        pairs = [
            (
                torch.cat([head.weight, head.extra_weight]).numpy(),
                torch.cat([head.bias, head.extra_bias]).numpy(),
            )
        ]
    heads = [(weight.astype(float), bias - shift) for weight, bias in pairs]
    expected = [reference.outlier_class(row, heads, 2) for row in features.double().numpy()]
    np.testing.assert_allclose(mass(got), expected, rtol=1e-4)


def test_confident_rows_do_not_tie():
    head = ClassifierHead(
        torch.tensor([[0.0], [0.0]]),
        torch.zeros(2),
        torch.tensor([[1.0]]),
        torch.zeros(1),
        outlier_classes=torch.tensor(1),
    )
    scores = fitted(head).score(FeatureBatch.of(torch.tensor([[90.0], [91.0], [-90.0]])))
    np.testing.assert_allclose(scores, np.array([90, 91, -90]) - np.log(2), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-60, 60), min_size=1, max_size=5))
def test_the_mean_of_probabilities_lies_between_them(odds):
    got = mean_log_odds(torch.tensor(odds, dtype=torch.float64)[:, None]).item()
    assert min(odds) - 1e-9 <= got <= max(odds) + 1e-9
    wanted = np.mean([1 / (1 + np.exp(-value)) for value in odds])
    assert 1 / (1 + np.exp(-got)) == pytest.approx(wanted, rel=1e-9)


def test_a_number_in_the_settings_stands_for_what_the_head_does_not_say():
    said = make_head(2)
    silent = dataclasses.replace(said, outlier_classes=None)
    batch = FeatureBatch.of(rows())
    expected = fitted(said).score(batch)
    assert torch.equal(fitted(silent, outlier_classes=2).score(batch), expected)
    method = OutlierClass(outlier_classes=2)
    check_needs("method outlier_class", method.needs, FitInputs(head=silent), has_local=False)
    with pytest.raises(ConfigError, match=r"outlier_class\.outlier_classes is 5, .* has 2"):
        fitted(silent, outlier_classes=5)
    with pytest.raises(ConfigError, match="outlier_classes"):
        OutlierClass(outlier_classes=0)


def test_heads_without_such_classes_are_refused():
    silent = dataclasses.replace(make_head(2), outlier_classes=None)
    with pytest.raises(MissingNeedError, match="classes of outliers"):
        fitted(silent)
    needs = OutlierClass().needs
    with pytest.raises(MissingNeedError, match="outlier_classes"):
        check_needs("method outlier_class", needs, FitInputs(head=silent), has_local=False)


@pytest.mark.parametrize(("num_nodes", "there"), [(0, False), (1, True)])
def test_a_class_of_outliers_is_taken_for_a_detector_node_by_none(num_nodes, there):
    inputs = FitInputs(head=make_head(2, num_nodes))
    if there:
        check_needs("method bin_disc", BinDisc().needs, inputs, has_local=False)
    else:
        with pytest.raises(MissingNeedError, match="detector node"):
            check_needs("method bin_disc", BinDisc().needs, inputs, has_local=False)


@pytest.mark.parametrize("number", [-1.0, 0.5, 3.0])
def test_a_number_that_the_head_cannot_have_is_refused(number):
    with pytest.raises(DataError, match="outlier_classes"):
        dataclasses.replace(make_head(2), outlier_classes=torch.tensor(number))
