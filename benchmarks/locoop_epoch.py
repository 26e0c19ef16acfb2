"""Peak memory and time of an epoch of LoCoOp on ImageNet, from stored features.

    python benchmarks/locoop_epoch.py [--steps 3] [--shots 16] [--folder FOLDER] [--device cpu]

A store in the shape of ViT-B/16 (196 patches, width 512, local features float16) with 16 images of
each of ImageNet's 1,000 classes, filled with random unit vectors; the text tower in its real shape
with random weights, ImageNet's names, the defaults of recipes.locoop. One step warms up, then a few
are timed, each of 32 rows from all over the store: reading, checking, text forward and backward,
and the update of the context. An epoch has 500 such steps, which cost the same, so its time is
the mean of the timed ones times 500: extrapolated, not run. The table goes to
docs/results/locoop-epoch.md.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch

from ltood.adapting.learning import Learner
from ltood.adapting.rows import training_rows
from ltood.adapting.texts import TextEncoder
from ltood.clip.prompts import clip_vocabulary
from ltood.clip.text_tower import TextTower
from ltood.core.prior import ClassPrior
from ltood.recipes.locoop import Config, LoCoOp
from ltood.store.features import ArraySpec, FeatureStore, FeatureWriter, SplitSpec, StoreSpec

RESULT = Path(__file__).parents[1] / "docs" / "results" / "locoop-epoch.md"
NAMES, PATCHES, WIDTH = list(open_clip.IMAGENET_CLASSNAMES), 196, 512
CLASSES = len(NAMES)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random vectors of length 1 along the last axis, float32."""
    values = rng.standard_normal(shape, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def write_store(path: Path, rows: int) -> FeatureStore:
    """A finished store with one split; every chunk holds the same vectors under other ids."""
    arrays = {
        "features": ArraySpec("float32", (WIDTH,)),
        "local": ArraySpec("float16", (PATCHES, WIDTH)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    spec = StoreSpec({"train": SplitSpec(rows, arrays)})
    # Names of their own for the store: two of ImageNet's come twice.
    names = [f"{number} {name}" for number, name in enumerate(NAMES)]
    writer = FeatureWriter.create(path, spec, {"source": "random"}, {}, names, [1] * CLASSES)
    rng = np.random.default_rng(0)
    size = spec.chunk_rows("train")
    whole, local = unit(rng, size, WIDTH), unit(rng, size, PATCHES, WIDTH).astype(np.float16)
    for start, stop in writer.missing("train"):
        ids, num = np.arange(start, stop), stop - start
        held = {"features": whole[:num], "local": local[:num], "labels": ids % CLASSES, "ids": ids}
        writer.write("train", start, held)
    writer.finish()
    return FeatureStore.open(path)


def peak() -> float:
    """Largest memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Time the steps and write the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="Where the store is put for the time of it.")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu").float().eval()
    tower = TextTower.from_module(model).to(device)
    del model
    encoder = TextEncoder(tower, clip_vocabulary(tower.context_length), "")
    recipe = LoCoOp(Config(epochs=1), ClassPrior(np.full(CLASSES, options.shots)))
    batch = recipe.config.batch_size
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = write_store(Path(folder) / "store.zarr", options.shots * CLASSES)
        size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
        rows = training_rows(store, recipe.config, 0, local=True)
        before = peak()
        order = np.random.default_rng(1).permutation(len(rows))

        def learn(start: int, steps: int) -> tuple[float, float]:
            chosen = np.sort(order[start * batch :][: steps * batch])
            some = {key: getattr(rows, key)[chosen] for key in ("rows", "labels", "ids")}
            learner = Learner(recipe, NAMES, encoder, dataclasses.replace(rows, **some), 0)
            wall, processor = time.perf_counter(), time.process_time()
            learner.run(Path(folder) / "state", {})
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - wall, time.process_time() - processor

        first, _ = learn(0, 1)
        wall, processor = learn(1, options.steps)
    steps = len(rows) // batch
    memory = f"peak memory of the process {peak():.1f} GiB, {before:.1f} GiB before the first step"
    if device.type == "cuda":
        memory += f"; of the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{torch.get_num_threads()} processor thread(s)"
    per_step = wall / options.steps, processor / options.steps
    lines = [
        "# An epoch of LoCoOp on ImageNet",
        "",
        f"`python benchmarks/locoop_epoch.py --steps {options.steps} --shots {options.shots}`: "
        f"{len(rows):,} images of {CLASSES:,} classes, ViT-B/16, random features and weights, "
        f"text mode {recipe.config.text_mode}, float32, {where}; a store of {size / 1e9:.1f} GB; "
        f"{memory}.",
        "",
        "| | wall | processor |",
        "|---|---:|---:|",
        f"| first step, which warms up | {first:.1f} s | |",
        f"| step, mean of {options.steps} | {per_step[0]:.1f} s | {per_step[1]:.1f} s |",
        f"| epoch of {steps} steps, extrapolated | {per_step[0] * steps / 60:.0f} min | "
        f"{per_step[1] * steps / 60:.0f} min |",
        f"| 50 epochs, extrapolated | {per_step[0] * steps * 50 / 3600:.0f} h | "
        f"{per_step[1] * steps * 50 / 3600:.0f} h |",
        "",
        "Processor seconds are the figures to compare: other work ran on the machine at the same "
        "time.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
