import numpy as np
import pytest
import torch
from conftest import DIM
from reference import scores as reference

from ltood.calibrators.patt import PATT, Config, head_weighted, label_sums, rescale
from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.ops.logits import energy


def inputs_of(g, features=None, aux=None):
    head = ClassifierHead.from_arrays({"weight": g["head_weight"], "bias": g["head_bias"]})
    features = g["fc_feat_id"].reshape(-1, 64) if features is None else features
    aux = g["fc_feat_ood"].reshape(-1, 64) if aux is None else aux
    labels = g["fc_labels_id"].reshape(-1)[: len(features)]
    return FitInputs.of(
        torch.tensor(features).float(),
        torch.tensor(labels),
        head=head,
        prior=ClassPrior(g["counts"]),
        aux=torch.tensor(aux).float(),
    )


OFFICIAL = {"official_recursive": True, "official_batch": 50, "official_aux_batch": 40}


@pytest.mark.parametrize(("rho", "name"), [("virtual", "fc_cifar"), ("mid_prior", "fc_imagenet")])
def test_golden_of_the_official_recursion(patt_golden, rho, name):
    g = patt_golden
    inputs = inputs_of(g)
    calibrator = PATT(Config(rho, **OFFICIAL)).fit(inputs)
    np.testing.assert_allclose(
        calibrator.state()["attention_"], g[f"{name}_attention_f64"], rtol=1e-5, atol=5e-7
    )
    for split in ("id", "ood"):
        features = calibrator.transform(torch.tensor(g[f"test_feat_{split}"]))
        scores = energy(inputs.head.logits(features))
        np.testing.assert_allclose(scores, g[f"{name}_energy_{split}_f64"], rtol=1e-5)


@pytest.mark.parametrize(("rho", "name"), [("virtual", "fc_cifar"), ("mid_prior", "fc_imagenet")])
def test_golden_in_float64(patt_golden, rho, name):
    g = patt_golden
    weight, bias = torch.tensor(g["head_weight"]), torch.tensor(g["head_bias"])
    inverse = torch.tensor(g["counts"].sum() / g["counts"])
    loss_weights = inverse if rho == "virtual" else inverse[3].expand(7)
    importance = torch.zeros(64, dtype=torch.float64)
    for k in range(3):
        features, labels = torch.tensor(g["fc_feat_id"][k]), torch.tensor(g["fc_labels_id"][k])
        outliers = torch.tensor(g["fc_feat_ood"][k])
        virtual = (outliers @ weight.T + bias).argmax(dim=1)
        gain = head_weighted(label_sums(features, labels, 7), weight, inverse) / 50
        loss = head_weighted(label_sums(outliers, virtual, 7), weight, loss_weights) / 40
        importance = k * importance + gain - loss
        np.testing.assert_allclose(importance, g[f"{name}_final_score_f64"][k], rtol=1e-9)
        if rho == "virtual":
            np.testing.assert_allclose(gain - loss, g["fcmean_delta_per_batch_f64"][k], rtol=1e-9)
    attention = rescale(importance, 0.0, 2.0)
    np.testing.assert_allclose(attention, g[f"{name}_attention_f64"], rtol=1e-9, atol=1e-12)


def test_golden_of_the_mean(patt_golden):
    g = patt_golden
    mean = rescale(torch.tensor(g["fcmean_delta_per_batch_f64"]).mean(dim=0), 0.0, 2.0)
    np.testing.assert_allclose(mean, g["fcmean_attention_f64"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (0.5, 1.5)])
def test_reference(patt_golden, low, high):
    g = patt_golden
    attention = PATT(Config(low=low, high=high)).fit(inputs_of(g)).state()["attention_"]
    expected = reference.patt_attention(
        g["fc_feat_id"].reshape(-1, 64).astype(np.float32),
        g["fc_labels_id"].reshape(-1),
        g["fc_feat_ood"].reshape(-1, 64),
        g["head_weight"],
        g["head_bias"],
        g["counts"] / g["counts"].sum(),
        low,
        high,
    )
    np.testing.assert_allclose(attention, expected, rtol=1e-5, atol=1e-5)
    assert attention.min() == low
    assert attention.max() == high


def test_the_mean_weight_is_reported(patt_golden):
    calibrator = PATT().fit(inputs_of(patt_golden))
    mean = float(calibrator.state()["attention_"].mean())
    assert calibrator.derived() == {"mean_attention": pytest.approx(mean)}


def test_batches_of_the_recursion_do_not_follow_the_source(patt_golden):
    class Odd(TensorSource):
        def batches(self, rows=7, arrays=()):
            return super().batches(min(rows, 7), arrays)

    inputs = inputs_of(patt_golden)
    odd = FitInputs(
        *(Odd(next(iter(s.batches(1000))), 7) for s in (inputs.train, inputs.aux)),
        inputs.head,
        inputs.prior,
    )
    expected = PATT(Config(**OFFICIAL)).fit(inputs).state()["attention_"]
    assert torch.equal(PATT(Config(**OFFICIAL)).fit(odd).state()["attention_"], expected)


def test_a_rest_of_a_batch_is_dropped(patt_golden):
    g = patt_golden
    rest = inputs_of(g, features=g["fc_feat_id"].reshape(-1, 64)[:149])
    two = inputs_of(g, features=g["fc_feat_id"].reshape(-1, 64)[:100])
    attention = [PATT(Config(**OFFICIAL)).fit(i).state()["attention_"] for i in (rest, two)]
    assert torch.equal(*attention)


def test_equal_importance_leaves_features_alone():
    inputs = FitInputs.of(
        torch.ones(4, 3),
        torch.tensor([0, 0, 1, 1]),
        head=ClassifierHead(torch.ones(2, 3), torch.zeros(2)),
        aux=torch.ones(2, 3),
    )
    features = torch.randn(2, 3)
    assert torch.equal(PATT().fit(inputs).transform(features), features)


def test_the_leak_is_a_switch():
    assert PATT().train_split == "train"
    assert PATT(Config(official_test_leak=True)).train_split == "test"


def test_a_class_that_a_split_lacks_is_left_out(patt_golden):
    g = patt_golden
    keep = g["fc_labels_id"].reshape(-1) != 6
    features = torch.tensor(g["fc_feat_id"].reshape(-1, 64)[keep]).float()
    labels = torch.tensor(g["fc_labels_id"].reshape(-1)[keep])
    full = inputs_of(g)
    train = TensorSource(FeatureBatch.of(features, labels=labels), 7)
    inputs = FitInputs(train, full.aux, full.head, full.prior)
    attention = PATT().fit(inputs).state()["attention_"]
    assert torch.isfinite(attention).all()
    assert not torch.equal(attention, PATT().fit(full).state()["attention_"])


def test_empty_aux_is_refused(patt_golden):
    inputs = inputs_of(patt_golden, aux=np.zeros((0, 64)))
    with pytest.raises(DataError, match="split aux has no rows"):
        PATT().fit(inputs)


def test_less_than_a_batch_is_refused(patt_golden):
    config = Config(official_recursive=True)
    with pytest.raises(DataError, match="train has 150 rows and aux 120"):
        PATT(config).fit(inputs_of(patt_golden))


def test_overflow_of_the_recursion_is_refused(patt_golden):
    g = patt_golden
    config = Config(official_recursive=True, official_batch=1, official_aux_batch=1)
    tiled = inputs_of(
        {**g, "fc_labels_id": np.tile(g["fc_labels_id"], 2)},
        features=np.tile(g["fc_feat_id"].reshape(-1, 64), (2, 1)),
        aux=np.tile(g["fc_feat_ood"].reshape(-1, 64), (2, 1)),
    )
    with pytest.raises(DataError, match="the official recursion overflowed within 240 batches"):
        PATT(config).fit(tiled)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": "prior"}, r"calibrators.patt.rho is 'prior'"),
        ({"low": 2.0}, r"calibrators.patt.low is 2.0 and high is 2.0"),
        ({"high": float("inf")}, r"calibrators.patt.high is inf"),
        ({"official_batch": 0}, r"calibrators.patt.official_batch is 0"),
        ({"official_aux_batch": -1}, r"calibrators.patt.official_aux_batch is -1"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_calibrated_features_that_float32_does_not_hold_are_refused(toy):
    calibrator = PATT().fit(toy.inputs)
    refusal = r"^features of PATT hold NaN or infinity in 1 of 2 rows \(first in row 1\)"
    with pytest.raises(DataError, match=refusal):
        calibrator.transform(torch.tensor([[1.0], [3e38]]).expand(2, DIM))
