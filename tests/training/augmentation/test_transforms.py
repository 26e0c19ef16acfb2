import torch
from torchvision.transforms import functional as vision

from ltood.training.augmentation.transforms import (
    crop_boxes,
    random_crop,
    random_cutout,
    random_flip,
    random_grey,
    random_jitter,
    resized_crop,
)


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


def test_resized_crop_equals_torchvision_up_to_rounding():
    images = torch.randint(0, 256, (16, 3, 32, 28), generator=rng(), dtype=torch.uint8)
    boxes = crop_boxes(16, (32, 28), rng(), area=(0.08, 1), ratio=(3 / 4, 4 / 3))
    found = resized_crop(images, boxes)
    expected = torch.stack(
        [
            vision.resized_crop(image, *box, [32, 28], antialias=False)
            for image, box in zip(images, boxes.tolist(), strict=True)
        ]
    )
    assert (found.int() - expected.int()).abs().max() <= 1


def test_boxes_lie_inside_and_keep_area_and_shape():
    boxes = crop_boxes(4000, (32, 40), rng(), area=(0.1, 0.8), ratio=(0.5, 2))
    tops, lefts, heights, widths = boxes.T
    assert (boxes >= 0).all()
    assert (heights > 0).all()
    assert (tops + heights <= 32).all()
    assert (lefts + widths <= 40).all()
    areas = heights * widths / (32 * 40)
    assert areas.min() > 0.07
    assert areas.max() < 0.85
    assert 0.4 < areas.mean() < 0.48
    shapes = widths / heights
    assert shapes.min() > 0.4
    assert shapes.max() < 2.3


def test_boxes_that_never_fit_give_the_largest_centred_one():
    # Every draw is wider than the image is: a strip of 4 by 40 has no box of ratio 1 and area 1.
    boxes = crop_boxes(3, (40, 4), rng(), area=(1, 1), ratio=(1, 1))
    assert boxes.tolist() == [[18, 0, 4, 4]] * 3


def test_jitter_changes_its_share_and_leaves_its_input():
    images = torch.randint(0, 256, (400, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    before = images.clone()
    found = random_jitter(images, rng())
    changed = (found != images).flatten(1).any(1).float().mean()
    assert 0.72 < changed < 0.88
    assert torch.equal(images, before)
    assert torch.equal(found, random_jitter(images, rng()))


def test_jitter_without_strength_moves_nothing_by_more_than_rounding():
    images = torch.randint(0, 256, (50, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    found = random_jitter(images, rng(), strength=0, hue_strength=0, probability=1)
    assert (found.int() - images.int()).abs().max() <= 1


def test_grey_drains_its_share():
    images = torch.randint(0, 256, (500, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    found = random_grey(images, rng())
    grey = ((found[:, 0] == found[:, 1]) & (found[:, 1] == found[:, 2])).flatten(1).all(1)
    assert 0.14 < grey.float().mean() < 0.26
    assert torch.equal(found[~grey], images[~grey])


def test_cutout_blackens_one_square_of_the_length():
    images = torch.ones(300, 1, 20, 24, dtype=torch.uint8)
    found = random_cutout(images, rng(), length=6)
    holes = (found == 0).sum((1, 2, 3))
    assert holes.max() == 36
    assert holes.min() >= 9  # a quarter is inside when the centre is a corner
    hole = (found[holes.argmax(), 0] == 0).nonzero()
    assert (hole.amax(0) - hole.amin(0)).tolist() == [5, 5]
    assert (images == 1).all()
