"""A model of one's own extracts to an address as it does to a folder, however often interrupted."""

import numpy as np
import pytest
import torch
from address_samples import stopped_after

from ltood.core.errors import FingerprintError, StoreError
from ltood.library.extract import extract
from ltood.library.targets import _Address
from ltood.runtime.drivers import Driver
from ltood.store.claimed import CLAIM
from ltood.store.features import FeatureStore
from tests.library.extract_samples import WIDTH, Net, batches

fsspec = pytest.importorskip("fsspec")
ADDRESS = "memory://mine/ü f"
LOADERS = {"train": batches(13, 1), "ood_far": batches(5, 2), "ood_twin": batches(5, 2)}


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    monkeypatch.setenv("LTOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ltood.store.layout.CHUNK_BYTES", 4 * WIDTH * 4)
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/mine"):
        system.rm("/mine", recursive=True)


def there(system):
    return {name.removeprefix("/mine/ü f/"): system.cat_file(name) for name in system.find("/mine")}


def stored(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def killed_after(monkeypatch, writes):
    """Begin a store at the address, and end as a killed process does."""
    stopped_after(monkeypatch, writes, lambda: extract(Net(), LOADERS, ADDRESS), kills=True)


def test_bytes_are_those_of_a_folder(system, tmp_path, monkeypatch):
    extract(Net(), LOADERS, tmp_path / "f.zarr")
    found = extract(Net(), LOADERS, ADDRESS)
    assert there(system) == stored(tmp_path / "f.zarr")
    expected = FeatureStore.open(tmp_path / "f.zarr").split("train").load(["features"])
    np.testing.assert_array_equal(found["train"].features, expected["features"])
    for name in ("write", "create", "remove"):
        monkeypatch.setattr(Driver, name, None)
    model = Net()
    extract(model, LOADERS, ADDRESS)
    extract(model, LOADERS, ADDRESS, overwrite=True)
    assert model.calls <= 16  # Probing alone.


@pytest.mark.parametrize(
    "writes", [30, *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 3, 14, 45))]
)
def test_a_killed_run_goes_on(system, tmp_path, monkeypatch, writes):
    extract(Net(), LOADERS, tmp_path / "f.zarr")
    killed_after(monkeypatch, writes)
    assert "zarr.json" not in there(system)
    assert CLAIM in there(system)
    model = Net()
    extract(model, LOADERS, ADDRESS)
    assert there(system) == stored(tmp_path / "f.zarr")
    if writes >= 30:
        assert model.calls <= 8 + 8 + 5


def other_net():
    model = Net()
    with torch.no_grad():
        model.fc.weight.mul_(2)
    return model


@pytest.mark.slow
def test_another_model_waits_or_takes_over(system, tmp_path, monkeypatch):
    killed_after(monkeypatch, 14)
    before = there(system)
    with pytest.raises(StoreError, match="take_over=True"):
        extract(other_net(), LOADERS, ADDRESS)
    assert there(system) == before
    extract(other_net(), LOADERS, ADDRESS, take_over=True)
    extract(other_net(), LOADERS, tmp_path / "f.zarr")
    assert there(system) == stored(tmp_path / "f.zarr")


def test_a_store_is_replaced_on_request_and_keeps_what_stays(system, tmp_path):
    extract(Net(), LOADERS, ADDRESS)
    before = there(system)
    changed = {"train": LOADERS["train"], "ood_near": batches(6, 5)}
    for model, loaders in ((Net(), changed), (other_net(), LOADERS)):
        with pytest.raises(StoreError, match="overwrite=True"):
            extract(model, loaders, ADDRESS)
        assert there(system) == before
    model = Net()
    extract(model, changed, ADDRESS, overwrite=True)
    assert model.calls <= 8 + 6
    extract(Net(), changed, tmp_path / "changed.zarr")
    assert there(system) == stored(tmp_path / "changed.zarr")
    extract(other_net(), LOADERS, ADDRESS, overwrite=True)
    extract(other_net(), LOADERS, tmp_path / "other.zarr")
    assert there(system) == stored(tmp_path / "other.zarr")


def test_a_run_that_goes_on_with_other_images_is_refused(monkeypatch):
    killed_after(monkeypatch, 14)
    with pytest.raises(FingerprintError, match="memory://mine"):
        extract(Net(), {**LOADERS, "train": batches(13, 7)}, ADDRESS, take_over=True)


@pytest.mark.slow
def test_a_damaged_note_counts_for_nothing(system, tmp_path, monkeypatch):
    killed_after(monkeypatch, 30)
    system.pipe_file("/mine/ü f/train/.read/000001.json", b"[]")
    system.pipe_file("/mine/ü f/train/features/c/0/0", b"short")
    extract(Net(), LOADERS, ADDRESS)
    extract(Net(), LOADERS, tmp_path / "f.zarr")
    assert there(system) == stored(tmp_path / "f.zarr")


def test_two_runs_with_other_images_do_not_mix(system, tmp_path, monkeypatch):
    killed_after(monkeypatch, 14)
    before = there(system)
    with pytest.raises(StoreError, match="take_over=True"):
        extract(Net(), {**LOADERS, "train": batches(13, 7)}, ADDRESS)
    assert there(system) == before


def test_a_store_that_came_since_a_run_looked_stays(system, monkeypatch):
    begin = _Address.begin

    def late(target, what):
        with monkeypatch.context() as patch:
            patch.setattr(_Address, "begin", begin)
            extract(Net(), {"train": batches(13, 7)}, ADDRESS)
        begin(target, what)

    monkeypatch.setattr(_Address, "begin", late)
    with pytest.raises(StoreError, match="since this run looked"):
        extract(Net(), {"train": batches(13, 1)}, ADDRESS)
    assert FeatureStore.open(ADDRESS).splits
