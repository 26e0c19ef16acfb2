"""The size of batches that `auto` finds: what fits, once, and as if it had been set."""

from types import SimpleNamespace

import pytest
import torch
from image_samples import extract_tiny, make_plan, train_tiny, tree
from pretended_device import pretended_gpu

from ltood.core.errors import ConfigError, DataError
from ltood.extraction import extract as extract_module
from ltood.extraction import sizing
from ltood.extraction.gathering import Chunk
from ltood.extraction.network import Network
from ltood.extraction.sizing import FILE, LARGEST, find_size, size_for_cpu
from ltood.store.features import FeatureStore
from ltood.store.writer import SplitWriter

AUTO = {"batch_size": "auto", "rows_per_chunk": 3}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=1))
    return out


@pytest.mark.parametrize(
    ("pixels", "size"), [(8 * 8, 256), (32 * 32, 256), (224 * 224, 32), (384 * 384, 8), (10**8, 1)]
)
def test_a_cpu_takes_few_large_images_or_many_small_ones(pixels, size):
    assert size_for_cpu(pixels) == size


def test_a_size_that_was_found_is_one_that_was_set(tmp_path, checkpoint):
    extract_tiny(checkpoint, tmp_path / "auto.zarr", AUTO)
    extract_tiny(checkpoint, tmp_path / "set.zarr", {**AUTO, "batch_size": 256})
    assert tree(tmp_path / "auto.zarr") == tree(tmp_path / "set.zarr")
    recorded = FeatureStore.open(tmp_path / "auto.zarr").provenance["extraction"]
    assert recorded["batch_size"] == 256


def test_a_run_that_goes_on_takes_the_size_of_the_first(tmp_path, checkpoint, monkeypatch):
    out = tmp_path / "features.zarr"
    monkeypatch.setattr(sizing, "size_for_cpu", lambda pixels: 4)

    def stop(writer, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SplitWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_tiny(checkpoint, out, AUTO)
    monkeypatch.setattr(sizing, "size_for_cpu", lambda pixels: 8)
    extract_tiny(checkpoint, out, AUTO)
    extract_tiny(checkpoint, out, {**AUTO, "extras": ("pooling",)})
    assert FeatureStore.open(out).provenance["extraction"]["batch_size"] == 4
    (tmp_path / "extracting" / FILE).write_text("[")
    extract_tiny(checkpoint, out, AUTO)
    assert FeatureStore.open(out).provenance["extraction"]["batch_size"] == 8


class Full:
    """A network on a device with room for some rows."""

    device, names = torch.device("cuda"), ["test"]

    def __init__(self, room):
        self.room = room

    def outputs(self, pixels, names):
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("room", "size"), [(10**6, LARGEST), (321, 256), (319, 128), (2, 2), (1, 1)]
)
def test_a_gpu_takes_what_fits_with_a_quarter_to_spare(room, size):
    with pretended_gpu():
        assert find_size(Full(room), (8, 8, 3)) == size


def test_a_gpu_without_room_for_one_image():
    with pretended_gpu(), pytest.raises(ConfigError, match="no room for one image of 8 x 9"):
        find_size(Full(0), (8, 9, 3))


def test_a_batch_that_does_not_fit_names_the_setting(tmp_path, checkpoint, monkeypatch):
    def outputs(network, pixels, names):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Network, "outputs", outputs)
    with pytest.raises(ConfigError, match=r"extraction\.batch_size"):
        extract_tiny(checkpoint, tmp_path / "features.zarr", {"batch_size": 16})


def test_float16_is_for_gpus(tmp_path, checkpoint):
    with pytest.raises(ConfigError, match=r"extraction\.amp"):
        extract_tiny(checkpoint, tmp_path / "features.zarr", {"amp": "fp16"})


def test_features_beyond_float16_are_refused(tmp_path):
    chunk = Chunk(0, 2, {"features": torch.tensor([[1.0], [torch.inf]])})
    writer = SimpleNamespace(files=SimpleNamespace(name="test"))
    with pytest.raises(DataError, match=r"extraction\.amp"):
        extract_module._write(writer, "float16", None, chunk)
