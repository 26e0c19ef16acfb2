import numpy as np
import pytest
import torch
from reference.line import importance_of
from reference.line import line as reference
from reference.scores import class_means

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.line import Config, LINe
from ltood.ops.graphs import writing

PARTS = {
    "line_pw10_pa10": {"weight_percentile": 10.0},
    "line_pw90_pa10": {"weight_percentile": 90.0},
    "line_smooth_pw10_pa10": {"weight_percentile": 10.0, "smoothing": True},
}


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


@pytest.mark.parametrize("part", PARTS)
def test_golden(himplos_golden, inputs, part):
    clip = float(himplos_golden["clip"])
    detector = LINe(Config(activation_percentile=10.0, clip=clip, **PARTS[part])).fit(inputs)
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(himplos_golden[f"{prefix}features"]))
        expected = -himplos_golden[f"{prefix}{part}"]
        np.testing.assert_allclose(detector.score(batch), expected, rtol=1e-5)


def test_golden_importance(himplos_golden, inputs):
    importance = LINe().fit(inputs).state()["importance_"]
    np.testing.assert_allclose(importance, himplos_golden["line_info"].T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("percents", [(0.0, 0.0), (90.0, 90.0), (37.0, 55.0)])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
@pytest.mark.parametrize("smoothing", [False, True])
def test_reference(himplos_golden, inputs, percents, scorer, smoothing):
    g, features = himplos_golden, himplos_golden["features"][:5]
    importance = importance_of(g["W"], g["train_features"], g["train_labels"])
    prototypes = class_means(g["train_features"], g["train_labels"], 10) if smoothing else None
    detector = LINe(Config(*percents, 0.5, smoothing=smoothing, scorer=scorer)).fit(inputs)
    expected = [
        reference(f, g["W"], g["b"], importance, percents, 0.5, scorer, prototypes)
        for f in features
    ]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    with writing():
        written = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(written, expected, rtol=1e-5)


def test_zero_feature_with_smoothing_scores_like_equal_logits(inputs):
    detector = LINe(Config(smoothing=True)).fit(inputs)
    score = detector.score(FeatureBatch.of(torch.zeros(1, 64)))
    assert score.item() == pytest.approx(-np.log(10), rel=1e-6)


def test_a_class_without_rows_leaves_the_bias(himplos_golden):
    g = himplos_golden
    head = ClassifierHead(torch.tensor(g["W"]), torch.tensor(g["b"]))
    keep = g["train_labels"] != 6
    labels = torch.tensor(g["train_labels"][keep])
    inputs = FitInputs.of(torch.tensor(g["train_features"][keep]), labels, head=head)
    detector = LINe(Config(clip=None)).fit(inputs)
    batch = FeatureBatch.of(torch.tensor(g["features"]), head=head)
    scores = detector.score(batch)
    assert torch.isfinite(scores).all()
    absent = batch.logits.argmax(dim=1) == 6
    assert absent.any()
    bias_alone = -torch.logsumexp(head.bias, dim=0).expand(int(absent.sum()))
    torch.testing.assert_close(scores[absent], bias_alone)


def test_wide_features_of_few_rows():
    head = ClassifierHead(torch.randn(7, 512), torch.zeros(7))
    inputs = FitInputs.of(torch.rand(9, 512), torch.arange(9) % 7, head=head)
    scores = LINe().fit(inputs).score(FeatureBatch.of(torch.rand(20, 512)))
    assert torch.isfinite(scores).all()


def test_settings_share_thresholds_but_never_stale_ones(inputs):
    first, same = (LINe(Config(clip=clip)).fit(inputs).state() for clip in (0.5, 1.0))
    other = LINe(Config(50.0, 50.0)).fit(inputs).state()
    for name in ("weight_thresholds_", "activation_thresholds_"):
        assert first[name] is same[name]
        assert not torch.equal(first[name], other[name])


def test_the_clip_in_use_is_a_percentile_of_training(himplos_golden, inputs):
    expected = np.percentile(himplos_golden["train_features"].astype(np.float64), 98)
    assert LINe().fit(inputs).derived() == {"clip": pytest.approx(expected, rel=1e-6)}
    assert LINe(Config(clip=None)).fit(inputs).derived() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_percentile": -1.0}, r"methods.line.weight_percentile is -1.0"),
        ({"activation_percentile": 200.0}, r"methods.line.activation_percentile is 200.0"),
        ({"clip": -1.0}, r"methods.line.clip is -1.0"),
        ({"clip_percentile": 101.0}, r"methods.line.clip_percentile is 101.0"),
        ({"scorer": "odin"}, r"methods.line.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.line.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
