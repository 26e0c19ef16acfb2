import errno

import pytest
import torch

from ltood.core.errors import (
    CorruptStoreError,
    IncompleteStoreError,
    StoreError,
    TransferError,
)
from ltood.core.outcomes import Failed, attempt


def _raise(error):
    raise error


def test_a_failure_is_a_value():
    assert attempt((ValueError,), _raise, ValueError("a\nb")) == Failed("ValueError: a b", True)
    assert attempt((), int, "3") == 3


@pytest.mark.parametrize("kind", [CorruptStoreError, IncompleteStoreError, TransferError])
def test_a_damaged_store_is_no_fault_of_an_entry(kind):
    with pytest.raises(kind):
        attempt((kind,), _raise, kind("chunk 3"))


def test_a_full_disk_is_no_fault_of_an_entry():
    full = StoreError("cannot write")
    full.__cause__ = OSError(errno.ENOSPC, "full")
    with pytest.raises(StoreError):
        attempt((), _raise, full)
    assert attempt((), _raise, StoreError("absent")) == Failed("absent")
    assert isinstance(attempt((), _raise, FileNotFoundError("weights")), Failed)


def test_memory_of_a_failed_entry_is_freed(monkeypatch):
    freed = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))
    assert isinstance(attempt((), _raise, torch.OutOfMemoryError("full")), Failed)
    assert freed == [True]


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch before 2.8")
def test_a_gpu_that_broke_is_no_fault_of_the_next_rows():
    with pytest.raises(torch.AcceleratorError):
        attempt((), _raise, torch.AcceleratorError("illegal memory access"))
