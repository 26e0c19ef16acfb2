import pytest

from ltood.core.errors import StoreError
from ltood.store import folders
from ltood.store.folders import write_folder


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "a" / "b"
    write_folder(target, {"old.json": b"1", "both.bin": b"2"})
    write_folder(target, {"both.bin": b"3"})
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"both.bin": b"3"}
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_killed_writer_leaves_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "b"
    write_folder(target, {"x": b"old"})

    def die(path, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders.shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        write_folder(target, {"x": b"new"})
    assert (target / "x").read_bytes() == b"old"


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write .*/file/b .*free space or choose another"):
        write_folder(tmp_path / "file" / "b", {"x": b"1"})
