import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ltood.library.gathering
from ltood.core.errors import ConfigError, DataError, FingerprintError, LtoodError, StoreError
from ltood.library.extract import extract
from ltood.store.features import FeatureStore
from tests.library.extract_samples import CLASSES, WIDTH, Net, batches, images


def test_features_and_head_are_those_of_the_model(tmp_path):
    model = Net().train()
    model.stem[1].eval()
    model.fc.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    loaders = {"svhn": batches(5, 3), "test": batches(9, 2), "train": batches(20, 1)}
    found = extract(model, loaders, tmp_path / "f.zarr", class_names=["a", "b", "c"])
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.hidden.weight.grad is None
    assert not model._forward_hooks
    assert found.splits == ["train", "test", "ood_svhn"]
    model.eval()
    for name, rows, seed in (("train", 20, 1), ("test", 9, 2), ("ood_svhn", 5, 3)):
        with torch.no_grad():
            features = model.embed(images(rows, seed))
            logits = model.fc(features)
        np.testing.assert_allclose(found[name].features, features, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[name].logits, logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[name].ids, np.arange(rows))
        labels = np.arange(rows) % CLASSES if name != "ood_svhn" else np.full(rows, -1)
        np.testing.assert_array_equal(found[name].labels, labels)
    assert found.class_names == ["a", "b", "c"]
    assert found.prior.counts.tolist() == [7, 7, 6]
    assert torch.equal(found.head.weight, model.fc.weight)
    assert not (tmp_path / "f.zarr.extracting").exists()


def stored(path):
    """Everything in a folder that decides what is read."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 4 rows."""
    monkeypatch.setattr("ltood.store.layout.CHUNK_BYTES", 4 * WIDTH * 4)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("alive", range(0, 40, 7))
def test_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, alive):
    loaders = {"train": batches(21, 1), "ood_far": batches(11, 2)}
    extract(Net(), loaders, tmp_path / "whole.zarr")
    model, left = Net(), alive

    def dying(loader):
        nonlocal left
        for batch in loader:
            left -= len(batch[0])
            if left < 0:
                raise KeyboardInterrupt
            yield batch

    class Dying:
        def __init__(self, loader):
            self.loader = loader

        def __iter__(self):
            return dying(self.loader)

    path = tmp_path / "f.zarr"
    try:
        extract(model, {name: Dying(value) for name, value in loaders.items()}, path)
    except KeyboardInterrupt:
        assert not path.exists()
    model.calls = 0
    extract(model, loaders, path)
    assert stored(path) == stored(tmp_path / "whole.zarr")
    assert FeatureStore.open(path).split("train").spec.arrays["features"].shape == (WIDTH,)
    if alive >= 28:  # Probing alone sends images through the network for the first split.
        assert model.calls <= 8 + 21 - 16 + 11


@pytest.mark.usefixtures("small_chunks")
def test_resumed_images_must_be_the_same(tmp_path):
    class Dying:
        def __iter__(self):
            yield from list(batches(16, 1))
            raise KeyboardInterrupt

    path = tmp_path / "f.zarr"
    with pytest.raises(KeyboardInterrupt):
        extract(Net(), Dying(), path)
    with pytest.raises(FingerprintError, match="first image of train has other features"):
        extract(Net(), batches(21, 4), path)
    changed = [*list(batches(16, 1))[:1], *list(batches(21, 4))[1:]]
    with pytest.raises(FingerprintError, match="other images or labels in rows 8 to 12"):
        extract(Net(), changed, path)
    with pytest.raises(FingerprintError, match="ends after 8 of 16"):
        extract(Net(), batches(8, 1), path)
    other = Net()
    other.embed = lambda x: other.stem(x).mean((2, 3))
    with pytest.raises(FingerprintError, match="code has changed"):
        extract(other, batches(21, 1), path)


def test_finished_store_is_read_only_where_it_is_the_same(tmp_path):
    path, model = tmp_path / "f.zarr", Net()
    loaders = {"train": batches(20, 1), "ood_far": batches(7, 2)}
    extract(model, loaders, path)
    before, model.calls = stored(path), 0
    extract(model, loaders, path)
    assert model.calls <= 8
    assert stored(path) == before
    more = {**loaders, "ood_near": batches(5, 3)}
    with pytest.raises(StoreError, match="overwrite=True"):
        extract(model, more, path)
    with pytest.raises(StoreError, match="overwrite=True"):
        extract(model, loaders, path, class_names=["a", "b", "c"])
    assert stored(path) == before
    model.calls = 0
    found = extract(model, more, path, overwrite=True)
    assert found.splits == ["train", "ood_far", "ood_near"]
    assert model.calls <= 8 + 5
    with torch.no_grad():
        model.fc.weight.mul_(2)
    model.calls = 0
    extract(model, more, path, overwrite=True)
    assert model.calls >= 32
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(StoreError):
        extract(model, more, tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


class Other(nn.Module):
    """A network whose output is what `make` makes of images."""

    def __init__(self, make, **layers):
        super().__init__()
        torch.manual_seed(2)
        self.net = Net()
        self.make = make
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images):
        return self.make(self, images)


def sequence(self, images):
    """Tokens [N, 9, D]."""
    return self.net.stem(images).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        nn.DataParallel,
        lambda net: Other(lambda self, x: {"logits": self.net(x), "loss": None}),
        lambda net: Other(lambda self, x: SimpleNamespace(logits=self.net(x), hidden=x)),
        lambda net: Other(lambda self, x: (self.net.embed(x), self.net(x))),
        lambda net: Other(lambda self, x: [self.net(x)]),
        # A projection runs after the head.
        lambda net: Other(
            lambda self, x: (self.net(x), self.last(self.net.embed(x)).norm()),
            last=nn.Linear(WIDTH, 2),
        ),
    ],
)
def test_any_kind_of_output(tmp_path, wrap):
    model = wrap(Net())
    found = extract(model, batches(9), tmp_path / "f.zarr")
    with torch.no_grad():
        expected = Net().eval().embed(images(9))
    np.testing.assert_allclose(found["train"].features, expected, rtol=1e-5, atol=1e-6)
    assert found["train"].logits.shape == (9, CLASSES)


def test_compiled_and_half_precision_models(tmp_path):
    found = extract(torch.compile(Net()), batches(9), tmp_path / "a.zarr")
    half = extract(Net().half(), batches(9), tmp_path / "b.zarr", dtype="float16")
    assert half["train"].features.dtype == np.float16
    np.testing.assert_allclose(half["train"].features, found["train"].features, atol=2e-2)
    brain = extract(Net(), batches(9), tmp_path / "c.zarr", amp="bf16")
    np.testing.assert_allclose(brain["train"].features, found["train"].features, atol=5e-2)
    without = extract(Net(bias=False), batches(9), tmp_path / "d.zarr")
    assert without.head.bias.tolist() == [0] * CLASSES


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Other(lambda s, x: s.net(x).softmax(1)), {}, "none of its linear layers.*net.fc"),
        (nn.Sequential(nn.Conv2d(2, 3, 5), nn.Flatten()), {}, "ran no linear layer"),
        (Other(lambda s, x: (s.net(x), s.b(s.net.embed(x))), b=nn.Linear(6, 4)), {}, "several"),
        (Net(), {"layer": "head"}, "layer is 'head'.*fc"),
        (Net(), {"layer": "stem.1"}, r"maps \[N, D, H, W\].*pool="),
        (Net(), {"layer": "stem.1", "pool": "cls"}, "pool='cls'"),
        (Net(), {"pool": "max_pool"}, "pool is 'max_pool'"),
        (Other(lambda s, x: s.fc(sequence(s, x)), fc=nn.Linear(6, 3)), {}, "tokens.*'cls'"),
        (Other(lambda s, x: s.fc(s.fc(x.mean((1, 3)))), fc=nn.Linear(5, 5)), {}, "2 times"),
        (Net(), {"class_names": ["a"]}, "1 class names but the model has 3"),
        (Net(), {"class_counts": [1, 2]}, "2 numbers for 3 classes"),
        (Net(), {"class_counts": [1, 2, 0]}, r"\[2\] have no training images"),
        (Net(), {"device": "tpu"}, "device is 'tpu'"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_way_out(tmp_path, model, options, message):
    with pytest.raises(LtoodError, match=message):
        extract(model, batches(9), tmp_path / "f.zarr", **options)
    assert not (tmp_path / "f.zarr").exists()


@pytest.mark.parametrize(
    ("pool", "reduce"),
    [
        ("mean", lambda tokens: tokens.mean(1)),
        ("max", lambda tokens: tokens.amax(1)),
        ("cls", lambda tokens: tokens[:, 0]),
    ],
)
def test_tokens_are_pooled_on_request(tmp_path, pool, reduce):
    model = Other(lambda s, x: s.fc(sequence(s, x)), fc=nn.Linear(WIDTH, 3))
    found = extract(model, batches(9), tmp_path / "f.zarr", pool=pool)
    with torch.no_grad():
        expected = reduce(sequence(model.eval(), images(9)))
    np.testing.assert_allclose(found["train"].features, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.head.weight, model.fc.weight)


def test_maps_before_another_layer_give_a_store_without_a_head(tmp_path):
    model = Net()
    found = extract(model, batches(9), tmp_path / "f.zarr", layer="stem.2", pool="mean")
    with torch.no_grad():
        expected = model.eval().stem[1](model.stem[0](images(9))).mean((2, 3))
    np.testing.assert_allclose(found["train"].features, expected, rtol=1e-5, atol=1e-6)
    assert found.class_names == ["0", "1", "2"]
    with pytest.raises(LtoodError, match="without a head"):
        _ = found.head
    with pytest.raises(LtoodError, match="no logits"):
        _ = found["train"].logits


def pairs(rows):
    return [(x, y) for x, y in batches(rows)]


@pytest.mark.parametrize(
    "loader",
    [
        [{"pixel_values": x, "labels": y} for x, y in pairs(9)],
        [{"image": x.numpy(), "label": y.numpy()} for x, y in pairs(9)],
        [(x, y, {"path": "a"}) for x, y in pairs(9)],
        (batch for batch in pairs(9)),
        [[x.double(), y.int()] for x, y in pairs(9)],
    ],
)
def test_any_kind_of_batch(tmp_path, loader):
    found = extract(Net(), loader, tmp_path / "f.zarr")
    with torch.no_grad():
        expected = Net().eval().embed(images(9))
    np.testing.assert_allclose(found["train"].features, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["train"].labels, np.arange(9) % CLASSES)


def test_images_alone_are_enough_for_ood_sets(tmp_path):
    found = extract(Net(), {"far": [images(4)]}, tmp_path / "f.zarr", class_counts=[5, 5, 5])
    assert found["far"].labels[:].tolist() == [-1] * 4
    assert found.prior.counts.tolist() == [5, 5, 5]


DATA = TensorDataset(images(9), torch.arange(9) % CLASSES)
BYTES = [((images(4).abs() * 50).byte(), torch.arange(4) % 3)]


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "train gives no images"),
        ({}, "no loaders"),
        (DATA, "TensorDataset; give an iterable of batches"),
        (7, "int; give an iterable"),
        (DataLoader(DATA, shuffle=True), "shuffles.*shuffle=False"),
        ([images(4)], "train gives no labels"),
        ([(images(4), None)], "train gives no labels"),
        ([(images(4), torch.tensor([0, 1, 2, 3]))], "image 3 of train has the label 3.*0 to 2"),
        ([(images(4), torch.tensor([0, -1, 2, 1]))], "image 1 of train has the label -1"),
        ([(images(4), torch.zeros(4))], "labels of the batch.*float32"),
        ([(images(4), torch.arange(3))], "4 images but 3 labels"),
        ([(images(1)[0], 2)], "batches rather than|one per row"),
        ([{"pixels_": 1}], "pixels_; images are looked for under pixel_values"),
        ([()], "is empty"),
        ([(images(0), torch.arange(0))], "at least one image"),
        (BYTES, "uint8.*transform="),
        ([(images(4) * float("nan"), torch.arange(4) % 3)], "image 0 of train hold NaN"),
        ({"train": batches(9), "validation": batches(9)}, "name it 'val'"),
        ({"train": batches(9), "far": [images(1)], "ood_far": [images(1)]}, "two loaders"),
        ({"train": batches(9), "fär": [images(1)]}, "not a valid split name"),
        ({"test": batches(9)}, "class_counts="),
    ],
)
def test_loaders_that_break_a_rule(tmp_path, loader, message):
    with pytest.raises(LtoodError, match=message):
        extract(Net(), loader, tmp_path / "f.zarr")
    assert not (tmp_path / "f.zarr").exists()


def test_transform_makes_what_the_model_takes(tmp_path):
    found = extract(
        Net(), BYTES, tmp_path / "f.zarr", transform=lambda x: x / 255, class_counts=[2, 1, 1]
    )
    with torch.no_grad():
        expected = Net().eval().embed(BYTES[0][0] / 255)
    np.testing.assert_allclose(found["train"].features, expected, rtol=1e-5, atol=1e-6)


def test_names_of_the_training_data_are_taken(tmp_path):
    data = TensorDataset(images(9), torch.arange(9) % CLASSES)
    data.classes = ["cat", "dog", "emu"]
    found = extract(Net(), DataLoader(data, batch_size=4), tmp_path / "f.zarr")
    assert found.class_names == ["cat", "dog", "emu"]


@pytest.mark.usefixtures("small_chunks")
def test_damaged_chunk_of_a_killed_run_is_computed_again(tmp_path):
    class Dying:
        def __iter__(self):
            yield from list(batches(16, 1))
            raise KeyboardInterrupt

    path = tmp_path / "f.zarr"
    with pytest.raises(KeyboardInterrupt):
        extract(Net(), Dying(), path)
    chunk = next((tmp_path / "f.zarr.extracting").rglob("features/c/1/0"))
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    extract(Net(), batches(21, 1), path)
    extract(Net(), batches(21, 1), tmp_path / "whole.zarr")
    assert stored(path) == stored(tmp_path / "whole.zarr")


def test_memory_stays_bounded(tmp_path, monkeypatch):
    held = []
    original = ltood.library.gathering.Gatherer._flush

    def flush(self, pending, ends):
        held.append(sum(len(labels) for _, labels in pending))
        return original(self, pending, ends)

    monkeypatch.setattr(ltood.library.gathering.Gatherer, "_flush", flush)
    monkeypatch.setattr("ltood.store.layout.CHUNK_BYTES", 16 * WIDTH * 4)
    extract(Net(), batches(200, 1), tmp_path / "f.zarr")
    assert max(held) < 16 + 8


def test_unknown_layer_names_its_type():
    with pytest.raises(ConfigError, match="Net does not have"):
        extract(Net(), batches(9), "unused.zarr", layer="")


def test_labels_beyond_a_headless_store(tmp_path):
    loaders = {"train": batches(9), "test": [(images(2), torch.tensor([0, 5]))]}
    with pytest.raises(DataError, match="test has the label 5"):
        extract(Net(), loaders, tmp_path / "f.zarr", layer="stem.1", pool="mean")
