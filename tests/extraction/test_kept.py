"""Only new and changed splits are extracted, whatever removed the store in between."""

import shutil

import numpy as np
import pytest
from image_samples import TinyImages, extract_tiny, make_plan, train_tiny, tree

from ltood.extraction.kept import keep_splits
from ltood.runtime import files
from ltood.store.features import FeatureStore
from ltood.store.writer import SplitWriter

CONFIG = {"batch_size": 2, "rows_per_chunk": 3}


class Images(TinyImages):
    """Splits under other names, some left out, some changed."""

    def __init__(self, names=None, changed=()):
        super().__init__()
        splits = self._splits
        names = names or {name: name for name in splits}
        self._splits = {new: splits[old] for new, old in names.items()}
        for name in changed:
            split = self._splits[name]
            self._splits[name] = type(split)(255 - split.images, split.labels, split.ids)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=1))
    return out


@pytest.fixture
def computed(monkeypatch):
    """Names of the splits whose chunks are computed, in order, without repetition."""
    names, write = [], SplitWriter.write

    def noting(writer, start, arrays):
        names.append(writer.files.name)
        write(writer, start, arrays)

    monkeypatch.setattr(SplitWriter, "write", noting)

    def take():
        found = sorted(set(names))
        names.clear()
        return found

    return take


def all_names():
    return list(TinyImages().splits())


def as_pipeline(checkpoint, out, images):
    """What the pipeline does: keep, delete the output, run the stage."""
    keep_splits(out, out.with_name("extracting"))
    shutil.rmtree(out, ignore_errors=True)
    extract_tiny(checkpoint, out, CONFIG, images)


def test_only_what_changed_is_computed(tmp_path, checkpoint, computed):
    out = tmp_path / "features.zarr"
    names = {name: name for name in all_names()}
    outlier = next(name for name in names if name.startswith("ood_"))
    others = {name: name for name in names if name != outlier}
    renamed = {**others, "ood_renamed": outlier}
    as_pipeline(checkpoint, out, Images(others))
    assert computed() == sorted(others)
    first = FeatureStore.open(out)
    for images, expected in (
        (Images(others), []),
        (Images(names), [outlier]),
        (Images(renamed), []),
        (Images(names, changed=[outlier]), [outlier]),
        (Images(names, changed=["test"]), [outlier, "test"]),
        (Images(others), ["test"]),
    ):
        as_pipeline(checkpoint, out, images)
        assert computed() == sorted(expected)
        fresh = tmp_path / "apart" / "features.zarr"
        as_pipeline(checkpoint, fresh, images)
        computed()
        assert tree(out) == tree(fresh)
        shutil.rmtree(tmp_path / "apart")
    assert FeatureStore.open(out).fingerprint == first.fingerprint
    kept = {path.name for path in (tmp_path / "extracting").iterdir()}
    assert kept == {FeatureStore.open(out).files(name).identity for name in others}


def test_a_store_that_was_brought_back_is_kept(tmp_path, checkpoint, computed):
    out, kept = tmp_path / "features.zarr", tmp_path / "extracting"
    extract_tiny(checkpoint, out, CONFIG)
    whole = tree(out)
    shutil.rmtree(kept)
    assert computed()
    as_pipeline(checkpoint, out, TinyImages())
    assert computed() == []
    assert tree(out) == whole


def test_a_damaged_chunk_is_computed_again(tmp_path, checkpoint, computed):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    whole = tree(out)
    computed()
    chunk = out / "test" / "features" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[3] ^= 16
    chunk.write_bytes(raw)  # in place, so that the kept file changes too
    as_pipeline(checkpoint, out, TinyImages())
    assert computed() == ["test"]
    assert tree(out) == whole


def test_without_hard_links_files_are_copied(tmp_path, checkpoint, computed, monkeypatch):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    whole = tree(out)
    computed()

    link, refused = files.os.link, []

    def refuse(source, target):
        if str(source).endswith("zarr.json") or "zarr.json" in str(target):
            return link(source, target)  # Zarr links its own files.
        refused.append(source)
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.os, "link", refuse)
    as_pipeline(checkpoint, out, TinyImages())
    assert computed() == []
    assert tree(out) == whole
    assert refused


@pytest.mark.parametrize("damage", ["missing", "folder", "json", "marker"])
def test_what_is_no_whole_store_is_passed_over(tmp_path, checkpoint, damage):
    out, kept = tmp_path / "features.zarr", tmp_path / "kept"
    if damage == "folder":
        out.mkdir()
    elif damage != "missing":
        extract_tiny(checkpoint, out, CONFIG)
    if damage == "json":
        (out / "zarr.json").write_text("{")
    if damage == "marker":
        (out / "test" / ".done" / "000000.json").unlink()
    keep_splits(out, kept)
    found = len(list(kept.iterdir())) if kept.exists() else 0
    assert found == (len(all_names()) - 1 if damage == "marker" else 0)


def test_features_do_not_depend_on_the_name_of_a_set(tmp_path, checkpoint):
    names = {name: name for name in all_names()}
    outlier = next(name for name in names if name.startswith("ood_"))
    extract_tiny(checkpoint, tmp_path / "a" / "f.zarr", CONFIG, Images(names))
    extract_tiny(
        checkpoint, tmp_path / "b" / "f.zarr", CONFIG, Images({**names, "ood_same": outlier})
    )
    store = FeatureStore.open(tmp_path / "b" / "f.zarr")
    for array in store.split(outlier).arrays:
        np.testing.assert_array_equal(
            *(store.split(name).load([array])[array] for name in (outlier, "ood_same"))
        )
    first = FeatureStore.open(tmp_path / "a" / "f.zarr")
    assert first.files(outlier).identity == store.files("ood_same").identity
