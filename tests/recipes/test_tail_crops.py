import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.recipes._tail_crops import pasted


def made(num, value, side=8):
    return torch.full((num, 1, side, side), float(value))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(0, 5), st.integers(0, 1000))
def test_every_pixel_is_of_the_background_or_of_the_tail(num_grounds, num_tail, seed):
    grounds = torch.rand(num_grounds, 1, 8, 6)
    tail = 1 + torch.rand(num_tail, 1, 8, 6)
    before = grounds.clone()
    images, rows = pasted(grounds, tail, torch.Generator().manual_seed(seed))
    assert len(images) == len(rows) <= num_grounds
    assert torch.equal(grounds, before)
    from_tail = images >= 1
    assert torch.equal(images[from_tail], tail[rows][from_tail])
    assert torch.equal(images[~from_tail], grounds[: len(images)][~from_tail])
    # One box for all.
    assert (from_tail == from_tail[:1]).all()
    counts = torch.bincount(rows, minlength=num_tail)
    assert counts.numel() == 0 or counts.max() - counts.min() <= (num_grounds < num_tail)


def test_tail_images_are_used_as_often_as_there_is_ground():
    _, rows = pasted(made(7, 0), made(3, 1), torch.Generator())
    assert rows.tolist() == [0, 1, 2, 0, 1, 2]
    _, rows = pasted(made(2, 0), made(3, 1), torch.Generator())
    assert rows.tolist() == [0, 1]


def test_the_box_covers_half_of_the_image_on_average_before_it_is_cut():
    generator = torch.Generator().manual_seed(0)
    ground, tail = made(1, 0, side=32), made(1, 1, side=32)
    shares = [pasted(ground, tail, generator)[0].mean().item() for _ in range(400)]
    # Uniform areas around uniform centres: about 0.28 of the image is left within it.
    assert 0.2 < sum(shares) / len(shares) < 0.36
    assert max(shares) > 0.6
    assert min(shares) == 0
