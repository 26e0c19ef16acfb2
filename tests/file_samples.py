"""A tiny set of images on disk, and training on it in a process of its own.

Imported by tests and, for the processes, by name from another interpreter.
"""

import signal
from dataclasses import replace

import numpy as np
from image_samples import COUNTS, GreedyRecipe, TinyImages, draw, train_tiny
from PIL import Image

from ltood.backbones.cifar_resnet import CifarResNet
from ltood.core.errors import DataError
from ltood.images.decoding import Geometry
from ltood.images.files import ImageFiles
from ltood.training import train as training

SMALL = Geometry((8, 8), "centre_crop", 10)


def write_split(folder, labels, seed):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    images = draw(labels, rng, 3)
    for row, image in enumerate(images):
        size = (10 + row % 7, 9 + row % 4)
        Image.fromarray(image).resize(size).save(folder / f"{row}.jpg", quality=90)
    paths = tuple(f"{row}.jpg" for row in range(len(labels)))
    return ImageFiles(folder, paths, labels, np.arange(len(labels)))


class TinyFiles(TinyImages):
    """The same classes as images on disk of several sizes; outliers may be arrays."""

    def __init__(self, root, aux="files"):
        super().__init__(channels=3)
        if aux == "larger arrays":
            small = self._splits["aux"]
            self._splits["aux"] = replace(small, images=small.images.repeat(2, 1).repeat(2, 2))
        labels = {
            "train": np.repeat(np.arange(3), COUNTS),
            "val": np.arange(20) % 3,
            "aux": np.full(20, -1),
        }
        for seed, (name, values) in enumerate(labels.items()):
            if name != "aux" or aux == "files":
                self._splits[name] = write_split(root / name, values, seed)

    @property
    def manifest(self):
        splits = {key: {"content": key} for key in self._splits}
        return {"dataset": "tiny", "settings": {}, "splits": splits}

    def split(self, name):
        found = self.source(name)
        if isinstance(found, ImageFiles):
            raise DataError("files of many sizes")
        return found

    def source(self, name):
        return self._splits[name]


def train_framed(out, plan, files):
    """As `train_tiny`, in a process of its own, where nothing was patched."""
    # Shells that start tests in the background let their children ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    CifarResNet.geometry = SMALL
    training.build_recipe = lambda name, settings, prior: GreedyRecipe(prior)
    train_tiny(out, plan, files)
