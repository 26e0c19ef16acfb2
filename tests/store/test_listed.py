"""Documents of groups and arrays follow from the root of the store."""

import pytest

from ltood.core.errors import CorruptStoreError
from ltood.store.disks import LocalDisk
from ltood.store.listed import damaged_documents, listed_documents
from ltood.store.verifying import verify_store
from tests.store.store_samples import make_spec, tree, write_store


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def edit(path):
    path.write_bytes(path.read_bytes().replace(b"10", b"11"))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def test_the_root_gives_every_document_to_the_byte(tmp_path):
    path = write_store(tmp_path / "s.zarr", make_spec(4, train=10, ood_a=3))
    listed = listed_documents(LocalDisk(path))
    found = {n: c for n, c in tree(path).items() if n.endswith("/zarr.json")}
    assert listed == found


@pytest.mark.parametrize("damage", [cut, edit, replace_by_folder])
def test_damage_is_found_and_mended(tmp_path, damage):
    path = write_store(tmp_path / "s.zarr", make_spec(4, train=10))
    before = tree(path)
    damage(path / "train/features/zarr.json")
    with pytest.raises(CorruptStoreError, match=r"train/features/zarr\.json"):
        dict(verify_store(path))
    for name, content in damaged_documents(LocalDisk(path)).items():
        LocalDisk(path).write(path / name, content)
    assert tree(path) == before
