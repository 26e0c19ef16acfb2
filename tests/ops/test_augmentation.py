import torch

from ltood.ops.augmentation import random_crop, random_flip


def rng():
    return torch.Generator().manual_seed(5)


def test_crop_equals_cutting_each_padded_image():
    images = torch.randint(1, 256, (12, 3, 6, 5), dtype=torch.uint8)
    found = random_crop(images, 2, rng())
    top, left = torch.randint(5, (2, 12, 1), generator=rng())
    for row in range(12):
        padded = torch.zeros(3, 10, 9, dtype=torch.uint8)
        padded[:, 2:8, 2:7] = images[row]
        cut = padded[:, top[row] : top[row] + 6, left[row] : left[row] + 5]
        assert torch.equal(found[row], cut)
    assert found.dtype == torch.uint8


def test_crop_reaches_every_shift():
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    places = random_crop(image.repeat(200, 1, 1, 1), 2, rng()).flatten(1).argmax(dim=1)
    assert set(places.tolist()) == set(range(25))


def test_no_padding_leaves_the_images():
    images = torch.rand(3, 1, 4, 4)
    assert random_crop(images, 0, rng()) is images


def test_flip_mirrors_about_half_and_leaves_its_input():
    images = torch.rand(400, 1, 2, 3)
    before = images.clone()
    found = random_flip(images, rng())
    mirrored = (found == images.flip(3)).flatten(1).all(dim=1)
    kept = (found == images).flatten(1).all(dim=1)
    assert (mirrored ^ kept).all()
    assert 150 < mirrored.sum() < 250
    assert torch.equal(images, before)
