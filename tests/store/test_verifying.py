import json
import re
import shutil

import pytest

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.store.metadata import fingerprint, seal_root
from ltood.store.verifying import open_store, store_files, verify_store
from tests.store.store_samples import create, make_spec, tree, write_store


def test_a_whole_store_is_its_files(tmp_path):
    path = write_store(tmp_path / "s.zarr", make_spec(4, train=10, ood_a=3))
    assert dict(verify_store(path)) == {"train": 10, "ood_a": 3}
    found = store_files(open_store(path))
    assert found == sorted(name for name in tree(path) if not name.endswith("/"))


def test_strangers_are_left_out_and_missing_files_named(tmp_path):
    path = write_store(tmp_path / "s.zarr")
    before = store_files(open_store(path))
    (path / "notes.txt").write_text("mine")
    assert store_files(open_store(path)) == before
    (path / "train" / "features" / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"train/features/zarr\.json"):
        store_files(open_store(path))


@pytest.mark.parametrize("file", ["head/weight/c/0/0", "train/labels/c/1"])
def test_changed_bytes_are_named(tmp_path, file):
    path = shutil.copytree(write_store(tmp_path / "s.zarr"), tmp_path / "copy.zarr")
    raw = (path / file).read_bytes()
    (path / file).write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(CorruptStoreError, match=file):
        dict(verify_store(path))


def test_a_store_that_is_not_finished(tmp_path):
    create(tmp_path / "s.zarr", make_spec())
    with pytest.raises(IncompleteStoreError):
        dict(verify_store(tmp_path / "s.zarr"))


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", "", ".done"])
@pytest.mark.parametrize("where", ["split", "array", "head"])
def test_names_that_lead_out_of_a_store(tmp_path, name, where):
    path = write_store(tmp_path / "s.zarr")
    document = json.loads((path / "zarr.json").read_text())
    content = document["attributes"].pop("ltood")
    if where == "split":
        content["splits"][name] = content["splits"].pop("train")
    elif where == "array":
        arrays = content["splits"]["train"]["arrays"]
        arrays[name] = arrays.pop("features")
    else:
        content["head"][name] = content["head"].pop("bias")
    content["fingerprint"] = fingerprint(content)
    document["attributes"] = {"ltood": content}
    (path / "zarr.json").write_text(json.dumps(document))
    seal_root(path, complete=True)
    with pytest.raises(CorruptStoreError, match=re.escape(repr(name))):
        open_store(path)
