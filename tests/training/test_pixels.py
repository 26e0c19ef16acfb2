"""Images on disk come to training as arrays do: by counters alone, whole, and by name if bad."""

import os
import random
import signal
import threading
import time
from concurrent.futures import wait
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from file_samples import SMALL, TinyFiles, train_framed
from image_samples import (
    GreedyRecipe,
    TinyImages,
    child,
    kill_when,
    make_plan,
    state_of,
    train_tiny,
    tree,
)
from PIL import Image
from torchvision.transforms import functional as official

from ltood.backbones.cifar_resnet import CifarResNet
from ltood.core.errors import DataError, TrainingError
from ltood.core.prior import ClassPrior
from ltood.images.arrays import ImageSplit
from ltood.images.views import crop_box
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.runtime.distributed import Ranks
from ltood.training import pixels as driver
from ltood.training import train as training
from ltood.training.batches import Batches
from ltood.training.loop import Run
from ltood.training.pixels import (
    BatchRequest,
    InMemoryImages,
    PrefetchedImages,
    pixels_of,
    random_part,
)

CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "data").mkdir()
    return TinyFiles(tmp_path / "data")


@pytest.fixture
def framed(monkeypatch):
    monkeypatch.setattr(CifarResNet, "geometry", SMALL)


@pytest.fixture
def greedy(monkeypatch):
    monkeypatch.setattr(training, "build_recipe", lambda name, settings, prior: GreedyRecipe(prior))


def decoding():
    return [thread.name for thread in threading.enumerate() if "decode" in thread.name]


def streamed(files, **options):
    return PrefetchedImages(files.source("train"), SMALL, CPU, Ranks(), **options)


def batches_of(data, **settings):
    plan = make_plan(**settings)
    spec = ImageSpec.of_source(data.source("train"), 3, num_aux_outputs=1)
    backbone = build_backbone(plan.backbone, plan.backbone_settings, spec)
    recipe = GreedyRecipe(ClassPrior(data.class_counts))
    return Batches(plan, data, recipe, backbone, CPU, torch.contiguous_format)


def same(first, second):
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.aux, second.aux)
    assert all(torch.equal(*pair) for pair in zip(first.views, second.views, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_a_random_part_is_cut_as_torchvision_cuts_it(seed, rng):
    image = Image.fromarray(rng.integers(0, 256, (37, 53, 3), dtype=np.uint8))
    own = np.random.default_rng(seed)
    box = crop_box(37, 53, own.uniform, lambda stop: int(own.integers(stop)))
    expected = official.resized_crop(image, *box, size=[8, 8], antialias=True)
    np.testing.assert_array_equal(random_part(image, SMALL, seed), np.asarray(expected))


def test_views_depend_on_counters_rows_and_seed_alone(files):
    wanted = BatchRequest((3, 11, 4), (True, False, True), 5, (0, 2))
    found = streamed(files, workers=1).views(wanted)
    assert [view.shape for view in found] == [(3, 3, 8, 8)] * 3
    busy = streamed(files, workers=4)
    busy.views(BatchRequest((1, 2), (True,), 5, (0, 1)))
    for number in range(3):
        busy.prefetch(replace(wanted, counters=(0, 2 + number)))
    assert all(torch.equal(*pair) for pair in zip(found, busy.views(wanted), strict=True))
    assert not torch.equal(found[0], found[2])
    alone = busy.views(replace(wanted, rows=(11,)))
    assert torch.equal(alone[0][0], found[0][1])
    for other in (replace(wanted, seed=6), replace(wanted, counters=(0, 3))):
        assert not torch.equal(streamed(files).views(other)[0], found[0])
    busy.close()


def test_whole_images_come_through_the_geometry(files):
    source = files.source("train")
    blocks = torch.cat(list(streamed(files).blocks()))
    assert len(blocks) == len(source)
    for row in (0, 7, 41):
        with Image.open(source.path(row)) as image:
            expected = SMALL(image.convert("RGB"), row)
        np.testing.assert_array_equal(blocks[row].permute(1, 2, 0), expected)


def test_what_was_passed_over_is_dropped(files):
    pixels = streamed(files)
    demands = [BatchRequest((row, row + 1), (True,), 0, (0, row)) for row in range(4)]
    for wanted in demands:
        pixels.prefetch(wanted)
    (found,) = pixels.views(demands[2])
    assert torch.equal(found, streamed(files).views(demands[2])[0])
    assert [wanted for wanted, _ in pixels._waiting] == demands[3:]
    pixels.close()


def test_threads_end(files):
    pixels = streamed(files, workers=3)
    pixels.prefetch(BatchRequest((1, 2, 3), (True,), 0, (0, 0)))
    assert decoding()
    pixels.close()
    assert not decoding()
    list(pixels.blocks())
    assert not decoding()


def test_arrays_of_the_right_size_are_held(rng):
    images = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    split = ImageSplit(images, np.zeros(5, np.int64), np.arange(5))
    backbone = build_backbone("cifar_resnet", {"variant": "small"}, ImageSpec.of(images, 2))
    held = pixels_of(split, backbone, CPU, Ranks())
    assert isinstance(held, InMemoryImages)
    views = held.views(BatchRequest((4, 1), (False, False), 0, ()))
    for view in views:
        np.testing.assert_array_equal(view.permute(0, 2, 3, 1), images[[4, 1]])


def test_arrays_that_a_network_cannot_see_come_to_its_size(rng, monkeypatch):
    images = rng.integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    split = ImageSplit(images, np.zeros(5, np.int64), np.arange(5))
    backbone = build_backbone("cifar_resnet", {"variant": "small"}, ImageSpec.of(images, 2))
    monkeypatch.setattr(CifarResNet, "geometry", SMALL)
    assert isinstance(pixels_of(split, backbone, CPU, Ranks()), InMemoryImages)
    monkeypatch.setattr(CifarResNet, "fixed_size", True)
    pixels = pixels_of(split, backbone, CPU, Ranks())
    assert next(iter(pixels.blocks())).shape == (5, 3, 8, 8)


@pytest.mark.usefixtures("framed")
@pytest.mark.parametrize("aux", ["files", "arrays", "larger arrays"])
def test_a_batch_of_files_depends_on_its_counters_only(tmp_path, aux):
    (tmp_path / "data").mkdir()
    data = TinyFiles(tmp_path / "data", aux)
    first, second = batches_of(data), batches_of(data)
    expected = first.batch(2, 3)
    assert expected.views[0].shape == (7, 3, 8, 8)
    assert expected.aux.shape == (11, 3, 8, 8)
    for epoch, step in ((0, 0), (0, 1), (2, 1), (1, 4), (2, 2)):
        second.batch(epoch, step)
    same(second.batch(2, 3), expected)
    assert not torch.equal(*expected.views)
    first.close()
    second.close()


@pytest.mark.usefixtures("framed")
def test_crops_of_files(files):
    def first(**settings):
        batches = batches_of(files, **settings)
        found = batches.batch(0, 0)
        batches.close()
        return found

    same(first(), first(crop="resized"))
    whole = first(crop="shift", crop_padding=0)
    assert torch.equal(*whole.views)
    order = batches_of(files)._rows(0, 0).tolist()
    blocks = torch.cat(list(streamed(files).blocks()))
    assert torch.equal(whole.images, blocks[order].float() / 255)
    mixed = first(crop="shift", crop_padding=0, later_views="contrast")
    assert torch.equal(mixed.images, whole.images)
    assert not torch.equal(mixed.views[1], whole.images)


@pytest.mark.usefixtures("framed")
def test_parts_are_as_large_as_wanted(files, rng):
    image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    own = np.random.default_rng(1)
    areas = [
        np.prod(crop_box(40, 40, own.uniform, lambda n: int(own.integers(n)), smallest=0.9)[2:])
        for _ in range(50)
    ]
    assert min(areas) > 0.85 * image.height * image.width
    found = [batches_of(files, crop_area=area) for area in (0.08, 0.9)]
    small, large = (batches.batch(0, 0) for batches in found)
    assert not torch.equal(small.images, large.images)
    for batches in found:
        batches.close()


def test_arrays_can_be_cut_too():
    data = TinyImages(channels=3)
    shifted, cut = (batches_of(data, crop=crop).batch(0, 0) for crop in ("shift", "resized"))
    same(shifted, batches_of(data).batch(0, 0))
    assert not torch.equal(shifted.images, cut.images)
    assert cut.images.shape == shifted.images.shape
    larger = batches_of(data, crop="resized", crop_area=0.9).batch(0, 0)
    assert not torch.equal(larger.images, cut.images)


@pytest.mark.usefixtures("framed", "greedy")
def test_interrupted_training_on_files_ends_alike(files, tmp_path, monkeypatch):
    plan = make_plan(epochs=2)
    train_tiny(tmp_path / "whole", plan, files)
    step, taken = Run._step, []

    def failing(run):
        if len(taken) == 8:
            raise TrainingError("stopped")
        taken.append(step(run))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", failing)
        with pytest.raises(TrainingError, match="stopped"):
            train_tiny(tmp_path / "broken", make_plan(epochs=2, checkpoint_minutes=0.0), files)
    assert not decoding()
    monkeypatch.setattr(driver, "decoding_threads", lambda: 5)
    train_tiny(tmp_path / "broken", plan, files)
    assert tree(tmp_path / "broken") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("framed", "greedy")
def test_killed_training_on_files_leaves_no_trace(files, tmp_path):
    train_tiny(tmp_path / "whole", make_plan(epochs=5), files)
    out, plan = tmp_path / "killed", make_plan(epochs=5, checkpoint_minutes=0.0)

    def reached(least):
        return any(int(path.name[:9]) >= least for path in state_of(out).glob("state/*.pt"))

    process = child(train_framed, out, plan, files)
    assert kill_when(process, lambda: reached(1), random.Random())
    process = child(train_framed, out, plan, files)
    while process.is_alive() and not reached(6):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    process.join(100)
    assert process.exitcode == 1
    process = child(train_framed, out, plan, files)
    process.join()
    assert process.exitcode == 0
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.usefixtures("framed", "greedy")
@pytest.mark.parametrize("moment", ["a step", "validation"])
def test_threads_end_when_somebody_interrupts(files, tmp_path, monkeypatch, moment):
    seen = []

    def interrupted(*args):
        seen.append(decoding())
        raise KeyboardInterrupt

    if moment == "a step":
        monkeypatch.setattr(GreedyRecipe, "losses", interrupted)
    else:
        monkeypatch.setattr(Run, "_validate", interrupted_look(interrupted))
    with pytest.raises(KeyboardInterrupt) as caught:
        train_tiny(tmp_path / "out", make_plan(), files)
    assert caught.tb is not None
    assert seen[0]
    assert not decoding()


def interrupted_look(interrupted):
    """The look at the validation split, of which the network is interrupted."""
    look = Run._validate

    def changed(run):
        run.backbone.forward = interrupted
        return look(run)

    return changed


@pytest.mark.usefixtures("framed")
def test_no_more_waits_than_was_asked_for(files, monkeypatch):
    held, assemble = [], PrefetchedImages._on_device

    def counting(pixels, decoded, num_views):
        ahead = [future for _, futures in pixels._waiting for future in futures]
        wait(ahead)
        held.append(sum(array.nbytes for array in decoded))
        held[-1] += sum(future.result().nbytes for future in ahead)
        return assemble(pixels, decoded, num_views)

    batches = batches_of(files)
    monkeypatch.setattr(batches._aux, "_on_device", partial(counting, batches._aux))
    monkeypatch.setattr(batches._images, "_on_device", partial(counting, batches._images))
    for number in range(2 * batches.num_steps):
        batches.batch(*divmod(number, batches.num_steps))
    batches.close()
    one_view = 8 * 8 * 3
    # The batch in use and two ahead, of 7 images in 2 views and of their 11 outliers.
    assert held == [3 * 14 * one_view, 3 * 11 * one_view] * (2 * batches.num_steps)


@pytest.mark.usefixtures("framed")
def test_a_file_damaged_meanwhile_is_named(files):
    batches, source = batches_of(files), files.source("train")
    source.path(5).write_bytes(source.path(5).read_bytes()[:40])
    with pytest.raises(DataError, match=r"train/5.jpg cannot be decoded"):
        list(map(partial(batches.batch, 0), range(batches.num_steps)))
    batches.close()
    assert not decoding()


def test_files_need_a_backbone_with_a_size(files, tmp_path):
    with pytest.raises(DataError, match="files of many sizes"):
        train_tiny(tmp_path / "out", make_plan(), files)
