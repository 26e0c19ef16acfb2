import json

import pytest

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.sharing.manifest import read_manifest
from ltood.sharing.pushing import describe
from ltood.store.documents import sealed_json
from tests.sharing.conftest import PART


@pytest.fixture
def content(subject):
    content = json.loads(describe(subject, PART).encode())
    del content["sha256"]
    return content


def read(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(sealed_json(content))
    return read_manifest(path, "s3://there")


def test_a_list_reads_as_it_was_written(subject, content, tmp_path):
    assert read(tmp_path, content) == describe(subject, PART)


def rename(name):
    def change(content):
        content["files"][0]["name"] = name

    return change


def change_in(*keys, to):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = to

    return change


HOSTILE = {
    "name leads up": rename("features.zarr/../../x"),
    "name is absolute": rename("/etc/passwd"),
    "name of Windows": rename("features.zarr\\..\\x"),
    "name with a drive": rename("C:x"),
    "name elsewhere": rename("a/b"),
    "name with a dot": rename("features.zarr/./a"),
    "name with a line": rename("features.zarr/a\nb"),
    "name is empty": rename(""),
    "own name is a path": change_in("name", to="a/b"),
    "own name leads up": change_in("name", to=".."),
    "own name is hidden": change_in("name", to=".git"),
    "own name is an option": change_in("name", to="-rf"),
    "own name is long": change_in("name", to="x" * 201),
    "fingerprint paints": change_in("fingerprint", to="\x1b[31m" + "0" * 59),
    "unknown kind": change_in("kind", to="code"),
    "kind of others": change_in("kind", to="detector"),
    "negative size": change_in("files", 0, "size", to=-1),
    "size is true": change_in("files", 0, "size", to=True),
    "size is a text": change_in("files", 0, "size", to="1"),
    "larger file": change_in("files", 0, "size", to=10**15),
    "more than a disk": change_in("files", 0, "size", to=2**90),
    "more than a float": change_in("part_bytes", to=10**400),
    "larger part": change_in("parts", 0, "size", to=10**15),
    "no parts": change_in("parts", to=[]),
    "parts of nothing": change_in("part_bytes", to=0),
    "checksum leads up": change_in("parts", 0, "sha256", to="../" * 10),
    "checksum too short": change_in("files", 0, "sha256", to="ab"),
    "files are a text": change_in("files", to="features.zarr/a"),
    "out of order": lambda content: content["files"].reverse(),
    "twice": lambda content: content["files"].insert(0, content["files"][0]),
    "lacks an entry": lambda content: content.pop("fingerprint"),
    "file and folder": lambda content: content["files"].insert(
        0, {"name": "features.zarr/aux", "size": 0, "sha256": "0" * 64}
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_list_that_lies_is_refused(content, tmp_path, fault):
    HOSTILE[fault](content)
    with pytest.raises(CorruptStoreError, match="s3://there"):
        read(tmp_path, content)


def test_a_list_that_was_edited_is_refused(content, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(sealed_json(content).replace(b"f.zarr", b"g.zarr"))
    with pytest.raises(CorruptStoreError):
        read_manifest(path, "s3://there")


def test_another_version_is_named(content, tmp_path):
    with pytest.raises(StoreError, match="schema 2"):
        read(tmp_path, {**content, "schema": 2})
