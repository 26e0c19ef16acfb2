"""What every calibrator owes, checked over every file of the package."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from conftest import COUNTS, DIM, make_toy

from ltood.core.errors import DataError, MissingNeedError, NotFittedError
from ltood.core.inputs import FitInputs
from ltood.core.registry import available, load, summary
from ltood.core.settings import to_section
from ltood.core.slots import Calibrator, check_needs

pytestmark = pytest.mark.parametrize("name", available("calibrators"))


def test_features_keep_shape_type_and_input(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    features = toy.id_batch.features
    before = features.clone()
    calibrated = calibrator.transform(features)
    assert calibrated.shape == features.shape
    assert calibrated.dtype == torch.float32
    assert torch.isfinite(calibrated).all()
    assert torch.equal(features, before)


def test_patches_are_calibrated_like_rows(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    local = toy.id_batch.local
    got = calibrator.transform_local(local)
    assert got.shape == local.shape
    for patch in range(local.shape[1]):
        assert torch.equal(got[:, patch], calibrator.transform(local[:, patch]))
    assert calibrator.transform_local(local[:0]).shape == (0, *local.shape[1:])


def test_rows_are_independent_and_results_repeat(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    features = toy.id_batch.features
    whole = calibrator.transform(features)
    parts = torch.cat([calibrator.transform(features[:7]), calibrator.transform(features[7:])])
    assert torch.equal(parts, whole)
    twin = load("calibrators", name).Entry().fit(toy.inputs)
    assert torch.equal(twin.transform(features), whole)


def test_what_was_learned_can_be_saved(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    twin = load("calibrators", name).Entry().restore(calibrator.state())
    features = toy.ood_batch.features
    assert torch.equal(twin.transform(features), calibrator.transform(features))
    assert twin.derived() == calibrator.derived()


def test_unfitted_and_missing_needs_are_refused(name, toy):
    calibrator = load("calibrators", name).Entry()
    check_needs(f"calibrator {name}", calibrator.needs, toy.inputs, has_local=False)
    if not calibrator.needs:
        assert calibrator.fit(FitInputs()) is calibrator
        return
    with pytest.raises(NotFittedError, match=f"{name} is not fitted"):
        calibrator.transform(toy.id_batch.features)
    with pytest.raises(MissingNeedError, match=f"calibrator {name} needs"):
        check_needs(f"calibrator {name}", calibrator.needs, FitInputs(), has_local=False)
    with pytest.raises(MissingNeedError, match=r"fit needs .*, which it was not given"):
        calibrator.fit(FitInputs())


def test_arrays_of_any_kind_are_calibrated_alike(name, toy):
    entry = load("calibrators", name).Entry
    train, aux = (next(iter(s.batches())) for s in (toy.inputs.train, toy.inputs.aux))
    learned = {"features": train.features, "labels": train.labels, "aux": aux.features}
    features, local, logits = toy.id_batch.features, toy.id_batch.local, toy.id_batch.logits
    expected = entry().fit(toy.inputs)
    for kind in (torch.Tensor.clone, torch.Tensor.numpy, torch.Tensor.tolist):
        given = {key: kind(value) for key, value in learned.items()}
        calibrator = entry().fit(**given, head=(toy.head.weight, toy.head.bias))
        for method, rows in (("transform", features), ("transform_local", local)):
            got = getattr(calibrator, method)(kind(rows))
            assert isinstance(got, torch.Tensor if kind is torch.Tensor.clone else np.ndarray)
            assert np.array_equal(got, getattr(expected, method)(rows))
        assert np.array_equal(
            calibrator.adjust_logits(kind(logits)), expected.adjust_logits(logits)
        )


def test_copies_pickles_and_second_fits_are_alike(name, toy):
    entry = load("calibrators", name).Entry
    expected = entry().fit(toy.inputs)
    twice = entry().fit(make_toy(seed=1, dim=12, counts=(9, 8, 7)).inputs).fit(toy.inputs)
    for twin in (copy.deepcopy(expected), pickle.loads(pickle.dumps(expected)), twice):
        assert torch.equal(
            twin.transform(toy.id_batch.features), expected.transform(toy.id_batch.features)
        )
        assert twin.derived() == expected.derived()


def test_rows_of_another_width_are_refused(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    for width in (1, DIM - 3, DIM + 1):
        with pytest.raises(DataError, match=f"{width} columns .* fitted on {DIM}"):
            calibrator.transform(torch.rand(5, width))


def test_what_was_restored_refuses_rows_of_another_width(name, toy):
    calibrator = load("calibrators", name).Entry().fit(toy.inputs)
    twin = load("calibrators", name).Entry().restore(calibrator.state())
    for width in (1, DIM - 3, DIM + 1):
        if "attention_" in twin.state():
            with pytest.raises(DataError, match=f"{width} columns .* fitted on {DIM}"):
                twin.transform(torch.rand(5, width))
        if "shift_" in twin.state():
            with pytest.raises(DataError, match=f"{width} columns .* fitted on {len(COUNTS)}"):
                twin.adjust_logits(torch.rand(5, width))


def test_entry_and_summary_are_found(name):
    module = load("calibrators", name)
    assert issubclass(module.Entry, Calibrator)
    assert module.Config.__dataclass_params__.frozen
    assert summary("calibrators", name).endswith(".")
    assert name == "none" or re.search(r"Source: .*\b20\d\d\b", module.__doc__, re.DOTALL)


def test_defaults_equal_params(name, params):
    sections = params.get("calibrators") or {}
    assert name in sections, "run `ltood init`"
    assert (sections[name] or {}) == to_section(load("calibrators", name).Config())
