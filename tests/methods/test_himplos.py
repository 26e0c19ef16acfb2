import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.methods.energy import Energy
from ltood.methods.himplos import Config, HIMPLoS, head_mask
from ltood.ops.statistics import row_percentile

CLIP = 1.0
PARTS = {
    "himplos": {"clip": CLIP},
    "himplos_noclip": {"clip": None},
    "himplos_nomask": {"clip": CLIP, "percentile": 0.0},
    "himplos_smooth_only": {"clip": None, "mask": False},
    "himplos_T2": {"clip": CLIP, "temperature": 2.0},
    "fm_only": {"clip": None, "smoothing": False},
    "fm_react": {"clip": CLIP, "smoothing": False},
    "himplos_msp": {"clip": CLIP, "scorer": "msp"},
}


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


@pytest.mark.parametrize("part", PARTS)
def test_golden(himplos_golden, inputs, part):
    detector = HIMPLoS(Config(**PARTS[part])).fit(inputs)
    for prefix in ("", "ood_"):
        features = torch.tensor(himplos_golden[f"{prefix}features"])
        scores = detector.score(FeatureBatch.of(features, head=inputs.head))
        np.testing.assert_allclose(scores, -himplos_golden[prefix + part], rtol=1e-5)


def test_golden_mask_and_prototypes(himplos_golden, inputs):
    weight = torch.tensor(himplos_golden["W"])
    for percentile, name in ((60.0, "mask"), (0.0, "mask_p0")):
        mask = head_mask(weight, row_percentile(weight, percentile))
        assert np.array_equal(mask, himplos_golden[name] == 1)
    prototypes = HIMPLoS().fit(inputs).state()["prototypes_"]
    np.testing.assert_allclose(prototypes, himplos_golden["class_mean"], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.integers(0, 100), st.integers(0, 2**16))
def test_mask_equals_numpy(dim, percentile, seed):
    weight = np.random.default_rng(seed).normal(size=(3, dim)).astype(np.float32)
    threshold = np.percentile(weight, percentile, axis=1, keepdims=True)
    ours = torch.tensor(weight)
    mask = head_mask(ours, row_percentile(ours, float(percentile)))
    assert np.array_equal(mask, weight >= threshold)


def test_saved_masks_of_earlier_versions_are_read(himplos_golden, inputs):
    fitted = HIMPLoS().fit(inputs)
    state = fitted.state()
    mask = head_mask(state["weight_"], state.pop("thresholds_"))
    restored = HIMPLoS().restore({**state, "mask_": mask})
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]), head=inputs.head)
    assert torch.equal(restored.score(batch), fitted.score(batch))


def test_zero_feature_scores_like_equal_logits(himplos_golden, inputs):
    features = torch.tensor(himplos_golden["features"][3:4])
    assert not features.any()
    score = (
        HIMPLoS(Config(clip=CLIP)).fit(inputs).score(FeatureBatch.of(features, head=inputs.head))
    )
    assert score.item() == pytest.approx(-np.log(10), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**16),
    st.sampled_from([2, 5]),
    st.sampled_from([0.0, 30.0, 60.0, 99.0]),
    st.sampled_from([0.4, 1.5, float("inf")]),
)
def test_reference(seed, num_classes, percentile, clip):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(num_classes, 9)).astype(np.float32)
    weight -= weight.mean(axis=0)  # rows sum to zero: the head has no full rank
    bias = rng.normal(size=num_classes).astype(np.float32)
    labels = np.concatenate([np.zeros(10, int), np.arange(1, num_classes)])  # tails of one row
    train = np.abs(rng.normal(size=(len(labels), 9))).astype(np.float32)
    rows = np.abs(rng.normal(size=(6, 9))).astype(np.float32)
    rows[0], rows[2] = 0, rows[1]
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), head=head)
    detector = HIMPLoS(Config(percentile, clip)).fit(inputs)
    got = detector.score(FeatureBatch.of(torch.tensor(rows), head=head))
    prototypes = reference.class_means(train, labels, num_classes)
    expected = [
        reference.himplos(row, weight, bias, prototypes, percentile, np.float32(clip))
        for row in rows
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_all_parts_off_is_energy(himplos_golden, inputs):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]), head=inputs.head)
    expected = Energy().score(batch)
    for off in ({"percentile": 0.0}, {"mask": False}):
        detector = HIMPLoS(Config(clip=None, smoothing=False, **off)).fit(inputs)
        torch.testing.assert_close(detector.score(batch), expected, rtol=1e-6, atol=1e-6)


def test_a_class_without_rows_scores_like_equal_logits():
    head = ClassifierHead(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2))
    inputs = FitInputs.of(torch.tensor([[1.0, 0.1]]), torch.tensor([0]), head=head, num_classes=2)
    detector = HIMPLoS(Config(clip=None)).fit(inputs)
    score = detector.score(FeatureBatch.of(torch.tensor([[0.0, 5.0]]), head=head))
    assert score.item() == pytest.approx(-np.log(2), rel=1e-6)


def test_negative_cosines_warn_once():
    head = ClassifierHead(torch.eye(2), torch.zeros(2))
    inputs = FitInputs.of(torch.tensor([[-1.0, -3.0]]), torch.tensor([0]), head=head)
    detector = HIMPLoS(Config(clip=None)).fit(inputs)
    batch = FeatureBatch.of(torch.tensor([[3.0, 1.0]]), head=head)
    with pytest.warns(UserWarning, match="himplos met features with a negative cosine"):
        detector.score(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.score(batch)


def test_needs_follow_the_parts(inputs):
    assert HIMPLoS().needs == {Need.HEAD, Need.TRAIN}
    assert HIMPLoS(Config(clip=1.6)).needs == {Need.HEAD, Need.TRAIN}
    assert HIMPLoS(Config(smoothing=False)).needs == {Need.HEAD, Need.TRAIN}
    bare = HIMPLoS(Config(clip=1.6, smoothing=False))
    assert bare.needs == {Need.HEAD}
    assert bare.fit(FitInputs(head=inputs.head)).derived() == {"clip": pytest.approx(1.6)}
    assert HIMPLoS(Config(clip=None)).fit(inputs).derived() == {}


def test_auto_clip_is_a_percentile_of_training(himplos_golden, inputs):
    detector = HIMPLoS(Config(clip_percentile=90.0)).fit(inputs)
    expected = np.percentile(himplos_golden["train_features"].astype(np.float64), 90)
    assert detector.derived()["clip"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": -1.0}, r"methods.himplos.percentile is -1.0"),
        ({"clip_percentile": 200.0}, r"methods.himplos.clip_percentile is 200.0"),
        ({"clip": -1.6}, r"methods.himplos.clip is -1.6"),
        ({"scorer": "cosine"}, r"methods.himplos.scorer is 'cosine'"),
        ({"temperature": 0.0}, r"methods.himplos.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
