"""Reading a store in batches needs memory for some chunks, not for the store."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_samples import NUM_CLASSES, create

from ltood.store.features import ArraySpec, SplitSpec, StoreSpec
from ltood.store.layout import CHUNK_BYTES
from ltood.store.rows import MAPPED_CHUNKS

DIM, CHUNKS = 4096, 32

READ = """
import sys
from pathlib import Path
from ltood.store.features import FeatureStore

def peak():
    # Not ru_maxrss: a child starts with the peak of the process that forked it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

split = FeatureStore.open(Path(sys.argv[1])).split("train")
before, total = peak(), 0
for batch in split.batches(1000, ("features",)):
    total += int(batch["features"][:, 0].sum())
print(total, len(split) * split.spec.arrays["features"].row_bytes, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_half_a_gib_is_read_within_the_mapped_chunks(tmp_path):
    arrays = {
        "features": ArraySpec("float32", (DIM,)),
        "logits": ArraySpec("float32", (NUM_CLASSES,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    step = CHUNK_BYTES // (4 * DIM)
    spec = StoreSpec({"train": SplitSpec(step * CHUNKS, arrays)})
    head = {
        "weight": np.zeros((NUM_CLASSES, DIM), np.float32),
        "bias": np.zeros(NUM_CLASSES, np.float32),
    }
    writer = create(tmp_path / "store", spec, head=head)
    rows = {name: np.ones((step, *array.shape), array.dtype) for name, array in arrays.items()}
    for start, _ in writer.missing("train"):
        writer.write("train", start, rows)
    writer.finish()
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "store"],
        capture_output=True,
        text=True,
        check=True,
    )
    total, size, rise = map(int, done.stdout.split())
    assert total == step * CHUNKS
    assert size == 512 * 2**20
    # Mapped chunks, one batch that spans two of them, and the allocator's own.
    assert rise < size / 2
    assert rise < (MAPPED_CHUNKS + 3) * CHUNK_BYTES
