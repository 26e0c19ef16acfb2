"""A sheet for the report is read as it was written, or refused."""

import json

import pytest

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.store.regions import RegionSheet, read_regions, write_regions

SHEET = RegionSheet("f" * 64, "test", (0, 7), ("cat", "dog"), (0.25, 1.0), 2, 10, b"\x89PNG")


def test_a_sheet_comes_back_and_equal_ones_have_equal_bytes(tmp_path):
    write_regions(tmp_path / "a" / "regions", SHEET)
    write_regions(tmp_path / "b", SHEET)
    assert read_regions(tmp_path / "b") == SHEET
    for name in ("regions.json", "regions.png"):
        assert (tmp_path / "a/regions" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_nothing_to_show_replaces_a_sheet(tmp_path):
    write_regions(tmp_path / "regions", SHEET)
    write_regions(tmp_path / "regions", "no local features")
    assert read_regions(tmp_path / "regions") is None
    (left,) = (tmp_path / "regions").iterdir()
    assert (
        json.loads(left.read_bytes()).items()
        >= {
            "absent": "no local features",
            "schema": 2,
        }.items()
    )


def test_what_is_not_whole_is_refused(tmp_path):
    folder = tmp_path / "regions"
    with pytest.raises(StoreError, match=r"has no regions\.json; run the visualise stage"):
        read_regions(folder)
    write_regions(folder, SHEET)
    (folder / "regions.png").write_bytes(b"\x89PNX")
    with pytest.raises(CorruptStoreError, match=r"regions\.png changed after it was written"):
        read_regions(folder)
    (folder / "regions.png").unlink()
    with pytest.raises(CorruptStoreError, match=r"is unreadable \(FileNotFoundError"):
        read_regions(folder)
    document = folder / "regions.json"
    for content, said in (
        ({"schema": 1}, "has schema 1, this version reads 2"),
        ({"schema": 2}, "was edited after it was written"),
        ([], "does not hold a JSON object"),
    ):
        document.write_text(json.dumps(content))
        with pytest.raises(StoreError, match=said):
            read_regions(folder)


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*regions: "):
        write_regions(tmp_path / "file" / "regions", SHEET)
