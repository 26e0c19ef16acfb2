import pytest
import torch

from ltood.training.augmentation.named import AUGMENTATIONS, augmented
from ltood.training.augmentation.transforms import random_crop, random_flip


def rng():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_named_augmentations_keep_form_and_draw_by_their_generator(kind, channels):
    images = torch.randint(0, 256, (32, channels, 12, 12), generator=rng(), dtype=torch.uint8)
    before = images.clone()
    found = augmented(images, kind, rng(), padding=2, flip=True)
    assert found.shape == images.shape
    assert found.dtype == torch.uint8
    assert torch.equal(found, augmented(images, kind, rng(), padding=2, flip=True))
    assert not torch.equal(found, images)
    assert torch.equal(images, before)


def test_basic_is_crop_and_flip():
    images = torch.randint(0, 256, (8, 3, 6, 6), generator=rng(), dtype=torch.uint8)
    generator = rng()
    expected = random_flip(random_crop(images, 2, generator), generator)
    assert torch.equal(augmented(images, "basic", rng(), padding=2, flip=True), expected)
    assert torch.equal(augmented(images, "basic", rng(), padding=0, flip=False), images)
