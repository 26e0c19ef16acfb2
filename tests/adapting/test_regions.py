"""Regions come from stored local features and lie where the image shows them."""

import dataclasses
import io

import numpy as np
import pytest
from image_samples import TinyImages, extract_tiny
from PIL import Image
from typer.testing import CliRunner

from ltood.adapting.regions import (
    GREY,
    Regions,
    contact_sheet,
    find_regions,
    original_images,
    painted,
    region_sheet,
    spaced_rows,
    write_sheet,
)
from ltood.cli import app
from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.images.decoding import as_image
from ltood.images.prepared import open_prepared
from ltood.images.views import RandomViews
from ltood.losses.local_entropy import irrelevant_patches
from ltood.preparing.prepare import prepare
from ltood.store.adapted import (
    AdaptedHead,
    AdaptedStore,
    read_adapted,
    weights_digest,
    with_adapted_head,
    write_adapted,
)
from ltood.store.features import FeatureStore
from tests import prompt_samples
from tests.extraction.test_clip_extraction import CONFIG, take


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Prepared images, their small CLIP features and a random head for the three classes."""
    folder = tmp_path_factory.mktemp("regions")
    prepare(TinyImages(), "tiny", {}, folder / "prepared")
    take(folder / "checkpoint", folder)
    data = open_prepared(folder / "prepared")
    extract_tiny(folder / "checkpoint", folder / "features.zarr", CONFIG, data)
    store = FeatureStore.open(folder / "features.zarr")
    weight = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    head = AdaptedHead(
        tuple(store.class_names),
        weights_digest(store),
        {},
        {"weight": weight, "bias": np.zeros(3, np.float32)},
    )
    write_adapted(folder / "head", head)
    return folder


@pytest.fixture(scope="module")
def store(work):
    return with_adapted_head(FeatureStore.open(work / "features.zarr"), work / "head")


def test_patches_are_those_that_locoop_selects(store):
    import torch

    rows = [0, 5, 11]
    found = find_regions(store, "test", rows, topk=1)
    held = store.split("test").load(["local", "labels"])
    logits = (
        torch.tensor(held["local"][rows].astype(np.float32))
        @ torch.tensor(np.array(store.head_arrays()["weight"])).mT
    )
    labels = torch.tensor(held["labels"][rows])
    expected = irrelevant_patches(logits, labels, topk=1)
    assert np.array_equal(found.irrelevant, expected.numpy())
    assert found.labels.tolist() == labels.tolist()
    assert (found.grid, found.topk) == ((2, 2), 1)
    assert 0 < found.irrelevant.mean() < 1


def test_k_and_class_may_be_chosen(store):
    assert find_regions(store, "test", [0]).topk == 1  # a fifth of three classes
    assert not find_regions(store, "test", [0, 1, 2], topk=3).irrelevant.any()
    assert find_regions(store, "test", [0], label=2).labels.tolist() == [2]


def test_outliers_are_asked_about_their_likeliest_class(store):
    held = store.split("ood_noise").load(["features"])["features"]
    likeliest = (held[:4] @ store.head_arrays()["weight"].T).argmax(1)
    assert find_regions(store, "ood_noise", [0, 1, 2, 3]).labels.tolist() == likeliest.tolist()


def test_images_are_those_that_were_extracted(store, work):
    data, split = open_prepared(work / "prepared"), TinyImages().split("test")
    found = original_images(store, data, "test", [2, 7])
    expected = as_image(split.images[7]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(found[1], np.asarray(expected))
    train = TinyImages().split("train")
    view = original_images(store, data, "train_views", [3], view=2)
    made = RandomViews(4, 16, 3, train.ids)(as_image(train.images[3]), 3)
    assert np.array_equal(view[0], made[2])


def test_views_have_regions_too(store):
    first = find_regions(store, "train_views", [3], topk=1, view=0)
    assert first.irrelevant.shape == (1, 4)
    with pytest.raises(ConfigError, match="view 4; views are 0 to 3"):
        find_regions(store, "train_views", [3], view=4)


def test_hidden_patches_are_grey_and_the_rest_is_untouched():
    pixels = np.random.default_rng(0).integers(0, 190, (8, 12, 3), dtype=np.uint8)
    before = pixels.copy()
    drawn = painted(pixels, np.array([True, False, False, True, True, False]), (2, 3))
    assert np.array_equal(drawn[:4, :4], pixels[:4, :4])
    assert (drawn[:4, 4:] == GREY).all()
    assert np.array_equal(drawn[4:, :8], pixels[4:, :8])
    assert (drawn[4:, 8:] == GREY).all()
    assert np.array_equal(pixels, before)


def test_frames_surround_what_is_irrelevant():
    pixels = np.zeros((8, 8, 3), np.uint8)
    drawn = painted(pixels, np.array([True, True, False, False]), (2, 2), "frame")
    red = (drawn == (230, 30, 30)).all(2)
    assert red[3].all()  # the border to the relevant half
    assert not red[1:3].any()  # neither inside nor between two irrelevant patches
    assert not red[4:].any()


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="does not split into 3 x 3"):
        painted(np.zeros((8, 8, 3), np.uint8), np.ones(9, bool), (3, 3))


def test_the_sheet_shows_every_row():
    images = np.full((5, 16, 16, 3), 50, np.uint8)
    rows, labels = np.arange(5), np.zeros(5, np.int64)
    regions = Regions(rows, labels, np.zeros((5, 4), bool), (2, 2), 1)
    sheet = np.asarray(contact_sheet(images, regions, ["a"], columns=2))
    assert sheet.shape == (3 * 36, 2 * 38, 3)
    for top, left in ((0, 0), (0, 38), (36, 0), (36, 38), (72, 0)):
        cell = sheet[top + 14 : top + 30, left : left + 34]
        assert (cell[:, :16] == 50).all()
        assert (cell[:, 18:] == GREY).all()
    assert (sheet[72:, 38:] == 255).all()


def test_rows_are_spread_over_the_split():
    assert spaced_rows(100, 3) == [0, 50, 99]
    assert spaced_rows(2, 12) == [0, 1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rows": [99]}, "row 99; rows are 0 to 19"),
        ({"rows": [0], "topk": 0}, "topk is 0"),
        ({"rows": [0], "label": 3}, "class 3; classes are 0 to 2"),
        ({"rows": [0], "view": 1}, "split test have one view"),
    ],
)
def test_what_is_out_of_range_is_refused(store, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        find_regions(store, "test", **settings)


def test_a_store_without_local_features_is_refused(work, tmp_path):
    take(tmp_path / "checkpoint", work, local=False)
    data = open_prepared(work / "prepared")
    extract_tiny(tmp_path / "checkpoint", tmp_path / "plain.zarr", CONFIG, data)
    with pytest.raises(StoreError, match="has no local features, which the regions come from"):
        find_regions(FeatureStore.open(tmp_path / "plain.zarr"), "test", [0])


def test_other_images_are_refused(store, tmp_path):
    other = TinyImages(seed=5)
    # The same ids say nothing: most data sets count from 0.
    other._splits = {
        name: dataclasses.replace(split, ids=TinyImages().split(name).ids)
        for name, split in other._splits.items()
    }
    prepare(other, "tiny", {}, tmp_path / "other")
    with pytest.raises(StoreError, match="was not made from the images in"):
        original_images(store, open_prepared(tmp_path / "other"), "test", [0])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot write .*regions\.png"):
        write_sheet(tmp_path / "file" / "regions.png", Image.new("RGB", (2, 2)))


def test_the_command(work):
    out = work / "sheet.png"
    arguments = ["visualise", "--store", work / "features.zarr", "--prepared", work / "prepared",
                 "--head", work / "head", "--num", "3", "--topk", "1", "--out", out]  # fmt: skip
    done = CliRunner().invoke(app, [str(part) for part in arguments])
    assert done.exit_code == 0, done.output
    with Image.open(out) as sheet:
        assert sheet.size == (3 * 38, 36)
    head = dataclasses.replace(read_adapted(work / "head"), inputs={"in_use": {"topk": 2.0}})
    write_adapted(work / "learned", head)
    at = arguments.index("--topk")
    arguments[at : at + 2] = ["--head", work / "learned"]
    done = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "K = 2" in done.output
    for extra in (["--topk", "x"], ["--label", "nobody"]):
        failed = CliRunner().invoke(app, [*(str(part) for part in arguments), *extra])
        assert isinstance(failed.exception, ConfigError)


def test_classes_are_called_as_the_prompts_speak_them(work, store):
    # ImageNet's store holds WordNet ids, which users do not type.
    spoken = ["tench", "goldfish", "great white shark"]
    head = dataclasses.replace(read_adapted(work / "head"), inputs={"names": spoken})
    write_adapted(work / "spoken", head)
    adapted = with_adapted_head(FeatureStore.open(work / "features.zarr"), work / "spoken")
    sheet = region_sheet(adapted, open_prepared(work / "prepared"))
    assert set(sheet.class_names) <= set(spoken)
    sheets = {}
    for label in ("goldfish", store.class_names[1], "1", "tench"):
        arguments = ["visualise", "--store", work / "features.zarr", "--head", work / "spoken",
                     "--prepared", work / "prepared", "--label", label,
                     "--out", work / "called.png"]  # fmt: skip
        done = CliRunner().invoke(app, [str(part) for part in arguments])
        assert done.exit_code == 0, done.output
        sheets[label] = (work / "called.png").read_bytes()
    assert sheets["goldfish"] == sheets[store.class_names[1]] == sheets["1"] != sheets["tench"]


def test_the_report_gets_a_sheet_with_the_learned_k(work, store):
    data = open_prepared(work / "prepared")
    sheet = region_sheet(store, data)
    rows = spaced_rows(len(store.split("test")), 8)
    found = find_regions(store, "test", rows)
    assert (sheet.rows, sheet.topk, sheet.num_classes) == (tuple(rows), 1, 3)
    assert sheet.shares == tuple(found.irrelevant.mean(axis=1).tolist())
    assert sheet.class_names == tuple(store.class_names[label] for label in found.labels)
    assert (
        sheet.features_fingerprint == store.fingerprint != FeatureStore.open(store.path).fingerprint
    )
    with Image.open(io.BytesIO(sheet.png)) as image:
        assert image.format == "PNG"
        assert image.width >= 4 * 2 * 112  # small images are enlarged
    assert region_sheet(store, data) == sheet
    head = read_adapted(work / "head")
    head = dataclasses.replace(head, inputs={"in_use": {"topk": 2.0}})
    assert region_sheet(AdaptedStore(FeatureStore.open(store.path), head), data).topk == 2


def test_no_sheet_where_there_is_nothing_to_draw(work, tmp_path):
    data = open_prepared(work / "prepared")
    assert "does not come from text" in region_sheet(
        FeatureStore.open(work / "features.zarr"), data
    )
    splits = prompt_samples.random_splits(np.random.default_rng(0), 3)
    splits = {name: (*rows[:2], None) for name, rows in splits.items()}
    plain = prompt_samples.write_store(tmp_path / "plain", splits, ["a", "b", "c"])
    arrays = {"weight": np.ones((3, 32), np.float32), "bias": np.zeros(3, np.float32)}
    head = AdaptedHead(("a", "b", "c"), prompt_samples.WEIGHTS, {}, arrays)
    assert (
        region_sheet(AdaptedStore(plain, head), data) == "The store holds no features of patches."
    )
    probe = AdaptedHead(("a", "b", "c"), prompt_samples.WEIGHTS, {"text": False}, arrays)
    assert "does not come from text" in region_sheet(AdaptedStore(plain, probe), data)
