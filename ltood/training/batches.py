"""Batches as a function of (seed, epoch, step), so that a resumed run sees the same ones.

All images lie on the device as one uint8 tensor and are augmented there; there are no worker
processes. Random numbers are counted, not streamed: each draw has a generator of its own.
"""

import hashlib
import math

import torch
from torch import Tensor

from ltood.core.images import ImageData
from ltood.core.recipe import Recipe, StepBatch
from ltood.ops.view_sets import augmented
from ltood.training.plan import Augmentation, Plan


def counted_seed(seed: int, *counters: int | str) -> int:
    """Number from 0 to 2^63 - 1 that depends on the seed and the counters only."""
    text = "/".join(str(counter) for counter in (seed, *counters))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def counted_generator(seed: int, *counters: int | str) -> torch.Generator:
    """Random numbers on the CPU that depend on the seed and the counters only."""
    return torch.Generator().manual_seed(counted_seed(seed, *counters))


def as_input(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Pixels [N, channels, H, W] uint8 as floats in [0, 1]."""
    return (images.float() / 255).contiguous(memory_format=layout)


def on_device(data: ImageData, split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images [N, channels, H, W] uint8 and labels [N] int64 of a split, as tensors."""
    found = data.split(split)
    images = torch.from_numpy(found.images.copy()).to(device)
    return images.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(found.labels.copy()).to(device)


class Batches:
    """Augmented training batches, and outliers where a recipe wants them.

    Attributes:
        num_images: Training images N.
        num_steps: Batches of one epoch.
    """

    def __init__(
        self,
        plan: Plan,
        data: ImageData,
        recipe: Recipe,
        device: torch.device,
        layout: torch.memory_format,
    ) -> None:
        """Move the images to the device."""
        self._plan, self._config, self._layout = plan, plan.training, layout
        self._images, self._labels = on_device(data, "train", device)
        self._num_views, self._aux_per_image = recipe.num_views, recipe.aux_per_image
        self._aux = on_device(data, "aux", device)[0] if recipe.aux_per_image > 0 else None
        self._epoch = -1
        self._rows: tuple[Tensor, ...] = ()
        self.num_images = len(self._images)
        self.num_steps = math.ceil(self.num_images / self._config.batch_size)

    def batch(self, epoch: int, step: int) -> StepBatch:
        """Batch `step` of epoch `epoch`, both counted from 0.

        The batches of an epoch together hold each image once and differ by at most one image,
        because a last batch of a few images would upset batch norm.
        """
        seed = self._plan.seed
        if epoch != self._epoch:
            order = torch.randperm(
                self.num_images, generator=counted_generator(seed, epoch, "order")
            )
            self._rows = order.to(self._images.device).tensor_split(self.num_steps)
            self._epoch = epoch
        rows = self._rows[step]
        return StepBatch(
            views=tuple(
                self._augmented(self._images[rows], epoch, step, view)
                for view in range(self._num_views)
            ),
            labels=self._labels[rows],
            aux=self._outliers(len(rows), epoch, step),
            epoch=epoch,
            num_epochs=self._config.epochs,
            generator=counted_generator(seed, epoch, step, "recipe"),
        )

    def _augmented(self, images: Tensor, *counters: int | str) -> Tensor:
        config = self._config
        images = augmented(
            images,
            self._kind(counters[-1]),
            counted_generator(self._plan.seed, *counters),
            padding=config.crop_padding,
            flip=config.horizontal_flip,
        )
        return as_input(images, self._layout)

    def _kind(self, view: int | str) -> Augmentation:
        config = self._config
        chosen = config.aux_augmentation if view == "aux" else config.later_views if view else None
        return chosen or config.augmentation

    def _outliers(self, num_images: int, epoch: int, step: int) -> Tensor | None:
        """Augmented outliers for a batch; within a round no outlier comes twice."""
        if self._aux is None:
            return None
        total, wanted = len(self._aux), math.ceil(self._aux_per_image * num_images)
        most = math.ceil(self._aux_per_image * self._config.batch_size)
        first = (epoch * self.num_steps + step) * most
        rounds = range(first // total, (first + wanted - 1) // total + 1)
        orders = [
            torch.randperm(total, generator=counted_generator(self._plan.seed, "aux", number))
            for number in rounds
        ]
        begin = first - rounds[0] * total
        rows = torch.cat(orders)[begin : begin + wanted].to(self._aux.device)
        return self._augmented(self._aux[rows], epoch, step, "aux")
