"""Batches as a function of (seed, epoch, step), so that a resumed run sees the same ones.

Small images lie on the device, image files are decoded ahead (`ltood/training/pixels.py`); both
are augmented on the device, batch by batch. There are no worker processes.
"""

import math
from collections.abc import Callable, Generator
from contextlib import closing

import torch
from torch import Tensor

from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone, BackboneOutput
from ltood.networks.pixels import as_input
from ltood.recipes import StepBatch, TrainingRecipe
from ltood.runtime.devices import upload
from ltood.runtime.distributed import Ranks
from ltood.training.augmentation.named import augmented
from ltood.training.counted import derive_generator
from ltood.training.pixels import BatchRequest, ImageProvider, pixels_of
from ltood.training.plan import Augmentation, Crop, Plan
from ltood.training.scaling import aux_scaling, mean_pixel

#: Batches that are decoded ahead of the one in use.
_AHEAD = 2
#: Orders that are remembered: those of an epoch and its outliers, and of what comes next.
_ORDERS = 6


class Batches:
    """Augmented training batches, and outliers if the recipe uses them.

    Attributes:
        num_images: Training images that an epoch shows.
        num_steps: Batches of one epoch.
    """

    def __init__(
        self,
        plan: Plan,
        data: ImageData,
        recipe: TrainingRecipe,
        backbone: Backbone,
        device: torch.device,
        layout: torch.memory_format,
        ranks: Ranks | None = None,
        forward: Callable[[Tensor], BackboneOutput] | None = None,
    ) -> None:
        """Move small images to the device; larger ones are read when they are needed.

        Args:
            plan: Seed and settings.
            data: Images of train, and of aux if the recipe uses outliers.
            recipe: Says how many views and outliers there are.
            backbone: Says how images are brought to size.
            device: Where batches are made.
            layout: Memory layout of the batches.
            ranks: This process among those that train together; alone if not given.
            forward: What recipes send images through; the backbone if not given.

        Raises:
            ConfigError: If no batch is full and `drop_last` keeps full ones only, or outliers
                cannot be scaled by `aux_mean` and `aux_std`.
        """
        ranks = ranks or Ranks()
        self._forward = forward or backbone
        self._plan, self._config, self._layout = plan, plan.training, layout
        train = data.source("train")
        self._images = pixels_of(train, backbone, device, ranks)
        self._labels = torch.from_numpy(train.labels.copy()).to(device)
        self._num_views, self._aux_per_image = recipe.num_views, recipe.aux_per_image
        self._aux: ImageProvider | None = None
        if recipe.aux_per_image > 0:
            # Of held images the outliers have the shape; of others they come to their size.
            streamed = self._images.cuts_parts
            aux = data.source("aux") if streamed else data.split("aux")
            self._aux = pixels_of(aux, backbone, device, ranks, beside_files=streamed)
        self._orders: dict[tuple[int | str, ...], Tensor] = {}
        self._rescaled = aux_scaling(self._config, backbone, device)
        self._mean = mean_pixel(backbone)
        size, total = self._config.batch_size, len(self._images)
        self.num_steps = total // size if self._config.drop_last else math.ceil(total / size)
        self.num_images = size * self.num_steps if self._config.drop_last else total
        if self.num_steps == 0:
            raise self._config.fault(
                "drop_last",
                f"leaves no batch of {size} among {total} images; set training.batch_size to at "
                "most that number, or drop_last to false.",
            )

    def images_before(self, step: int) -> int:
        """Images of the first `step` batches of an epoch."""
        least, more = divmod(self.num_images, self.num_steps)
        return step * least + min(step, more)

    def close(self) -> None:
        """End the threads that decode."""
        self._images.close()
        if self._aux is not None:
            self._aux.close()

    def batch(self, epoch: int, step: int) -> StepBatch:
        """Batch `step` of epoch `epoch`, both counted from 0.

        The batches of an epoch together hold each image once and differ by at most one image,
        because a last batch of a few images would upset batch norm. With `drop_last` all have
        the set size, and the images left over are not seen in that epoch.

        Raises:
            DataError: If an image file is missing, changed or not an image.
        """
        last = self._config.epochs * self.num_steps
        number = epoch * self.num_steps + step
        for ahead in range(number, min(number + _AHEAD + 1, last)):
            self._prefetch(*divmod(ahead, self.num_steps))
        rows = self._rows(epoch, step)
        pixels = self._images.views(self._wanted(epoch, step))
        seed = self._plan.seed
        return StepBatch(
            views=tuple(
                self._augmented(images, self._images, epoch, step, view)
                for view, images in enumerate(pixels)
            ),
            labels=self._labels[upload(rows, self._labels.device)],
            aux=self._outliers(epoch, step),
            epoch=epoch,
            num_epochs=self._config.epochs,
            generator=derive_generator(seed, epoch, step, "recipe"),
            forward=self._forward,
        )

    def outliers(self) -> Generator[Tensor]:
        """All outliers in order and whole, as the network takes them; none without a split aux."""
        if self._aux is None:
            return
        with closing(self._aux.blocks()) as blocks:
            for images in blocks:
                yield self._rescaled(as_input(images, self._layout))

    def _rows(self, epoch: int, step: int) -> Tensor:
        """Rows of a batch, [B] on the CPU; the first batches hold what cannot be shared evenly."""
        rows = slice(self.images_before(step), self.images_before(step + 1))
        return self._order(len(self._images), epoch, "order")[rows]

    def _order(self, num: int, *counters: int | str) -> Tensor:
        """A random order of `num` rows; the last few are remembered."""
        if counters not in self._orders:
            if len(self._orders) >= _ORDERS:
                del self._orders[next(iter(self._orders))]
            generator = derive_generator(self._plan.seed, *counters)
            self._orders[counters] = torch.randperm(num, generator=generator)
        return self._orders[counters]

    def _prefetch(self, epoch: int, step: int) -> None:
        """Let images be decoded that are not held."""
        if self._images.cuts_parts:
            self._images.prefetch(self._wanted(epoch, step))
        if self._aux is not None and self._aux.cuts_parts:
            self._aux.prefetch(self._wanted_outliers(self._aux, epoch, step))

    def _wanted(self, epoch: int, step: int) -> BatchRequest:
        rows = tuple(self._rows(epoch, step).tolist())
        cuts = tuple(self._cuts(self._images, self._kind(view)) for view in range(self._num_views))
        return self._asked(rows, cuts, epoch, step)

    def _wanted_outliers(self, aux: ImageProvider, epoch: int, step: int) -> BatchRequest:
        rows = self._outlier_rows(len(aux), epoch, step)
        cuts = (self._cuts(aux, self._kind("aux")),)
        return self._asked(rows, cuts, epoch, step, "aux")

    def _asked(
        self, rows: tuple[int, ...], cuts: tuple[bool, ...], *counters: int | str
    ) -> BatchRequest:
        return BatchRequest(rows, cuts, self._plan.seed, counters, self._area(counters[-1]))

    def _area(self, view: int | str) -> float:
        """Least share of an image that a part shows, in a view or an outlier."""
        own = self._config.aux_crop_area if view == "aux" else None
        return self._config.crop_area if own is None else own

    def _padding(self, view: int | str) -> int:
        """Largest shift of an image, in a view or an outlier."""
        own = self._config.aux_crop_padding if view == "aux" else None
        return self._config.crop_padding if own is None else own

    def _crop(self, pixels: ImageProvider) -> Crop:
        return self._config.crop or ("resized" if pixels.cuts_parts else "shift")

    def _cuts(self, pixels: ImageProvider, kind: Augmentation) -> bool:
        """Whether parts of the images themselves are cut."""
        return pixels.cuts_parts and (self._crop(pixels) == "resized" or kind == "contrast")

    def _augmented(self, images: Tensor, pixels: ImageProvider, *counters: int | str) -> Tensor:
        view = counters[-1]
        config, kind = self._config, self._kind(view)
        images = augmented(
            images,
            kind,
            derive_generator(self._plan.seed, *counters),
            padding=self._padding(view),
            flip=config.horizontal_flip,
            crop=None if self._cuts(pixels, kind) else self._crop(pixels),
            area=self._area(view),
            policies=config.policies,
            mean=self._mean,
        )
        return as_input(images, self._layout)

    def _kind(self, view: int | str) -> Augmentation:
        config = self._config
        chosen = config.aux_augmentation if view == "aux" else config.later_views if view else None
        return chosen or config.augmentation

    def _outliers(self, epoch: int, step: int) -> Tensor | None:
        """Augmented outliers for a batch."""
        if self._aux is None:
            return None
        (images,) = self._aux.views(self._wanted_outliers(self._aux, epoch, step))
        return self._rescaled(self._augmented(images, self._aux, epoch, step, "aux"))

    def _outlier_rows(self, total: int, epoch: int, step: int) -> tuple[int, ...]:
        """Rows of the outliers for a batch; within a round no outlier comes twice."""
        num_images = len(self._rows(epoch, step))
        wanted = math.ceil(self._aux_per_image * num_images)
        most = math.ceil(self._aux_per_image * self._config.batch_size)
        anew = self._config.aux_order == "epochs"
        first = (step if anew else epoch * self.num_steps + step) * most
        rounds = range(first // total, (first + wanted - 1) // total + 1)
        name = ("aux", epoch) if anew else ("aux",)
        orders = [self._order(total, *name, number) for number in rounds]
        begin = first - rounds[0] * total
        return tuple(torch.cat(orders)[begin : begin + wanted].tolist())
