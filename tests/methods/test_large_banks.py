"""Methods that keep the training rows keep them in a file where they would fill the memory."""

import ctypes
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import make_toy

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
#: Rows and columns of a bank of 64 MiB, and classes whose factors take 48.
ROWS, DIM, CLASSES = 65_536, 256, 96


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


def anonymous():
    """Memory of this process that the system cannot take back, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most of it while a block runs, beyond what there was."""

    def __enter__(self):
        ctypes.CDLL(None).malloc_trim(0)  # Freed memory must not hide what is taken.
        self.before, self.mib, self._goes_on = anonymous(), 0.0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while self._goes_on:
            self.mib = max(self.mib, anonymous() - self.before)
            time.sleep(0.002)

    def __exit__(self, *_):
        self._goes_on = False
        self._thread.join()
        self.mib = max(self.mib, anonymous() - self.before)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc")
@pytest.mark.parametrize("case", ["knn", "grood", "nnguide", "relation", "class_gaussian"])
def test_what_is_kept_takes_no_memory(case, many, monkeypatch, tmp_path):
    monkeypatch.setenv(large.FOLDER, str(tmp_path))
    monkeypatch.setenv(large.LIMIT, "0.001")
    # Working memory, which is bounded however many rows there are.
    monkeypatch.setattr(class_gaussian, "FIT_VALUES", 2**20)
    monkeypatch.setattr(pairs, "BANK_ROWS", 1024)
    with Peak() as peak:
        built(case).fit(FitInputs(Few(many, CLASSES))).score(many.slice(0, 8))
    assert peak.mib < 32
