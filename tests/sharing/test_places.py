import pytest

from ltood.core.errors import TransferError
from ltood.sharing.places import Folder


def test_a_file_is_not_a_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferError, match="file"):
        Folder(tmp_path / "file")
