"""Small stores with known contents, and a writer to be run (and killed) as a process."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.errors import LtoodError
from ltood.store.features import ArraySpec, FeatureWriter, SplitSpec, StoreSpec

NUM_CLASSES, DIM = 3, 4
COUNTS = [50, 5, 1]
NAMES = ["cat", "dog", "owl"]
PROVENANCE = {"checkpoint": "sha256:12ab", "mean": (0.5, 0.25), "dataset": {"name": "cifar10_lt"}}
HEAD = {
    "weight": np.arange(NUM_CLASSES * DIM, dtype=np.float32).reshape(NUM_CLASSES, DIM),
    "bias": np.linspace(-1, 1, NUM_CLASSES, dtype=np.float32),
    "logit_scale": np.array(14.3, dtype=np.float32),
}

Rows = dict[str, Any]


def array_specs(dtype: str = "float32", *, local: bool = False) -> dict[str, ArraySpec]:
    specs = {
        "features": ArraySpec(dtype, (DIM,)),
        "logits": ArraySpec(dtype, (NUM_CLASSES,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    return specs | ({"local": ArraySpec(dtype, (2, DIM))} if local else {})


def make_spec(
    rows_per_chunk: int | None = 4, dtype: str = "float32", *, local: bool = False, **rows: int
) -> StoreSpec:
    arrays = array_specs(dtype, local=local)
    splits = {name: SplitSpec(count, arrays) for name, count in rows.items()}
    return StoreSpec(splits or {"train": SplitSpec(10, arrays)}, rows_per_chunk)


def contents(spec: StoreSpec) -> dict[str, Rows]:
    """Random values of every split, among them NaN and infinity; always the same."""
    random = np.random.default_rng(7)
    made: dict[str, Rows] = {}
    for split, part in sorted(spec.splits.items()):
        made[split] = {
            "labels": random.integers(-1, NUM_CLASSES, part.rows),
            "ids": random.permutation(part.rows),
        }
        for name, array in part.arrays.items():
            if name not in made[split]:
                values = random.normal(size=(part.rows, *array.shape)).astype(array.dtype)
                values.reshape(-1)[:: part.rows + 3] = np.inf
                values.reshape(-1)[1 :: part.rows + 5] = np.nan
                made[split][name] = values
    return made


def create(path: Path, spec: StoreSpec, **changes: Any) -> FeatureWriter:
    return FeatureWriter.create(path, spec, **_inputs(changes))


def resume(path: Path, spec: StoreSpec, **changes: Any) -> FeatureWriter:
    return FeatureWriter.resume(path, spec, **_inputs(changes))


def _inputs(changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "provenance": PROVENANCE,
        "head": HEAD,
        "class_names": NAMES,
        "class_counts": COUNTS,
    } | changes


def ranges(spec: StoreSpec) -> list[tuple[str, int, int]]:
    return [(split, *rows) for split in sorted(spec.splits) for rows in spec.ranges(split)]


def write(writer: FeatureWriter, parts: Sequence[tuple[str, int, int]]) -> None:
    known = contents(writer.spec)
    for split, start, stop in parts:
        rows = {name: values[start:stop] for name, values in known[split].items()}
        writer.write(split, start, rows)


def write_store(path: Path, spec: StoreSpec | None = None, **changes: Any) -> Path:
    """Write a whole store in order."""
    spec = spec or make_spec()
    writer = create(path, spec, **changes)
    write(writer, ranges(spec))
    writer.finish()
    return path


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes; folders with a trailing slash."""
    return {
        str(file.relative_to(path)) + ("/" if file.is_dir() else ""): (
            b"" if file.is_dir() else file.read_bytes()
        )
        for file in path.rglob("*")
    }


def missing(writer: FeatureWriter) -> list[tuple[str, int, int]]:
    return [
        (split, *rows) for split in sorted(writer.spec.splits) for rows in writer.missing(split)
    ]


#: What the process below writes; 2 x 40 chunks.
PROCESS_SPEC = make_spec(2, train=80, ood_a=79)


def main(path: Path, part: int, parts: int) -> None:
    """Write what is missing of every `parts`-th chunk, with a disk that takes 2 ms per file."""
    os.fsync = lambda _: time.sleep(0.002)
    try:
        writer = resume(path, PROCESS_SPEC)
    except LtoodError:
        writer = create(path, PROCESS_SPEC)
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    left = missing(writer)
    write(writer, [rows for rows in ranges(PROCESS_SPEC)[part::parts] if rows in left])
    if parts == 1:
        writer.finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
