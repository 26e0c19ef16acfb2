import hashlib

import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.tables.needs import missing_needs, refuse_missing
from tests.tables.table_samples import make_table

SOURCE = "a page, by hand"


def table_of(**need):
    return make_table(needs=[{"source": SOURCE, **need}])


def test_what_is_missing_is_named_with_its_source(tmp_path):
    with pytest.raises(DataError, match=r"images is missing \(3 files\).*a page"):
        refuse_missing(table_of(path="images", files=3), tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    assert "holds 1 files, but 3" in missing_needs(table_of(path="images", files=3), tmp_path)[0]
    assert missing_needs(table_of(path="images", files=1), tmp_path) == []


def test_what_ltood_can_make_is_made(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("ltood.tables.needs.MAKERS", {"small_clip": made.append})
    table = table_of(path="w.safetensors", make="small_clip")
    with pytest.raises(DataError, match=r"w\.safetensors"):
        refuse_missing(table, tmp_path)
    refuse_missing(table, tmp_path, make=True)
    assert made == [tmp_path / "w.safetensors"]
    with pytest.raises(ConfigError, match="make"):
        table_of(path="w", make="rm -rf /")


def test_a_file_of_another_content_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("a")
    right = hashlib.sha256(b"a").hexdigest()
    assert missing_needs(table_of(path="list.txt", sha256=right), tmp_path) == []
    wrong = table_of(path="list.txt", sha256="0" * 64)
    assert "has SHA-256" in missing_needs(wrong, tmp_path)[0]
