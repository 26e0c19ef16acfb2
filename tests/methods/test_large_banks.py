"""Methods that keep the training rows keep them in a file where they would fill the memory."""

from pathlib import Path

import pytest
import torch
from conftest import make_toy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.inputs import FitInputs
from ltood.core.registry import load
from ltood.methods import class_gaussian
from ltood.ops import pairs
from ltood.runtime import large

CASES = {
    "knn": {"k": 5},
    "knn, lists": {"k": 5, "index": "ivf", "lists": 6, "probes": 2},
    "grood": {"k": 5},
    "nnguide": {"k": 5, "fraction": 0.7},
    "relation": {},
    "oodd": {"k_train": 5, "queue": 16},
    "class_gaussian": {},
}
#: Rows and columns of a bank of 16 MiB, and classes whose factors take 50.
ROWS, DIM, CLASSES = 16_384, 256, 100


def built(case):
    return load("methods", case.split(",")[0]).Entry(**CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_file_gives_the_same_bits(case, monkeypatch, tmp_path):
    toy = make_toy()
    found = []
    for limit in ("1", "0"):
        monkeypatch.setenv(large.LIMIT, limit)
        monkeypatch.setenv(large.FOLDER, str(tmp_path))
        # Inputs of its own: what is learned once per `inputs` would else be shared.
        inputs = FitInputs(toy.inputs.train, toy.inputs.aux, toy.head, toy.inputs.prior)
        method = built(case).fit(inputs)
        found.append((method.state(), method.score(toy.ood_batch)))
    (state, scores), (state_in_file, scores_in_file) = found
    assert torch.equal(scores, scores_in_file)
    assert state.keys() == state_in_file.keys()
    assert all(torch.equal(state[name], state_in_file[name]) for name in state)


class Few(TensorSource):
    """Rows in batches that take little memory themselves."""

    def batches(self, rows=1024, arrays=()):
        return super().batches(1024, arrays)


@pytest.fixture(scope="module")
def many():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    features = torch.randn(ROWS, DIM, generator=generator)
    features[torch.arange(ROWS), labels] += 4
    return FeatureBatch.of(features, features[:, :CLASSES].contiguous(), labels=labels)


def in_files():
    """Ranges of addresses that lie in files without a name."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith("(deleted)")]
    return [(int(first, 16), int(last, 16)) for first, last in ends]


class LargestInMemory(TorchDispatchMode):
    """The most bytes that one tensor made in this block takes of the memory."""

    def __init__(self, known):
        super().__init__()
        self.known, self.bytes = known, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._look_at(tensor.untyped_storage())
        return found

    def _look_at(self, storage):
        if storage.nbytes() <= self.bytes or storage.data_ptr() in self.known:
            return
        if not any(first <= storage.data_ptr() < last for first, last in in_files()):
            self.bytes = storage.nbytes()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from /proc")
@pytest.mark.parametrize("case", ["knn", "grood", "nnguide", "relation", "class_gaussian"])
def test_nothing_in_memory_is_as_large_as_the_rows(case, many, monkeypatch, tmp_path):
    monkeypatch.setenv(large.FOLDER, str(tmp_path))
    monkeypatch.setenv(large.LIMIT, "0.003")
    # Working memory, which is bounded however many rows there are.
    monkeypatch.setattr(class_gaussian, "FIT_VALUES", 2**20)
    monkeypatch.setattr(pairs, "BANK_ROWS", 1024)
    known = {many.features.data_ptr(), many.logits.data_ptr(), many.labels.data_ptr()}
    with LargestInMemory(known) as largest:
        built(case).fit(FitInputs(Few(many, CLASSES))).score(many.slice(0, 8))
    assert 2**16 < largest.bytes <= 2**22
