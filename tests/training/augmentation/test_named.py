import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.training.augmentation.named import AUGMENTATIONS, augmented
from ltood.training.augmentation.transforms import random_crop, random_flip
from ltood.training.policies import Policies


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


SHARES = st.floats(0, 1)
POLICIES = st.builds(
    Policies,
    operations=st.sampled_from(["torchvision", "patt"]),
    fill=st.sampled_from(["black", "grey", "mean"]),
    steps=st.integers(0, 3),
    strength=SHARES,
    deviation=st.floats(0, 0.5),
    probability=SHARES,
    jitter=SHARES,
    cutout=SHARES,
)


@given(POLICIES, st.sampled_from(["autoaugment", "randaugment"]), st.sampled_from([1, 3]))
def test_any_policy_keeps_form_and_treats_each_image_by_itself(policies, kind, channels):
    images = torch.randint(0, 256, (6, channels, 9, 7), generator=rng(), dtype=torch.uint8)
    settings = {"padding": 1, "flip": True, "policies": policies, "mean": (90,) * channels}
    found = augmented(images, kind, rng(), **settings)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    other = images.clone()
    other[2] = 255 - other[2]
    again = augmented(other, kind, rng(), **settings)
    kept = [row for row in range(6) if row != 2]
    assert torch.equal(found[kept], again[kept])


def test_a_policy_that_does_nothing_is_crop_and_flip():
    images = torch.randint(0, 256, (8, 3, 6, 6), generator=rng(), dtype=torch.uint8)
    nothing = Policies(steps=0, cutout=0.0)
    found = augmented(images, "randaugment", rng(), padding=2, flip=True, policies=nothing)
    assert torch.equal(found, augmented(images, "basic", rng(), padding=2, flip=True))
