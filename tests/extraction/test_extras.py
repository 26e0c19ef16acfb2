"""Extra arrays: right numbers, computed once, and no trace in the arrays beside them."""

import numpy as np
import pytest
import torch
from image_samples import TinyImages, make_plan, train_tiny, tree
from image_samples import extract_tiny as extract_any

from ltood.core.errors import ConfigError, CorruptStoreError, DataError
from ltood.core.settings import parse
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.parts import Part
from ltood.networks.backbone import build_backbone
from ltood.networks.checkpoint import load_checkpoint
from ltood.networks.taps import last_maps
from ltood.store.features import FeatureStore
from ltood.store.verifying import store_files, verify_store
from ltood.store.writer import SplitWriter
from tests.reference.gram import gram_sums
from tests.reference.perturbed import adascale_images, odin_images

CONFIG = {"batch_size": 4, "rows_per_chunk": 14}
ROWS = 15
ALL = ["adascale", "gram", "layers", "maps", "odin", "pooling"]
TESTED = ["ood_noise", "test", "val"]
#: So large that no rounding hides a pixel that moved the wrong way.
STEPS = {"odin_magnitude": 0.05, "adascale_share": 0.3}


def images():
    return TinyImages(rows=ROWS)


def extract_tiny(checkpoint, out, config):
    extract_any(checkpoint, out, config, images())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=2))
    return out


@pytest.fixture(scope="module")
def bare(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("bare") / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    return out


@pytest.fixture(scope="module")
def full(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("full") / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, **STEPS, "extras": ALL})
    return out


@pytest.fixture
def written(monkeypatch) -> list[tuple[str, int]]:
    """Split or part, and first row, of each chunk that is written."""
    write, found = SplitWriter.write, []

    def counting(writer, start, arrays):
        found.append((writer.files.name, start))
        write(writer, start, arrays)

    monkeypatch.setattr(SplitWriter, "write", counting)
    return found


def rows_of(store, name):
    """Backbone inputs and stored arrays of one split."""
    pixels = torch.from_numpy(images().split(name).images.copy()).permute(0, 3, 1, 2) / 255
    split = FeatureStore.open(store).split(name)
    return pixels, split.load(split.arrays)


def test_arrays_beside_them_keep_every_byte(bare, full):
    without, with_extras = tree(bare), tree(full)
    root = "zarr.json"
    assert without.keys() < with_extras.keys()
    assert {k: v for k, v in with_extras.items() if k in without and k != root} == {
        k: v for k, v in without.items() if k != root
    }
    stores = FeatureStore.open(bare), FeatureStore.open(full)
    assert stores[0].splits == stores[1].splits
    assert [s.files("test").identity for s in stores] == [stores[0].files("test").identity] * 2
    assert "extras" not in stores[0].provenance
    assert stores[1].provenance["extras"]["odin"] == {"magnitude": 0.05, "temperature": 1000.0}


def test_perturbed_images_are_those_that_are_tested(full):
    store = FeatureStore.open(full)
    for group in ("odin", "adascale", "maps"):
        assert [n for n in store.image_splits if group not in store.groups(n)] == ["train", "aux"]
    assert all("pooling" in store.groups(name) for name in store.image_splits)


@pytest.mark.parametrize("name", TESTED)
def test_features_are_those_of_the_images_that_plain_torch_moves(checkpoint, full, name):
    backbone, _ = load_checkpoint(checkpoint)
    pixels, stored = rows_of(full, name)

    def logits(images):
        return backbone(images).logits

    std = torch.tensor(backbone.preprocessing["std"]).view(1, -1, 1, 1)
    moved = {
        "odin": odin_images(logits, pixels, temperature=1000, magnitude=0.05),
        "adascale": adascale_images(logits, pixels, std, share=0.3, step=0.5),
    }
    for group, images in moved.items():
        with torch.no_grad():
            expected = backbone.embed(images)[0]
        np.testing.assert_allclose(stored[f"{group}/features"], expected, rtol=1e-5, atol=1e-5)
        assert not np.allclose(stored[f"{group}/features"], stored["features"], atol=1e-2)


def test_poolings_are_those_of_the_last_map(checkpoint, full):
    backbone, _ = load_checkpoint(checkpoint)
    pixels, stored = rows_of(full, "train")
    with torch.no_grad():
        maps = backbone.feature_maps(pixels).flatten(2)
    assert maps.shape[2] == 1  # 8 pixels, halved three times.
    np.testing.assert_allclose(stored["pooling/max"], maps.amax(dim=2), rtol=1e-5, atol=1e-6)
    assert (stored["pooling/std"] == 0).all()


def test_maps_are_those_whose_mean_is_the_features(checkpoint, full):
    backbone, _ = load_checkpoint(checkpoint)
    for name in TESTED:
        pixels, stored = rows_of(full, name)
        with torch.no_grad():
            maps = backbone.feature_maps(pixels).flatten(2).transpose(1, 2)
        assert stored["maps/features"].dtype == np.float16
        np.testing.assert_array_equal(stored["maps/features"], maps.half())
        mean = stored["maps/features"].astype(np.float32).mean(axis=1)
        np.testing.assert_allclose(mean, stored["features"], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["train", "aux", "test"])
def test_layers_are_means_of_the_outputs_of_stages(checkpoint, full, name):
    backbone, _ = load_checkpoint(checkpoint)
    pixels, stored = rows_of(full, name)
    widths, maps = (32, 64, 128), backbone.stem(backbone.scaled(pixels))
    assert stored["layers/means"].shape == (len(pixels), len(widths), max(widths))
    for place, width in enumerate(widths):
        with torch.no_grad():
            maps = backbone.blocks[place](maps)
        layer = stored["layers/means"][:, place]
        np.testing.assert_allclose(layer[:, :width], maps.mean(dim=(2, 3)), rtol=1e-5, atol=1e-5)
        assert (layer[:, width:] == 0).all()
    np.testing.assert_allclose(layer, stored["features"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["train", "aux", "test"])
def test_row_sums_are_those_of_whole_matrices(checkpoint, full, name):
    backbone, _ = load_checkpoint(checkpoint)
    pixels, stored = rows_of(full, name)
    widths, maps = (32, 64, 128), backbone.stem(backbone.scaled(pixels))
    assert stored["gram/sums"].shape == (len(pixels), len(widths), 10, max(widths))
    for place, width in enumerate(widths):
        with torch.no_grad():
            maps = backbone.blocks[place](maps)
        expected = [gram_sums(image.flatten(1).numpy(), range(1, 11)) for image in maps]
        layer = stored["gram/sums"][:, place]
        np.testing.assert_allclose(layer[..., :width], expected, rtol=1e-4, atol=1e-6)
        assert (layer[..., width:] == 0).all()


def test_named_layers_are_computed_and_told_apart(tmp_path, checkpoint, written):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, "extras": ["layers", "pooling"]})
    written.clear()
    config = {**CONFIG, "extras": ["layers", "pooling"], "layers": ["stem.2", "blocks.1.bn1"]}
    extract_tiny(checkpoint, out, config)
    assert {name.partition("/")[2] for name, _ in written} == {"layers"}
    store = FeatureStore.open(out)
    assert store.provenance["extras"]["layers"] == {"layers": ["stem.2", "blocks.1.bn1"]}
    assert store.split("train").array_spec("layers/means").shape == (2, 64)
    backbone, _ = load_checkpoint(checkpoint)
    pixels, stored = rows_of(out, "test")
    with torch.no_grad():
        stem = backbone.stem(backbone.scaled(pixels))
        # The block rectifies what this norm gives.
        inner = backbone.blocks[1].bn1(backbone.blocks[1].conv1(backbone.blocks[0](stem)))
    for place, maps in enumerate((stem, inner)):
        means = maps.mean(dim=(2, 3))
        got = stored["layers/means"][:, place, : means.shape[1]]
        np.testing.assert_allclose(got, means, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["blocks.9"], r"blocks\.9.*stem, blocks, head"),
        ([""], "begin with"),
        (["head"], "does not give one tensor"),  # Features alone never reach it.
        (["stem", "stem"], r"extraction\.layers"),
        ([], r"extraction\.layers"),
    ],
)
def test_what_is_no_layer_is_refused(tmp_path, checkpoint, layers, message):
    config = {**CONFIG, "extras": ["layers"], "layers": layers}
    with pytest.raises(ConfigError, match=message):
        extract_tiny(checkpoint, tmp_path / "features.zarr", config)


def test_deviation_is_over_places(monkeypatch):
    from ltood.extraction.maps import Pooling

    maps = torch.rand(3, 4, 5, 5)
    monkeypatch.setattr("ltood.extraction.maps.last_maps", lambda *_: maps)
    backbone = type("Net", (), {"feature_dim": 4})()
    found = Pooling(backbone, ExtractionConfig()).compute(maps, lambda: maps.mean(dim=(2, 3)))
    np.testing.assert_allclose(found["std"], maps.numpy().reshape(3, 4, 25).std(2, ddof=1), 1e-5)


@pytest.mark.parametrize("first", [[], ["odin"], ["adascale", "layers", "pooling"]])
def test_what_is_added_later_is_all_that_is_computed(tmp_path, checkpoint, full, written, first):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, **STEPS, "extras": first})
    before = tree(out)
    written.clear()
    extract_tiny(checkpoint, out, {**CONFIG, **STEPS, "extras": ALL})
    assert {name.partition("/")[2] for name, _ in written} == set(ALL) - set(first)
    assert tree(out) == tree(full)
    written.clear()
    extract_tiny(checkpoint, out, {**CONFIG, **STEPS, "extras": first})
    assert written == []
    assert tree(out) == before


def test_a_setting_computes_its_own_group_anew(tmp_path, checkpoint, written):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, "extras": ALL})
    written.clear()
    extract_tiny(checkpoint, out, {**CONFIG, "extras": ALL, "odin_magnitude": 0.01})
    assert {name for name, _ in written} == {f"{name}/odin" for name in TESTED}


@pytest.mark.parametrize("num_chunks", [1, 9, 24])
def test_a_stopped_run_goes_on(tmp_path, checkpoint, full, monkeypatch, num_chunks):
    out, config = tmp_path / "features.zarr", {**CONFIG, **STEPS, "extras": ALL}
    write, left = SplitWriter.write, [num_chunks]

    def stopping(writer, *args):
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        write(writer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SplitWriter, "write", stopping)
        with pytest.raises(InterruptedError):
            extract_tiny(checkpoint, out, config)
    extract_tiny(checkpoint, out, config)
    assert tree(out) == tree(full)


def test_a_damaged_chunk_is_found_and_computed_again(tmp_path, checkpoint, written):
    out, config = tmp_path / "features.zarr", {**CONFIG, **STEPS, "extras": ["odin"]}
    extract_tiny(checkpoint, out, config)
    sound = tree(out)
    assert sorted(sound) == store_files(FeatureStore.open(out))
    chunk = FeatureStore.open(out).files("test/odin").chunk_path("features", 1)
    content = bytearray(chunk.read_bytes())
    content[0] ^= 1
    chunk.write_bytes(content)  # also in the folder of kept splits, which shares the file
    with pytest.raises(CorruptStoreError):
        list(verify_store(out))
    written.clear()
    extract_tiny(checkpoint, out, config)
    assert written == [("test/odin", 14)]
    assert tree(out) == sound


def test_images_are_read_once(tmp_path, checkpoint, monkeypatch):
    fill, rows = Part.fill, []

    def counting(part, pixels, first):
        rows.extend((part.split, row) for row in range(first, first + len(pixels)))
        fill(part, pixels, first)

    monkeypatch.setattr(Part, "fill", counting)
    extract_tiny(checkpoint, tmp_path / "features.zarr", {**CONFIG, "extras": ALL})
    assert len(rows) == len(set(rows)) == sum(map(len, images()._splits.values()))


def test_perturbing_costs_two_passes_forwards_and_one_backwards(tmp_path, checkpoint, monkeypatch):
    from ltood.backbones.cifar_resnet import CifarResNet

    out, passes = tmp_path / "features.zarr", []
    extract_tiny(checkpoint, out, CONFIG)
    embed, gradient = CifarResNet.embed, torch.autograd.grad
    monkeypatch.setattr(CifarResNet, "embed", lambda net, x: passes.append(len(x)) or embed(net, x))
    monkeypatch.setattr(
        torch.autograd, "grad", lambda y, x: passes.append(len(x)) or gradient(y, x)
    )
    extract_tiny(checkpoint, out, {**CONFIG, "extras": ["odin"]})
    assert sum(passes) == 3 * ROWS * len(TESTED)


def test_the_batch_does_not_matter(tmp_path, checkpoint, full):
    for batch_size, chunk in ((7, 40), (1, 15)):
        out = tmp_path / f"{batch_size}.zarr"
        config = {"batch_size": batch_size, "rows_per_chunk": chunk, **STEPS, "extras": ALL}
        extract_tiny(checkpoint, out, config)
        for name in TESTED:
            expected, found = rows_of(full, name)[1], rows_of(out, name)[1]
            for key in ("odin/features", "adascale/features", "pooling/max", "layers/means"):
                np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-5)


def test_half_precision_is_refused(tmp_path, checkpoint):
    config = {**CONFIG, "amp": "bf16", "extras": ["odin"]}
    with pytest.raises(ConfigError, match=r"extraction\.amp"):
        extract_tiny(checkpoint, tmp_path / "features.zarr", config)


def test_unknown_groups_are_refused():
    with pytest.raises(ConfigError, match=r"extraction\.extras names 'odni'"):
        parse({"extras": ["odni"]}, ExtractionConfig, "extraction")


def image_spec(**kind):
    from ltood.networks.backbone import ImageSpec

    return ImageSpec(3, 32, 32, (0.5,) * 3, (0.25,) * 3, 5, **kind)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cifar_resnet", {}),
        ("densenet_bc100", {}),
        ("wide_resnet", {}),
        ("resnet50", {}),
        ("mobilenet_v2", {}),
        ("timm_model", {"model": "resnet18"}),
    ],
)
def test_every_convolutional_network_gives_its_maps_and_gradients(name, settings):
    from ltood.extraction.extras import extra

    backbone = build_backbone(name, settings, image_spec(num_aux_outputs=1), fetch=False).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        pooled = backbone.embed(images)[0]
        maps = last_maps(backbone, images, pooled, "this test")
    torch.testing.assert_close(maps.mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-5)
    places = extra("maps", backbone, ExtractionConfig())
    stored = places.compute(images, lambda: pooled)["features"]
    assert (
        stored.shape[1:] == places.arrays()["features"].shape == (maps[0, 0].numel(), len(maps[0]))
    )
    torch.testing.assert_close(stored.float().mean(dim=1), pooled, rtol=2e-3, atol=2e-3)
    config = ExtractionConfig(odin_magnitude=0.05)
    found = extra("odin", backbone, config).compute(images, lambda: pooled)["features"]
    moved = odin_images(
        lambda x: backbone(x).logits[:, :5], images, temperature=1000, magnitude=0.05
    )
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.embed(moved)[0], rtol=1e-4, atol=1e-5)
    layers = extra("layers", backbone, config)
    stages = layers.compute(images, list)["means"]
    assert stages.shape == (2, *layers.arrays()["means"].shape)
    assert 3 <= stages.shape[1] == len(backbone.layer_names) <= 5
    # Each is alive, and wider than none before it.
    widths = [int(rows.any(dim=0).nonzero().amax()) + 1 for rows in stages.unbind(dim=1)]
    assert widths == sorted(widths)


def test_a_transformer_has_no_map_but_gradients():
    from ltood.extraction.extras import extra

    settings = {"model": "vit_tiny_patch16_224"}
    backbone = build_backbone("timm_model", settings, image_spec(), fetch=False).eval()
    images = torch.rand(1, 3, 224, 224)
    assert extra("odin", backbone, ExtractionConfig()).compute(images, list)["features"].shape
    layers = extra("layers", backbone, ExtractionConfig())
    assert layers.compute(images, list)["means"].shape == (1, 12, 192)
    pooling = extra("pooling", backbone, ExtractionConfig())
    with pytest.raises(ConfigError, match="timm_model"):
        pooling.compute(images, lambda: backbone.embed(images)[0])
    with pytest.raises(ConfigError, match="timm_model"):
        extra("maps", backbone, ExtractionConfig())


def test_maps_of_other_images_and_huge_ones_are_refused(monkeypatch):
    from ltood.extraction.extras import extra

    backbone = build_backbone("cifar_resnet", {}, image_spec(), fetch=False).eval()
    places = extra("maps", backbone, ExtractionConfig())
    images = torch.rand(2, 3, 64, 64)
    with pytest.raises(ConfigError, match="64 x 64"):
        places.compute(images, lambda: backbone.embed(images)[0])
    shape = places.arrays()["features"].shape
    maps = torch.full((2, shape[1], 1, shape[0]), 7e4)
    monkeypatch.setattr("ltood.extraction.places.last_maps", lambda *_: maps)
    with pytest.raises(DataError, match="float16"):
        places.compute(images, list)


def test_a_network_without_a_head_is_refused_by_name():
    from ltood.extraction.extras import extra

    backbone = type("Net", (), {"has_head": False, "entry_name": "clip"})()
    with pytest.raises(ConfigError, match="backbone clip"):
        extra("odin", backbone, ExtractionConfig())


def test_grey_images_of_networks_with_three_channels():
    """One pixel feeds three channels; its step is in their mean deviation."""
    from ltood.extraction.extras import extra
    from ltood.networks.backbone import ImageSpec

    spec = ImageSpec(1, 32, 32, (0.5,), (0.25,), 4)
    backbone = build_backbone("resnet50", {}, spec, fetch=False).eval()
    images = torch.rand(1, 1, 32, 32)
    group = extra("adascale", backbone, ExtractionConfig(adascale_share=1.0))
    step = (group.moved(images) - images).abs()
    assert step.max() == pytest.approx(0.5 * np.mean([0.229, 0.224, 0.225]), rel=1e-4)
