import pytest
import torch
from torchvision.transforms import functional as vision

from ltood.training.augmentation.colours import equalise, greyscale, hue, saturation, sharpness


def some_images(channels=3):
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (16, channels, 12, 9), generator=rng, dtype=torch.uint8)


def test_hue_equals_torchvision_up_to_rounding():
    images, turns = some_images(), torch.linspace(-0.5, 0.5, 16)
    found = hue(images, turns)
    pairs = zip(images, turns.tolist(), strict=True)
    expected = torch.stack([vision.adjust_hue(image, turn) for image, turn in pairs])
    apart = (found.int() - expected.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.001


def test_greyscale_equals_torchvision():
    images = some_images()
    assert torch.equal(greyscale(images), vision.rgb_to_grayscale(images, 3))


@pytest.mark.parametrize("change", [hue, saturation])
def test_grey_images_keep_what_they_have_not(change):
    images = some_images(1)
    assert torch.equal(change(images, torch.full((16,), 0.3)), images)


def test_equalise_leaves_an_image_of_one_value():
    images = torch.full((2, 3, 5, 5), 40, dtype=torch.uint8)
    assert torch.equal(equalise(images), images)


def test_sharpness_leaves_images_that_are_all_border():
    images = some_images()[:, :, :2]
    assert torch.equal(sharpness(images, torch.full((16,), 2.0)), images)
