import ctypes
import resource
import subprocess
import sys

import pytest

from ltood.runtime.process import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from ltood.runtime.process import keep_freed_memory
if sys.argv[1] == "reuse":
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.full(40 << 20, 1, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_large_blocks_are_taken_again_without_asking_the_system():
    pages = (40 << 20) // resource.getpagesize()
    assert faults("reuse") < pages / 10


def test_nothing_happens_where_the_settings_are_unknown(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()

    def fail(name):
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert not keep_freed_memory()
