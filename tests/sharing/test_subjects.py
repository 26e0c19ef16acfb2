import shutil

import pytest

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.sharing.places import Folder
from ltood.sharing.pulling import pull
from ltood.sharing.subjects import open_subject
from tests.sharing.folder_samples import send


@pytest.mark.parametrize("name", ["nothing", "text.txt", "nothing.safetensors"])
def test_what_cannot_be_pushed(tmp_path, name):
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(StoreError, match=name.partition(".")[0]):
        open_subject(tmp_path / name)


def test_a_store_that_was_damaged_before_it_was_pushed(features, tmp_path):
    copy = shutil.copytree(features, tmp_path / "copy.zarr")
    whole = open_subject(copy)
    chunk = copy / "ood_far" / "features" / "c" / "0" / "0"
    chunk.write_bytes(b"\xff" + chunk.read_bytes()[1:])
    with pytest.raises(CorruptStoreError):
        open_subject(copy)
    send(whole, tmp_path / "there")  # As if it had changed at that moment.
    with pytest.raises(CorruptStoreError, match="ood_far"):
        pull(Folder(tmp_path / "there"), tmp_path / "back.zarr")
