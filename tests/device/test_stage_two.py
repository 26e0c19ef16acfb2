"""Every method, calibrator and normaliser on a pretended GPU: one device, few waits, any order."""

import numpy as np
import pytest
import torch
from conftest import make_toy
from feature_samples import random_store
from pretended_device import pretended_gpu

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.building import EntrySpec
from ltood.core.registry import available, load
from ltood.ops.logits import energy
from ltood.runtime.devices import scoring_on
from ltood.scoring.run import score_store
from tests.device.moving import CUDA, moved, moved_inputs
from tests.methods.test_contract import METHODS, fitted, joined, raw_scores

#: Waits of the host for the scores of one batch, where a few do not suffice.
WAITS = 3
MORE_WAITS = {
    "class_gaussian": 20,
    "adaneg": 15,  # Its memory takes what comes, group by group.
    "tanl": 10,
    "oodd": 10,
    "line": 25,  # Each class that is predicted has neurons of its own.
    "weiper_kld": 5,
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_score_there_as_on_a_cpu(name):
    toy = make_toy()
    expected = raw_scores(fitted(name, toy.inputs), joined(toy))
    with pretended_gpu() as gpu, scoring_on(CUDA):
        inputs, batch = moved_inputs(toy), moved(joined(toy))
        method = fitted(name, inputs)
        assert not gpu.unordered  # The fit, too, adds in one order.
        gpu.reset()
        scores = raw_scores(method, batch)
        waits, unordered = dict(gpu.waits), dict(gpu.unordered)
    assert scores.is_cuda
    assert torch.equal(scores.held, expected)
    assert sum(waits.values()) <= MORE_WAITS.get(name, WAITS), waits
    assert not unordered


@pytest.mark.parametrize("name", available("calibrators"))
def test_calibrators_transform_there_as_on_a_cpu(name):
    toy = make_toy()
    on_cpu = load("calibrators", name).Entry().fit(toy.inputs)
    with pretended_gpu() as gpu, scoring_on(CUDA):
        calibrator = load("calibrators", name).Entry().fit(moved_inputs(toy))
        batch = moved(toy.id_batch)
        assert not gpu.unordered
        gpu.reset()
        with torch.no_grad():
            found = calibrator._transform(batch.features), calibrator._adjust_logits(batch.logits)
        assert sum(gpu.waits.values()) <= 1, gpu.waits
    with torch.no_grad():
        assert torch.equal(found[0].held, on_cpu._transform(toy.id_batch.features))
        assert torch.equal(found[1].held, on_cpu._adjust_logits(toy.id_batch.logits))


@pytest.mark.parametrize("name", available("normalisers"))
def test_normalisers_there_as_on_a_cpu(name):
    toy = make_toy()
    entry = load("normalisers", name).Entry
    expected = (
        entry(base="energy").fit(toy.inputs)._normalise(energy(toy.id_batch.logits), toy.id_batch)
    )
    with pretended_gpu() as gpu, scoring_on(CUDA):
        batch = moved(toy.id_batch)
        normaliser = entry(base="energy").fit(moved_inputs(toy))
        gpu.reset()
        found = normaliser._normalise(energy(batch.logits), batch)
        assert sum(gpu.waits.values()) <= WAITS, gpu.waits
        assert not gpu.unordered
    assert torch.equal(found.held, expected)


def test_stores_are_scored_and_compared_there(tmp_path):
    store = random_store(tmp_path, val=24)
    slots = EntrySpec("mahalanobis"), EntrySpec("patt"), EntrySpec("imood")
    config = Config(methods=("energy", "knn", "she"), calibrators=("none", "patt"))
    expected = score_store(store, tmp_path / "cpu.zarr", *slots, device="cpu")
    rows, _ = compare(store, config, {"methods": {"knn": {"k": 5}}}, device="cpu")
    with pretended_gpu() as gpu:
        found = score_store(store, tmp_path / "gpu.zarr", *slots, device="cuda")
        also, _ = compare(store, config, {"methods": {"knn": {"k": 5}}}, device="cuda")
        assert not gpu.unordered  # The drivers choose the algorithms.
    for name in expected.splits:
        assert np.array_equal(found.split(name).scores, expected.split(name).scores)
    assert also == rows
