"""What every normaliser owes, checked over every file of the package."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from conftest import COUNTS

from ltood.core.batches import FeatureBatch
from ltood.core.errors import DataError, MissingNeedError, NotFittedError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.core.registry import available, load, summary
from ltood.core.settings import to_section
from ltood.core.slots import Normaliser, check_needs
from ltood.ops.logits import energy

pytestmark = pytest.mark.parametrize("name", available("normalisers"))


def normalised(name: str, inputs: FitInputs, batch: FeatureBatch) -> torch.Tensor:
    normaliser = load("normalisers", name).Entry(base="energy").fit(inputs)
    return normaliser.normalise(energy(batch.logits), batch)


def test_scores_keep_shape_type_and_input(name, toy):
    normaliser = load("normalisers", name).Entry(base="energy").fit(toy.inputs)
    scores, logits = energy(toy.id_batch.logits), toy.id_batch.logits
    before = scores.clone(), logits.clone()
    got = normaliser.normalise(scores, toy.id_batch)
    assert got.shape == scores.shape
    assert got.dtype == torch.float32
    assert torch.isfinite(got).all()
    assert torch.equal(scores, before[0])
    assert torch.equal(logits, before[1])


def test_outliers_stay_above(name, toy):
    known = normalised(name, toy.inputs, toy.id_batch)
    unknown = normalised(name, toy.inputs, toy.ood_batch)
    assert (unknown[:, None] > known).float().mean() > 0.8


def test_logits_and_scores_are_enough(name, toy):
    bare = FeatureBatch.of(logits=toy.id_batch.logits)
    expected = normalised(name, toy.inputs, toy.id_batch)
    assert torch.equal(normalised(name, toy.inputs, bare), expected)


def test_rows_are_independent_and_results_repeat(name, toy):
    whole = normalised(name, toy.inputs, toy.id_batch)
    parts = [normalised(name, toy.inputs, toy.id_batch.slice(i, i + 9)) for i in range(0, 40, 9)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-6)
    assert torch.equal(normalised(name, toy.inputs, toy.id_batch), whole)


def test_class_order_does_not_matter(name, toy):
    order = torch.tensor([2, 0, 3, 1])
    inputs = FitInputs(prior=ClassPrior(toy.inputs.prior.counts[order.numpy()]))
    batch = FeatureBatch.of(logits=toy.id_batch.logits[:, order])
    expected = normalised(name, toy.inputs, toy.id_batch)
    torch.testing.assert_close(normalised(name, inputs, batch), expected, rtol=1e-6, atol=1e-6)


def test_what_was_learned_can_be_saved(name, toy):
    normaliser = load("normalisers", name).Entry(base="energy").fit(toy.inputs)
    twin = load("normalisers", name).Entry(base="energy").restore(normaliser.state())
    scores = energy(toy.id_batch.logits)
    expected = normaliser.normalise(scores, toy.id_batch)
    assert torch.equal(twin.normalise(scores, toy.id_batch), expected)
    assert twin.derived() == normaliser.derived()


@pytest.mark.parametrize("width", [1, len(COUNTS) - 1, len(COUNTS) + 1])
def test_logits_of_another_width_are_refused(name, width):
    normaliser = load("normalisers", name).Entry(base="energy").fit(prior=COUNTS)
    restored = load("normalisers", name).Entry(base="energy").restore(normaliser.state())
    scores, logits = torch.rand(5), torch.rand(5, width)
    for twin in (normaliser, restored) if normaliser.state() else ():
        with pytest.raises(DataError, match=f"{width} columns .* fitted on {len(COUNTS)}"):
            twin.normalise(scores, logits=logits)


def test_unfitted_and_missing_needs_are_refused(name, toy):
    normaliser = load("normalisers", name).Entry(base="energy")
    check_needs(f"normaliser {name}", normaliser.needs, toy.inputs, has_local=False)
    if not normaliser.needs:
        assert normaliser.fit(FitInputs()) is normaliser
        return
    with pytest.raises(NotFittedError, match=f"{name} is not fitted"):
        normaliser.normalise(energy(toy.id_batch.logits), toy.id_batch)
    with pytest.raises(MissingNeedError, match=f"normaliser {name} needs class counts"):
        check_needs(f"normaliser {name}", normaliser.needs, FitInputs(), has_local=False)
    with pytest.raises(MissingNeedError, match="fit needs class counts of the training set"):
        normaliser.fit(FitInputs())


def test_arrays_of_any_kind_are_normalised_alike(name, toy):
    entry = load("normalisers", name).Entry
    expected = normalised(name, toy.inputs, toy.id_batch)
    train = next(iter(toy.inputs.train.batches()))
    scores, logits, counts = energy(toy.id_batch.logits), toy.id_batch.logits, [60, 30, 15, 8]
    for kind in (torch.Tensor.clone, torch.Tensor.numpy, torch.Tensor.tolist):
        normaliser = entry(base="energy").fit(kind(train.features), kind(train.labels))
        got = normaliser.normalise(kind(scores), logits=kind(logits))
        assert isinstance(got, torch.Tensor if kind is torch.Tensor.clone else np.ndarray)
        assert np.array_equal(got, expected)
    with_head = entry(base="energy").fit(prior=counts, head=toy.head)
    features = toy.id_batch.features
    torch.testing.assert_close(with_head.normalise(scores, features), expected)
    with pytest.raises(DataError, match="39 scores for 40 rows"):
        with_head.normalise(scores[1:], features)
    assert repr(with_head).startswith(f"{entry.__name__}(base='energy'")


def test_copies_pickles_and_second_fits_are_alike(name, toy):
    entry = load("normalisers", name).Entry
    normaliser = entry(base="energy").fit(toy.inputs)
    twice = entry(base="energy").fit(prior=[1, 2, 3]).fit(toy.inputs)
    scores = energy(toy.id_batch.logits)
    expected = normaliser.normalise(scores, toy.id_batch)
    for twin in (copy.deepcopy(normaliser), pickle.loads(pickle.dumps(normaliser)), twice):
        assert torch.equal(twin.normalise(scores, toy.id_batch), expected)


def test_entry_and_summary_are_found(name):
    module = load("normalisers", name)
    assert issubclass(module.Entry, Normaliser)
    assert module.Config.__dataclass_params__.frozen
    assert summary("normalisers", name).endswith(".")
    assert name == "none" or re.search(r"Source: .*\b20\d\d\b", module.__doc__, re.DOTALL)


def test_defaults_equal_params(name, params):
    sections = params.get("normalisers") or {}
    assert name in sections, "run `ltood init`"
    assert (sections[name] or {}) == to_section(load("normalisers", name).Config())
