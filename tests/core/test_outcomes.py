import pytest
import torch

from ltood.core.outcomes import Failed, attempt


def _raise(error):
    raise error


def test_a_failure_is_a_value():
    assert attempt((ValueError,), _raise, ValueError("a\nb")) == Failed("ValueError: a b", True)
    assert attempt((), int, "3") == 3


def test_memory_of_a_failed_entry_is_freed(monkeypatch):
    freed = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))
    assert isinstance(attempt((), _raise, torch.OutOfMemoryError("full")), Failed)
    assert freed == [True]


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch before 2.8")
def test_a_gpu_that_broke_is_no_fault_of_the_next_rows():
    with pytest.raises(torch.AcceleratorError):
        attempt((), _raise, torch.AcceleratorError("illegal memory access"))
