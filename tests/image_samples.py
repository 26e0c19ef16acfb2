"""A tiny image data set, recipes that use every seam of the loop, and processes to kill.

Imported by tests and, for the processes, by name from another interpreter.
"""

import contextlib
import hashlib
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.extraction.in_place import extract_to
from ltood.images.arrays import ImageSplit
from ltood.recipes import TrainingRecipe
from ltood.training.loop import Run
from ltood.training.plan import Plan, TrainingConfig
from ltood.training.train import train

CLASSES = ("bars", "rows", "dots")
COUNTS = (24, 12, 6)
SIDE = 8
BACKBONE = {"variant": "small", "mean": None, "std": None}


def draw(labels, rng, channels):
    """Noise with one pattern per class; no pattern for -1."""
    images = rng.integers(0, 90, (len(labels), SIDE, SIDE, channels))
    images[labels == 0, :, ::2] += 120
    images[labels == 1, ::2] += 120
    images[labels == 2, 2:5, 2:5] += 120
    return images.astype(np.uint8)


@dataclass
class TinyImages:
    """`ImageData` in memory that remembers which splits were read."""

    seed: int = 0
    channels: int = 1
    splits_held: tuple = ("train", "val", "test", "aux", "ood_noise")
    rows: int = 20
    read: list = field(default_factory=list)

    class_names = CLASSES
    class_counts = np.array(COUNTS)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self._splits = {}
        for name in self.splits_held:
            if name == "train":
                labels = np.repeat(np.arange(3), COUNTS)
            elif name in ("val", "test"):
                labels = np.arange(self.rows) % 3
            else:
                labels = np.full(self.rows, -1)
            ids = rng.permutation(1000)[: len(labels)]
            split = ImageSplit(draw(labels, rng, self.channels), labels, ids)
            for values in (split.images, split.labels, split.ids):
                values.flags.writeable = False  # as memory-mapped files are
            self._splits[name] = split

    @property
    def manifest(self):
        splits = {
            name: {"rows": len(split), "content": _content(split)}
            for name, split in self._splits.items()
        }
        return {"dataset": "tiny", "settings": {"seed": self.seed}, "splits": splits}

    def splits(self):
        return tuple(self._splits)

    def split(self, name):
        self.read.append(name)
        return self._splits[name]

    source = split


def make_plan(seed=0, recipe="cross_entropy", recipe_settings=None, backbone=None, **training):
    settings = {"epochs": 3, "batch_size": 8, "crop_padding": 1, "horizontal_flip": False}
    return Plan(
        backbone="cifar_resnet",
        backbone_settings=BACKBONE if backbone is None else backbone,
        recipe=recipe,
        recipe_settings=recipe_settings or {},
        training=TrainingConfig(**{**settings, **training}),
        seed=seed,
    )


class GreedyRecipe(TrainingRecipe):
    """Uses all that later recipes need: views, outliers, a detector node, own weights, noise."""

    num_views = 2
    aux_per_image = 1.5
    num_aux_outputs = 1

    def attach(self, backbone):
        self.projection = nn.Linear(backbone.feature_dim, 4)
        self.dropout = nn.Dropout(0.3)
        self.register_buffer("running", torch.zeros(backbone.feature_dim))

    def losses(self, batch):
        first, second = (batch.forward(view) for view in batch.views)
        outliers = batch.forward(batch.aux)
        self.running.mul_(0.9).add_(first.pooled.detach().mean(dim=0), alpha=0.1)
        noise = torch.randn(4, generator=batch.generator)
        pair = self.projection(self.dropout(first.pooled)) - self.projection(second.pooled) + noise
        share = (batch.epoch + 1) / batch.num_epochs
        return {
            "classes": nn.functional.cross_entropy(first.logits[:, :3], batch.labels),
            "views": 0.1 * share * pair.square().mean() + 0.01 * self.running.square().mean(),
            "outliers": nn.functional.softplus(outliers.logits[:, 3]).mean(),
        }


def tree(folder):
    """Content of all files below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def state_of(out):
    """Where `train_tiny` keeps its work for the checkpoint `out`."""
    return Path(out).with_name(f"{Path(out).name}.training")


@contextlib.contextmanager
def one_thread():
    """The number of threads decides the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train_tiny(out, plan, images=None, ranks=None, weights_sha256=None):
    return train(
        plan,
        images or TinyImages(),
        Path(out),
        "cpu",
        state_folder=state_of(out),
        weights_sha256=weights_sha256,
        ranks=ranks,
    )


def resumed_to_the_bit(folder, plan, monkeypatch, stop_at=8, look_at=lambda run: None):
    """Whether a training that stops before step `stop_at` and goes on ends as an unbroken one."""
    train_tiny(folder / "unbroken", plan)
    check, steps = Run._check_losses, []

    def stop(run):
        steps.append(run.progress.step)
        look_at(run)
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        check(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_check_losses", stop)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(folder / "stopped", plan)
    train_tiny(folder / "stopped", plan)
    return tree(folder / "stopped") == tree(folder / "unbroken")


def _content(split):
    arrays = (split.images, split.labels, split.ids)
    return hashlib.sha256(b"".join(values.tobytes() for values in arrays)).hexdigest()


@one_thread()
def extract_tiny(checkpoint, out, config, images=None, ranks=None):
    _extract(extract, checkpoint, Path(out), config, images, ranks)


@one_thread()
def extract_tiny_to(checkpoint, address, config, images=None, **options):
    _extract(extract_to, checkpoint, address, config, images, None, **options)


def _extract(run, checkpoint, out, config, images, ranks, **options):
    images = images or TinyImages()
    settings = ExtractionConfig(**config)
    run(Path(checkpoint), images, out, settings, device_name="cpu", ranks=ranks, **options)


def extracted_tiny(folder, config):
    """A folder with a checkpoint and the features that it gives."""
    train_tiny(folder / "checkpoint", make_plan(epochs=1))
    extract_tiny(folder / "checkpoint", folder / "features.zarr", config)
    return folder


def child(target, *args):
    """Start a process of its own; torch is loaded once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ltood.training.train", "ltood.extraction.extract", "zarr"])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def kill_when(process, reached, moments: random.Random):
    """Send SIGKILL a random moment after `reached()`; False if the process was done before."""
    while process.is_alive() and not reached():
        time.sleep(0.001)
    time.sleep(moments.uniform(0, 0.03))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL
