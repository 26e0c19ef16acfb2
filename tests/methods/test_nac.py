import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import nac as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.nac import NAC, Config, inner_edges, neuron_states


def made(rng, num=50, dim=6, classes=3):
    case = {"weight": (classes, dim), "train": (num, dim), "rows": (9, dim)}
    case = {name: rng.normal(size=shape).astype(np.float32) for name, shape in case.items()}
    case["train"], case["rows"] = (np.maximum(case[name], 0) for name in ("train", "rows"))
    for name in ("train", "rows"):
        case[f"{name}_logits"] = case[name] @ case["weight"].T
    return case


def scored(case, **settings):
    head = ClassifierHead(torch.tensor(case["weight"]), torch.zeros(len(case["weight"])))
    train, rows = (
        FeatureBatch.of(torch.tensor(case[name]), torch.tensor(case[f"{name}_logits"]))
        for name in ("train", "rows")
    )
    inputs = FitInputs(TensorSource(train, head.num_classes), head=head)
    return NAC(Config(**settings)).fit(inputs).score(rows)


@pytest.mark.parametrize(
    ("edges", "bins", "alpha", "o_star"),
    [
        ("geometric", 48, 100.0, 0.05),
        ("geometric", 2, 1.0, 0.5),
        ("uniform", 49, 100.0, 0.05),
        ("uniform", 7, 1.0, 0.5),
        ("uniform", 1, 1.0, 1.0),
    ],
)
def test_reference(rng, edges, bins, alpha, o_star):
    case = made(rng)
    starts = reference.edges(bins, edges)
    covered = reference.coverage(
        case["train"], case["train_logits"], case["weight"], starts, alpha, o_star
    )
    expected = [
        reference.nac(row, logits, case["weight"], covered, starts, alpha)
        for row, logits in zip(case["rows"], case["rows_logits"], strict=True)
    ]
    got = scored(case, bins=bins, edges=edges, alpha=alpha, o_star=o_star)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_gradient_is_that_of_the_divergence(rng):
    case = made(rng)
    features = torch.tensor(case["rows"], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(case["weight"])
    logits = features @ weight.double().T
    # KL(u || p) up to the entropy of u, which has no gradient.
    torch.log_softmax(logits, dim=1).mean(dim=1).neg().sum().backward()
    expected = torch.sigmoid(3 * features * features.grad).detach()
    got = neuron_states(features.detach(), logits.detach(), weight, 3.0)
    torch.testing.assert_close(got, expected)


def test_training_rows_are_covered(rng):
    case = made(rng)
    case["rows"], case["rows_logits"] = case["train"], case["train_logits"]
    one_row = 1 / len(case["train"])
    assert (scored(case, o_star=one_row) == -1).all()


def test_extremes_stay_in_range(rng):
    case = made(rng, dim=512)
    case["rows"][0], case["rows"][1] = 0, 1e30  # a silent row; states of exactly 0 and 1
    case["weight"] -= case["weight"].mean(axis=0)  # its rows sum to zero
    scores = scored(case)
    assert torch.isfinite(scores).all()
    assert ((scores >= -1) & (scores <= 0)).all()


@settings(deadline=None)
@given(st.integers(1, 500).map(lambda half: 2 * half))
def test_geometric_edges_mirror_each_other_and_are_dense_in_the_middle(bins):
    edges = inner_edges(Config(bins=bins))
    widths = torch.cat([torch.zeros(1).double(), edges, torch.ones(1).double()]).diff()
    assert len(edges) == bins - 1
    assert edges[bins // 2 - 1] == 0.5
    torch.testing.assert_close(widths, widths.flip(0))
    assert (widths[bins // 2 :].diff() > 0).all()


def test_no_rows_are_refused():
    head = ClassifierHead(torch.eye(2), torch.zeros(2))
    empty = FeatureBatch.of(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(DataError, match="the training split has no rows"):
        NAC().fit(FitInputs(TensorSource(empty, 2), head=head))


def test_ranges():
    for bins in (0, 49):
        with pytest.raises(ConfigError, match=rf"methods.nac.bins is {bins}"):
            Config(bins=bins)
    with pytest.raises(ConfigError, match=r"methods.nac.edges is"):
        Config(edges="log")
    for alpha in (0.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"methods.nac.alpha is "):
            Config(alpha=alpha)
    for o_star in (0.0, 50.0, float("nan")):
        with pytest.raises(ConfigError, match=r"methods.nac.o_star is "):
            Config(o_star=o_star)
