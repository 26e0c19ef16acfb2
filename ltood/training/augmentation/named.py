"""The named augmentations of the published trainings, in the order their code applies them.

`basic` is crop and flip. `jitter` is what PASCL (arXiv:2207.01160) and ImOOD (arXiv:2407.16430)
train CIFAR with: colour jitter on four images of five, one of five grey. `contrast` starts from a
resized crop instead, as the second and third views of PATT (arXiv:2408.06742) and SimCLR
(arXiv:2002.05709). `autoaugment` adds the policy found on CIFAR-10 and cutout, as the first view
of PATT. `randaugment` does so with random operations. Of both the settings `training.policies` say
more.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from ltood.training.augmentation.policies import autoaugment, randaugment
from ltood.training.augmentation.transforms import (
    random_crop,
    random_cutout,
    random_flip,
    random_grey,
    random_jitter,
    random_resized_crop,
)
from ltood.training.policies import Policies

Augmentation = Literal["basic", "jitter", "contrast", "autoaugment", "randaugment"]
Crop = Literal["shift", "resized"]
#: The names, from weak to strong.
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)


def augmented(
    images: Tensor,
    kind: Augmentation,
    generator: torch.Generator,
    *,
    padding: int,
    flip: bool,
    crop: Crop | None = "shift",
    area: float = 0.08,
    policies: Policies | None = None,
    mean: tuple[int, ...] = (0,),
) -> Tensor:
    """Augment each image by itself.

    Args:
        images: [N, channels, H, W] uint8.
        kind: Name of the augmentation.
        generator: Random numbers on the CPU.
        padding: Largest random shift in pixels.
        flip: Mirror half of the images.
        crop: "shift", which "contrast" replaces by "resized": a random part, stretched to the
            full size. None where parts were cut already.
        area: Least share of an image that "resized" shows.
        policies: How "autoaugment" and "randaugment" change an image; the defaults if not given.
        mean: Pixel that they fill with where `fill` is "mean", one value for each channel.

    Returns:
        New images of the same shape, type and device.
    """
    if crop == "resized" or (crop == "shift" and kind == "contrast"):
        images = random_resized_crop(images, generator, area=(area, 1.0))
    elif crop == "shift":
        images = random_crop(images, padding, generator)
    if flip:
        images = random_flip(images, generator)
    if kind in ("jitter", "contrast"):
        return random_grey(random_jitter(images, generator), generator)
    return _by_policy(images, kind, generator, policies or Policies(), mean)


def _by_policy(
    images: Tensor,
    kind: Augmentation,
    generator: torch.Generator,
    policies: Policies,
    mean: tuple[int, ...],
) -> Tensor:
    """What "autoaugment" and "randaugment" do after crop and flip; others leave the images."""
    fill = {"black": (0,), "grey": (128,), "mean": mean}[policies.fill]
    if kind == "autoaugment":
        images = autoaugment(images, generator, policies, fill=fill)
    elif kind == "randaugment":
        if policies.jitter > 0:
            images = random_jitter(
                images, generator, strength=policies.jitter, hue_strength=0, probability=1
            )
        images = randaugment(images, generator, policies, fill=fill)
    else:
        return images
    if policies.cutout == 0:
        return images
    # By default a square of half the width: 16 pixels of 32.
    length = max(1, int(policies.cutout * images.shape[3]))
    return random_cutout(images, generator, length=length)
