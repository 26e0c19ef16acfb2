import math

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from torch.nn import functional

from ltood.core.errors import DataError
from ltood.losses.implicit_semantic_augmentation import (
    MAX_KAPPA,
    ImplicitSemanticAugmentation,
    log_bessel_ratio,
)


def arrays(name):
    with np.load(GOLDEN / f"patt_{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


@pytest.fixture(scope="module")
def losses():
    return arrays("losses")


def series(kappa, order):
    """log I_order(kappa) - order log kappa by its power series, one term at a time."""
    terms = [
        2 * j * math.log(kappa / 2)
        - order * math.log(2)
        - math.lgamma(j + 1)
        - math.lgamma(j + order + 1)
        for j in range(2000)
    ]
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def row_by_row(module, row, temperature):
    """Logits of one feature, [D], one class and one dimension at a time."""
    logits = []
    for mean in module.mean.tolist():
        norm = math.sqrt(sum(value * value for value in mean))
        kappa = len(row) * norm / (1 - norm * norm)
        centre = [kappa * value / norm for value in mean]
        both = [a + b / temperature for a, b in zip(centre, row.tolist(), strict=True)]
        length = math.sqrt(sum(value * value for value in both))
        logits.append(series(length, module.order) - series(kappa, module.order))
    return logits


def after_all_batches(golden):
    """The module after every batch but with the last one's feature gradients."""
    module = ImplicitSemanticAugmentation(*golden["vmf_init_ave"].shape)
    module.mean.copy_(golden["vmf_init_ave"])
    found = {"loss": [], "kappa": [], "count": []}
    for features, labels in zip(golden["feat"], golden["vmf_labels"], strict=True):
        leaf = features.clone().requires_grad_()
        loss = module(
            leaf,
            labels,
            log_prior=golden["log_prior"],
            temperature=golden["vmf_temperature"].item(),
        )
        loss.backward()
        for key, value in (("loss", loss), ("kappa", module.kappa()), ("count", module.count)):
            found[key].append(value.detach().clone())
    stacked = {key: torch.stack(values) for key, values in found.items()}
    logits = module.logits(leaf.detach(), golden["vmf_temperature"].item())
    return module, {**stacked, "logits": logits, "grad": leaf.grad}


@pytest.mark.parametrize("kind", ["norm", "raw", "edge"])
def test_statistics_and_logits_equal_the_published_ones(losses, kind):
    golden = {**arrays(kind), "log_prior": losses["log_prior"]}
    module, found = after_all_batches(golden)
    torch.testing.assert_close(module.mean, golden["ave"], rtol=1e-9, atol=1e-12)
    assert torch.equal(found["count"], golden["amount"])
    torch.testing.assert_close(found["kappa"], golden["kappa"], rtol=1e-9, atol=0)
    near = {"rtol": 1e-7, "atol": 0}
    torch.testing.assert_close(found["logits"], golden["logits_exact_last"], **near)
    torch.testing.assert_close(found["loss"][-1], golden["isac_loss_exact_last"], **near)
    # The published recurrence itself is off by this much for large concentrations.
    tolerance = 1e-7 if kind == "norm" else 1e-3
    torch.testing.assert_close(found["logits"], golden["logits"], rtol=tolerance, atol=0)
    torch.testing.assert_close(found["loss"], golden["isac_loss"], rtol=tolerance, atol=0)
    # Its smallest gradients are mostly that error, so they are measured by the largest one.
    near = {"rtol": 0, "atol": tolerance * golden["grad_rows"].abs().max().item()}
    if kind == "norm":
        near = {"rtol": tolerance, "atol": 0}
    torch.testing.assert_close(found["grad"][::3], golden["grad_rows"], **near)


def test_exact_normalisers_are_met(losses):
    golden = arrays("norm")
    module, _ = after_all_batches({**golden, "log_prior": losses["log_prior"]})
    found = log_bessel_ratio(module.kappa() ** 2, module.order)
    torch.testing.assert_close(found, golden["logc_exact_last"], rtol=1e-9, atol=0)


def test_bessel_functions_are_exact_where_the_published_ones_are_not(losses):
    kappa, order = losses["bessel_kappa"], losses["bessel_nu"].item()
    for shift, name in ((0, "logive"), (1, "logive1")):
        nu = order + shift
        found = log_bessel_ratio(kappa**2, nu) + nu * kappa.log() - kappa
        torch.testing.assert_close(found, losses[f"bessel_{name}_exact"], rtol=0, atol=1e-9)
    published = losses["bessel_logive_official"] - losses["bessel_logive_exact"]
    assert published.abs().max() > 0.05


@pytest.mark.parametrize("order", [2.0, 11.0, 31.0, 255.0])
@pytest.mark.parametrize("kappa", [0.01, 1.0, 30.0, 500.0])
def test_bessel_functions_equal_the_power_series(order, kappa):
    found = log_bessel_ratio(torch.tensor(kappa**2, dtype=torch.float64), order).item()
    assert found == pytest.approx(series(kappa, order), abs=1e-9 if order > 30 else 1e-3)


def test_bessel_functions_and_gradients_are_finite_at_both_ends():
    squares = torch.tensor([0.0, 1e-300, 1e12], dtype=torch.float64, requires_grad=True)
    found = log_bessel_ratio(squares, 255.0)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(squares.grad).all()


def test_logits_equal_the_slow_loop(rng):
    torch.manual_seed(0)
    module = ImplicitSemanticAugmentation(3, 66)
    rows = functional.normalize(torch.tensor(rng.normal(size=(4, 66))), dim=1)
    module.update(rows, torch.tensor([0, 1, 1, 0]))
    found = module.logits(rows, 0.1)
    expected = torch.tensor([row_by_row(module, row, 0.1) for row in rows], dtype=torch.float64)
    # Class 0 and 1 saw two rows each, class 2 keeps its random start.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_an_epoch_forgets_all_but_the_one_before():
    module = ImplicitSemanticAugmentation(2, 6)
    start = module.mean.clone()
    label = torch.tensor([0])
    for epoch, value in enumerate((1.0, 3.0, 5.0)):
        module.begin(epoch)
        module.begin(epoch)
        module.update(torch.full((1, 6), value), label)
    torch.testing.assert_close(module.mean[0], torch.full((6,), 4.0, dtype=torch.float64))
    assert module.count.tolist() == [2.0, 0.0]
    assert torch.equal(module.mean[1], start[1])


def test_without_epochs_every_feature_counts():
    module = ImplicitSemanticAugmentation(2, 6)
    for value in (1.0, 3.0, 5.0):
        module.update(torch.full((1, 6), value), torch.tensor([1]))
    torch.testing.assert_close(module.mean[1], torch.full((6,), 3.0, dtype=torch.float64))


def test_statistics_travel_with_the_state(rng):
    module, other = ImplicitSemanticAugmentation(2, 6), ImplicitSemanticAugmentation(2, 6)
    module.begin(3)
    module.update(torch.tensor(rng.normal(size=(5, 6))), torch.tensor([0, 1, 0, 1, 1]))
    other.load_state_dict(module.state_dict())
    rows = torch.tensor(rng.normal(size=(3, 6)))
    assert torch.equal(other.logits(rows, 0.5), module.logits(rows, 0.5))
    assert other.epoch.item() == 3


@pytest.mark.parametrize("rows", [torch.zeros(2, 8), torch.full((2, 8), 1e4), torch.ones(2, 8)])
def test_extreme_features_give_finite_losses_and_gradients(rows):
    module = ImplicitSemanticAugmentation(2, 8)
    rows = rows.requires_grad_()
    loss = module(
        rows, torch.tensor([0, 0]), log_prior=torch.tensor([0.5, 0.5]).log(), temperature=0.1
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(rows.grad).all()


def test_means_longer_than_one_are_single_directions():
    module = ImplicitSemanticAugmentation(2, 8)
    module.update(torch.full((1, 8), 2.0), torch.tensor([0]))
    assert module.kappa()[0] == MAX_KAPPA
    assert module.kappa()[1] == pytest.approx(8 * 0.9 / 0.19)


def test_narrow_features_are_refused():
    with pytest.raises(DataError, match=r"features have 5 dimensions; implicit augmentation"):
        ImplicitSemanticAugmentation(3, 5)
