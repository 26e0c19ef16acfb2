"""Two ranks train what one does, up to rounding, with losses over the whole batch."""

import sys

import pytest
import torch
from image_samples import make_plan, train_tiny
from pretended_device import pretended_gpu
from rank_samples import run_ranks
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d
from torch import nn

from ltood.core.errors import ConfigError
from ltood.networks.checkpoint_files import HISTORY, WEIGHTS
from ltood.runtime.distributed import Ranks
from ltood.training.sharing import (
    SharedBatchNorm2d,
    all_reduce_gradients,
    share_norms,
    split_evenly,
)

PROGRAM = """
import sys
from image_samples import make_plan, train_tiny
from ltood.runtime.distributed import ranks_from_environment
recipe = sys.argv[2]
with ranks_from_environment() as ranks:
    train_tiny(sys.argv[1], make_plan(recipe=recipe, epochs=2, batch_size=9), ranks=ranks)
"""


@pytest.mark.parametrize("recipe", ["cross_entropy", "patt"])
def test_two_ranks_train_as_one(tmp_path, recipe):
    run_ranks(PROGRAM, tmp_path / "two", recipe)
    train_tiny(tmp_path / "one", make_plan(recipe=recipe, epochs=2, batch_size=9))
    two, one = (load_file(tmp_path / name / WEIGHTS) for name in ("two", "one"))
    assert list(two) == list(one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
    rows = [(tmp_path / name / HISTORY).read_text().splitlines() for name in ("two", "one")]
    assert rows[0][0] == rows[1][0]
    for column in (-3, -2, -1):  # the loss, and what each rank saw of its share of val
        seen = [[float(row.split(",")[column]) for row in history[1:]] for history in rows]
        assert seen[0] == pytest.approx(seen[1], rel=1e-3)


FAILING = """
import sys
from image_samples import make_plan, train_tiny
from ltood.core.errors import StoreError
from ltood.runtime.distributed import ranks_from_environment
with ranks_from_environment() as ranks:
    try:
        train_tiny(sys.argv[1], make_plan(), ranks=ranks)
    except StoreError as error:
        assert "stranger.txt" in str(error)
    else:
        raise AssertionError("nothing was refused")
"""


def test_what_the_first_rank_refuses_all_refuse_alike(tmp_path):
    (tmp_path / "stranger.txt").touch()
    run_ranks(FAILING, tmp_path)


PIXELS = """
import sys
import numpy as np, torch
from ltood.images.decoding import Geometry
from ltood.images.arrays import ImageSplit
from ltood.runtime.distributed import ranks_from_environment
from ltood.training.pixels import PrefetchedImages, BatchRequest
images = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
split = ImageSplit(images, np.zeros(6, np.int64), np.arange(6))
with ranks_from_environment() as ranks:
    pixels = PrefetchedImages(split, Geometry((5, 5)), torch.device("cpu"), ranks)
    for rows in ((4, 2, 0, 5, 1), (3,)):
        views = pixels.views(BatchRequest(rows, (True, False), 7, (1, 2)))
        torch.save(views, f"{sys.argv[1]}/{ranks.world_size}-{ranks.rank}-{len(rows)}.pt")
    pixels.close()
"""


def test_ranks_decode_their_shares_and_see_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path)])
    exec(PIXELS, {})  # By one rank, which needs no process of its own.
    run_ranks(PIXELS, tmp_path)
    for num in (5, 1):  # of one row the second rank has none
        expected = torch.load(tmp_path / f"1-0-{num}.pt", weights_only=True)
        assert [len(view) for view in expected] == [num, num]
        for rank in range(2):
            found = torch.load(tmp_path / f"2-{rank}-{num}.pt", weights_only=True)
            assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


NORM = """
import sys, torch, warnings
from ltood.runtime.distributed import ranks_from_environment
from ltood.training import buckets
from ltood.training.sharing import SharedBatchNorm2d, share_recipe_gradients, share_recipe_state
warnings.simplefilter("error")  # such as that of a number taken from the device in mid-step
with ranks_from_environment() as ranks:
    torch.manual_seed(0)
    maps = torch.randn(7, 3, 4, 5)
    norm = SharedBatchNorm2d(3)
    own = maps[:4] if ranks.rank == 0 else maps[4:]
    own.requires_grad_()
    out = norm(own)
    (out ** 3).sum().backward()
    torch.save((out.detach(), own.grad, norm.state_dict()), f"{sys.argv[1]}/{ranks.rank}.pt")
    buckets.BUCKET_BYTES = 100  # each tensor of ten numbers or more alone
    layout = torch.channels_last if ranks.rank else torch.contiguous_format
    values = [torch.arange(num) * (ranks.rank + 1.0) for num in (30, 4, 0, 5)]
    values += [maps.clone(memory_format=layout), torch.tensor([ranks.rank + 3])]
    buckets.add_up(values)
    recipe = torch.nn.BatchNorm1d(3)
    recipe.weight.grad = torch.full((3,), 5.0 + ranks.rank)
    recipe.running_mean.fill_(7.0 + ranks.rank)
    recipe.num_batches_tracked.fill_(9 + ranks.rank)
    share_recipe_gradients(recipe, ranks)
    share_recipe_state(recipe, ranks)
    kept = (recipe.weight.grad, recipe.running_mean, recipe.num_batches_tracked)
    torch.save((maps, values, kept), f"{sys.argv[1]}/sent-{ranks.rank}.pt")
"""


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """What two ranks sent to one another."""
    folder = tmp_path_factory.mktemp("sent")
    run_ranks(NORM, folder)
    return folder


def test_tensors_are_added_up_in_buckets_whatever_their_layout(sent):
    for rank in range(2):
        maps, values, _ = torch.load(sent / f"sent-{rank}.pt", weights_only=True)
        expected = [torch.arange(num) * 3.0 for num in (30, 4, 0, 5)] + [
            2 * maps,
            torch.tensor([7]),
        ]
        assert all(map(torch.equal, values, expected))


def test_what_a_recipe_learns_stays_alike(sent):
    for rank in range(2):
        _, _, (gradient, mean, steps) = torch.load(sent / f"sent-{rank}.pt", weights_only=True)
        assert gradient.tolist() == [5.0] * 3
        assert mean.tolist() == [7.0] * 3
        assert steps == 9


def test_batch_norm_sees_the_rows_of_all_ranks(sent):
    torch.manual_seed(0)
    maps = torch.randn(7, 3, 4, 5).requires_grad_()
    norm = nn.BatchNorm2d(3)
    out = norm(maps)
    (out**3).sum().backward()
    found = [torch.load(sent / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in found]), out.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in found]), maps.grad)
    for _, _, state in found:
        for name, value in norm.state_dict().items():
            torch.testing.assert_close(state[name], value)


def test_batch_norm_at_test_time_is_the_plain_one():
    maps = torch.randn(4, 3, 2, 2)
    shared, plain = SharedBatchNorm2d(3).eval(), nn.BatchNorm2d(3).eval()
    assert torch.equal(shared(maps), plain(maps))


def test_a_norm_with_an_activation_keeps_it():
    net = nn.Sequential(BatchNormAct2d(3, act_layer=nn.SiLU)).eval()
    maps, names = torch.randn(4, 3, 2, 2), list(net.state_dict())
    expected = net(maps)
    share_norms(net, Ranks(0, 2))
    assert isinstance(net[0], SharedBatchNorm2d)
    assert torch.equal(net[0].eval()(maps), expected)
    assert list(net.state_dict()) == names


def test_on_a_gpu_the_norm_is_that_of_torch():
    with pretended_gpu():
        net = nn.Sequential(BatchNormAct2d(3, act_layer=nn.SiLU)).to("cuda").eval()
        maps, names = torch.randn(4, 3, 2, 2).to("cuda"), list(net.state_dict())
        expected = net(maps)
        share_norms(net, Ranks(0, 2))
        share_norms(net, Ranks(0, 2))
        assert isinstance(net[0], nn.SyncBatchNorm)
        assert torch.equal(net[0].eval()(maps).held, expected.held)
        assert list(net.state_dict()) == names


class OwnNorm(nn.BatchNorm2d):
    def forward(self, maps):
        return super().forward(maps).relu()


@pytest.mark.parametrize(("norm", "name"), [(OwnNorm, "OwnNorm"), (nn.BatchNorm1d, "BatchNorm1d")])
def test_a_norm_that_cannot_be_shared_is_refused(norm, name):
    with pytest.raises(ConfigError, match=rf"normalises with {name}, which cannot be shared"):
        share_norms(nn.Sequential(norm(3)), Ranks(0, 2))


def test_shares_differ_by_one_row_at_most():
    assert split_evenly(7, Ranks(0, 3)) == [3, 2, 2]
    assert split_evenly(2, Ranks(1, 3)) == [1, 1, 0]


def test_one_rank_changes_nothing():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(nn.BatchNorm2d(3))
    share_norms(net, Ranks())
    assert isinstance(net[0], nn.BatchNorm2d)
    assert not isinstance(net[0], SharedBatchNorm2d)
    all_reduce_gradients(layer.parameters(), Ranks())
    assert layer.weight.grad is None


@pytest.mark.parametrize("momentum", [0.0, None, 0.3])
def test_running_statistics_follow_the_momentum(tmp_path, monkeypatch, momentum):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda value: None)  # of one rank alone
    torch.manual_seed(0)
    shared, plain = SharedBatchNorm2d(3, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    for _ in range(3):
        maps = torch.randn(4, 3, 2, 2)
        torch.testing.assert_close(shared(maps), plain(maps))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    assert (momentum == 0) == torch.equal(shared.running_mean, torch.zeros(3))
