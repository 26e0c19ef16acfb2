import pickle

import numpy as np
import pytest
import torch
from reference import weiper_kld as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods import weiper_kld as module
from ltood.methods.weiper_kld import Config, WeiPerKLD, divergence, perturbed_weights


def made(rng, num=30, dim=8, classes=3):
    shapes = {"weight": (classes, dim), "bias": (classes,), "train": (num, dim), "rows": (7, dim)}
    case = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    case["rows"][0] = 0
    return case


def fitted(case, **settings):
    head = ClassifierHead(torch.tensor(case["weight"]), torch.tensor(case["bias"]))
    train = FeatureBatch.of(torch.tensor(case["train"]))
    inputs = FitInputs(TensorSource(train, head.num_classes), head=head)
    return WeiPerKLD(Config(**settings)).fit(inputs), FeatureBatch.of(torch.tensor(case["rows"]))


@pytest.mark.parametrize(
    ("bins", "sizes", "factors"),
    [(100, (4, 15), (2.5, 0.1)), (10, (1, 2), (1.0, 1.0)), (5, (3, 30), (0.0, 0.5))],
)
def test_reference(rng, bins, sizes, factors):
    case = made(rng)
    settings = {"bins": bins, "smoothing": sizes[0], "smoothing_perturbed": sizes[1]}
    settings |= {"weight_perturbed": factors[0], "weight_msp": factors[1]}
    detector, batch = fitted(case, repeats=6, **settings)
    heads = (
        perturbed_weights(torch.tensor(case["weight"]), 6, Config().distance, 0)
        .reshape(6, 3, 8)
        .numpy()
    )
    names = ("rows", "train")
    expected = reference.weiper_kld(
        *(case[name] for name in names), heads, case["bias"], bins, sizes, factors
    )
    np.testing.assert_allclose(detector.score(batch), expected, rtol=1e-5, atol=1e-6)


def test_smoothing_is_that_of_the_authors_kernel(rng):
    # Their kernel is a convolution with padding "same" that continues the edges.
    density = torch.tensor(rng.random((5, 20)))
    for size in (1, 4, 15, 30):
        kernel = torch.nn.Conv1d(1, 1, size, padding="same", padding_mode="replicate", bias=False)
        kernel.weight.data = torch.full((1, 1, size), 1 / size)
        with torch.no_grad():
            smooth = kernel.double()(density[:, None])[:, 0]
        usual = torch.tensor(rng.random(20))
        expected = divergence(usual, smooth, 1, 0.01)
        torch.testing.assert_close(divergence(usual, density, size, 0.01), expected)


def test_noise_has_a_fixed_relative_length(rng):
    weight = torch.tensor(rng.normal(size=(4, 16)))
    noise = perturbed_weights(weight, 3, 2.1, 0).reshape(3, 4, 16) - weight
    lengths = torch.linalg.vector_norm(noise, dim=2) / torch.linalg.vector_norm(weight, dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2.1))
    assert not torch.allclose(noise[0], noise[1])


def test_noise_follows_the_class_and_the_seed(rng):
    weight, order = torch.tensor(rng.normal(size=(4, 16))), torch.tensor([2, 0, 3, 1])
    noisy = perturbed_weights(weight, 2, 2.1, 0).reshape(2, 4, 16)
    permuted = perturbed_weights(weight[order], 2, 2.1, 0).reshape(2, 4, 16)
    assert torch.equal(permuted, noisy[:, order])
    longer = perturbed_weights(weight, 5, 2.1, 0).reshape(5, 4, 16)
    assert torch.equal(longer[:2], noisy)
    assert not torch.equal(perturbed_weights(weight, 2, 2.1, 1).reshape(2, 4, 16), noisy)


def test_chunks_do_not_matter(rng, monkeypatch):
    case = made(rng)
    detector, batch = fitted(case, repeats=4)
    whole = detector.score(batch)
    monkeypatch.setattr(module, "BLOCK_ROWS", 3)
    monkeypatch.setattr(module, "CHUNK_VALUES", 3 * 4 * 2)
    monkeypatch.setattr(module, "CACHED_VALUES", 11)
    again, _ = fitted(case, repeats=4)
    torch.testing.assert_close(again.score(batch), whole)


def test_refitting_replaces_the_noise(rng):
    detector, batch = fitted(made(rng), repeats=4)
    first = detector.score(batch)
    other = made(rng)
    head = ClassifierHead(torch.tensor(other["weight"]), torch.tensor(other["bias"]))
    train = TensorSource(FeatureBatch.of(torch.tensor(other["train"])), 3)
    second = detector.fit(FitInputs(train, head=head)).score(batch)
    assert not torch.equal(first, second)
    assert torch.equal(second, fitted(other, repeats=4)[0].score(batch))


@pytest.mark.parametrize("kind", ["head", "train", "rows"])
def test_extremes_are_finite(rng, kind):
    case = made(rng, dim=512)
    if kind == "head":
        case["weight"][:], case["bias"][:] = 0, 0  # all logits equal: a range without width
    elif kind == "train":
        case["train"][:] = 0
    else:
        case["rows"][:] = 1e6  # outside every bin
    detector, batch = fitted(case, repeats=3)
    assert torch.isfinite(detector.score(batch)).all()


def test_no_rows_no_scores(rng):
    detector, batch = fitted(made(rng), repeats=2)
    assert detector.score(batch.slice(0, 0)).shape == (0,)


def test_no_training_rows_are_refused(rng):
    case = made(rng, num=0)
    with pytest.raises(DataError, match="the training split has no rows"):
        fitted(case)


@pytest.mark.parametrize("name", ["repeats", "bins", "smoothing", "smoothing_perturbed"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ConfigError, match=rf"methods.weiper_kld.{name} is 0"):
        Config(**{name: 0})


@pytest.mark.parametrize("name", ["distance", "weight_perturbed", "weight_msp"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_must_not_be_negative(name, value):
    with pytest.raises(ConfigError, match=rf"methods.weiper_kld.{name} is "):
        Config(**{name: value})


def test_seed_must_be_a_seed():
    with pytest.raises(ConfigError, match=r"methods.weiper_kld.seed is -1"):
        Config(seed=-1)


def test_pickles_hold_what_was_learned_and_not_the_noisy_heads(rng):
    detector, batch = fitted(made(rng), repeats=1000)
    expected = detector.score(batch)
    noisy = 1000 * 3 * 8 * 8
    pickled = pickle.dumps(detector)
    assert len(pickled) < noisy / 10
    assert torch.equal(pickle.loads(pickled).score(batch), expected)
