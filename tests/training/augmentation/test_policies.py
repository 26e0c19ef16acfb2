import math

import pytest
import torch
from torchvision.transforms import functional as vision

from ltood.training.augmentation.operations import (
    COLOURS,
    NAMES,
    SIGNED,
    WARPS,
    magnitudes,
    operated,
)
from ltood.training.augmentation.policies import CIFAR10_POLICY, autoaugment, randaugment
from ltood.training.policies import Policies

# What torchvision does to one image by the same amount.
SINGLE = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, amount: sheared(image, amount, 0.0),
    "shear_y": lambda image, amount: sheared(image, 0.0, amount),
    "translate_x": lambda image, amount: moved(image, int(amount), 0),
    "translate_y": lambda image, amount: moved(image, 0, int(amount)),
    "rotate": vision.rotate,
    "brightness": lambda image, amount: vision.adjust_brightness(image, 1 + amount),
    "saturation": lambda image, amount: vision.adjust_saturation(image, 1 + amount),
    "contrast": lambda image, amount: vision.adjust_contrast(image, 1 + amount),
    "sharpness": lambda image, amount: vision.adjust_sharpness(image, 1 + amount),
    "posterise": lambda image, amount: vision.posterize(image, int(amount)),
    "solarise": vision.solarize,
    "autocontrast": lambda image, _: vision.autocontrast(image),
    "equalise": lambda image, _: vision.equalize(image),
    "invert": lambda image, _: vision.invert(image),
}


def sheared(image, x, y):
    angles = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return vision.affine(image, 0.0, [0, 0], 1.0, angles, center=[0, 0])


def moved(image, x, y):
    return vision.affine(image, 0.0, [x, y], 1.0, [0.0, 0.0])


def rng(seed=3):
    return torch.Generator().manual_seed(seed)


def some_images(num=16, channels=3):
    images = torch.randint(0, 256, (num, channels, 24, 20), generator=rng(), dtype=torch.uint8)
    images[3] = images[3] // 4 + 50  # low contrast
    images[4] = 77  # one flat colour
    return images


@pytest.mark.parametrize("name", sorted({*COLOURS, *WARPS}))
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_equal_torchvision_on_each_image(name, channels):
    images = some_images(channels=channels)
    before = images.clone()
    amounts = magnitudes(name, torch.linspace(0, 1, 16), (24, 20))
    if name in SIGNED:
        amounts = amounts * torch.where(torch.arange(16) % 2 == 0, 1, -1)
    found = operated(name, images, amounts, (0,))
    singles = zip(images, amounts.tolist(), strict=True)
    expected = torch.stack([SINGLE[name](image, amount) for image, amount in singles])
    apart = (found.int() - expected.int()).abs()
    if name.startswith("shear"):
        # Places halfway between two pixels may go either way.
        assert (apart > 0).float().mean() < 0.01
    else:
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.03
    assert torch.equal(images, before)


def test_every_operation_of_the_policies_exists():
    assert {name for sub in CIFAR10_POLICY for name, _, _ in sub} <= {*COLOURS, *WARPS}
    assert set(NAMES) <= {*COLOURS, *WARPS}
    assert len(CIFAR10_POLICY) == 25


def test_the_policy_equals_torchvisions_table():
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    names = {
        "color": "saturation",
        "equalize": "equalise",
        "posterize": "posterise",
        "solarize": "solarise",
    }
    for ours, published in zip(CIFAR10_POLICY, theirs, strict=True):
        for (name, probability, magnitude), (theirs_name, p, bin_number) in zip(
            ours, published, strict=True
        ):
            plain = theirs_name.lower().replace("shearx", "shear_x").replace("sheary", "shear_y")
            plain = plain.replace("translatex", "translate_x").replace("translatey", "translate_y")
            assert name == names.get(plain, plain)
            assert probability == p
            assert magnitude == (bin_number or 0)


@pytest.mark.parametrize("augment", [autoaugment, randaugment])
def test_policies_are_repeatable_and_change_images_one_by_one(augment):
    images = some_images(64)
    before = images.clone()
    found = augment(images, rng())
    assert torch.equal(found, augment(images, rng()))
    assert torch.equal(images, before)
    assert found.dtype == torch.uint8
    changed = (found != images).flatten(1).any(1)
    assert 0.5 < changed.float().mean() < 1
    assert not torch.equal(found, augment(images, rng(4)))


def test_randaugment_without_steps_changes_nothing():
    images = some_images()
    assert torch.equal(randaugment(images, rng(), Policies(steps=0)), images)
    assert torch.equal(randaugment(images, rng(), Policies(probability=0.0)), images)


@pytest.mark.parametrize("name", sorted(WARPS))
def test_what_comes_in_from_outside_is_the_fill(name):
    images = some_images()
    amounts = magnitudes(name, torch.ones(16), (24, 20))
    black, filled = (operated(name, images, amounts, fill) for fill in ((0,), (9, 8, 7)))
    outside = operated(name, torch.full_like(images, 255), amounts, (0,)) == 0
    assert 0.01 < outside.float().mean() < 0.6
    assert torch.equal(filled[~outside], black[~outside])
    expected = torch.tensor([9, 8, 7], dtype=torch.uint8).view(1, 3, 1, 1).expand_as(images)
    assert torch.equal(filled[outside], expected[outside])


@pytest.mark.parametrize("operations", ["torchvision", "patt"])
def test_strength_deviates_and_each_step_has_its_probability(operations):
    images = torch.randint(0, 256, (600, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    fixed = Policies(operations=operations, steps=1)
    half = Policies(operations=operations, steps=1, probability=0.5)
    changed = [
        (randaugment(images, rng(), chosen) != images).flatten(1).any(1).float().mean().item()
        for chosen in (fixed, half)
    ]
    assert changed[1] == pytest.approx(changed[0] / 2, abs=0.07)
    varied = Policies(operations=operations, steps=1, deviation=0.1)
    assert not torch.equal(randaugment(images, rng(), varied), randaugment(images, rng(), fixed))
