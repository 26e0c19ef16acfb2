"""Views are drawn by torchvision's rules and depend on nothing but seed, id and number."""

import numpy as np
import pytest
import torch
from PIL import Image

from ltood.images.arrays import ImageSplit
from ltood.images.views import RandomViews, crop_box

SIZES = [(224, 224), (500, 375), (20, 400), (375, 20), (1, 1), (3, 2), (28, 28)]


def image(seed=0, height=40, width=50):
    pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_are_those_of_torchvision(height, width):
    from torchvision.transforms import RandomResizedCrop

    def uniform(low, high):
        return torch.empty(1).uniform_(low, high).item()

    def below(stop):
        return int(torch.randint(0, stop, size=(1,)).item())

    image = Image.new("RGB", (width, height))
    for seed in range(200):
        torch.manual_seed(seed)
        wanted = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        torch.manual_seed(seed)
        assert crop_box(height, width, uniform, below) == wanted


@pytest.mark.parametrize(
    ("size", "box"),
    [((30, 30), (0, 0, 30, 30)), ((10, 100), (0, 43, 10, 13)), ((90, 30), (25, 0, 40, 30))],
)
def test_what_never_fits_gives_the_middle(size, box):
    # The largest area in the most extreme shape fits into none of these.
    assert crop_box(*size, lambda low, high: high, lambda stop: 0) == box


def test_a_view_is_the_resized_crop_or_its_mirror():
    from torchvision.transforms import functional

    views = RandomViews(12, 16, 3, np.array([5]))
    found, flips = views(image(), 0), 0
    for number, view in enumerate(found):
        rng = np.random.default_rng([7, 3, 5, number])
        box = crop_box(40, 50, rng.uniform, lambda stop, rng=rng: int(rng.integers(stop)))
        bicubic = functional.InterpolationMode.BICUBIC
        wanted = np.asarray(functional.resized_crop(image(), *box, [16, 16], bicubic))
        flips += not np.array_equal(view, wanted)
        assert np.array_equal(view, wanted) or np.array_equal(view, wanted[:, ::-1])
    assert 1 <= flips <= 11


def test_a_view_depends_on_its_own_number_only():
    pixels = np.stack([np.asarray(image(seed)) for seed in range(4)])
    split = ImageSplit(pixels, np.zeros(4, np.int64), np.array([9, 4, 7, 2]))
    views = RandomViews(3, 8, 1, split.ids)
    together = np.stack([views(Image.fromarray(split.images[row]), row) for row in range(4)])
    assert together.shape == (4, 3, 8, 8, 3)
    order = np.array([2, 0, 3])
    shuffled = split.take(order)
    fewer = RandomViews(2, 8, 1, shuffled.ids)
    for row in (2, 1, 0):
        alone = fewer(Image.fromarray(shuffled.images[row]), row)
        np.testing.assert_array_equal(alone, together[order[row], :2])


@pytest.mark.parametrize(
    "other",
    [RandomViews(1, 8, 2, np.array([0])), RandomViews(1, 8, 1, np.array([1]))],
)
def test_seed_and_id_change_a_view(other):
    base = RandomViews(2, 8, 1, np.array([0]))(image(), 0)
    assert not np.array_equal(base[0], base[1])
    assert not np.array_equal(base[0], other(image(), 0)[0])


def test_bilinear_views_show_the_same_part():
    bicubic = RandomViews(1, 8, 1, np.array([0]))(image(), 0)
    bilinear = RandomViews(1, 8, 1, np.array([0]), "bilinear")(image(), 0)
    assert not np.array_equal(bicubic, bilinear)
    assert np.abs(bicubic.astype(int) - bilinear).mean() < 20
