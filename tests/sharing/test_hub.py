"""The hub's own client against a stand-in of its server."""

import logging

import pytest

from ltood.core.errors import TransferError
from ltood.sharing.addresses import open_place
from ltood.sharing.card import Remarks
from ltood.sharing.pulling import pull
from ltood.sharing.pushing import push
from tests.sharing.conftest import PART
from tests.sharing.hub_server import TOKEN, HubServer
from tests.store.store_samples import tree

constants = pytest.importorskip("huggingface_hub.constants")
# The client sends files by a way of its HTTP library that this deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = HubServer()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    # The transfer of its store of chunks goes to other servers.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    yield server
    server.close()


@pytest.mark.parametrize(
    ("address", "repository", "folder"),
    [
        ("hf://me/model", "models/me/model", ""),
        ("hf://datasets/me/features", "datasets/me/features", ""),
        ("hf://datasets/me/features@main/v1", "datasets/me/features", "v1/"),
    ],
)
def test_a_store_comes_back_from_the_hub(hub, subject, tmp_path, address, repository, folder):
    pushed = push(subject, open_place(address), Remarks("cc-by-4.0"), part_bytes=PART)
    files = hub.repositories[repository]
    assert {f"{folder}README.md", f"{folder}manifest.json"} < files.keys()
    assert len(files) == 2 + len(pushed.manifest.parts)
    pull(open_place(address), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)


def test_an_interrupted_push_sends_the_rest_only(hub, subject):
    hub.uploads_left = 3
    with pytest.raises(TransferError):
        push(subject, open_place("hf://me/model"), Remarks(), part_bytes=PART)
    assert hub.repositories["models/me/model"] == {}
    hub.uploads_left = None
    pushed = push(subject, open_place("hf://me/model"), Remarks(), part_bytes=PART)
    assert sorted(hub.uploads) == sorted(part.sha256 for part in pushed.manifest.parts)
    again = push(subject, open_place("hf://me/model"), Remarks(), part_bytes=PART)
    assert again.sent == 0


def test_parts_of_an_older_version_go_with_the_commit(hub, subject):
    push(subject, open_place("hf://me/model"), Remarks(), part_bytes=PART)
    pushed = push(subject, open_place("hf://me/model"), Remarks(), part_bytes=2 * PART)
    names = {part.name for part in pushed.manifest.parts}
    assert hub.repositories["models/me/model"].keys() == names | {"README.md", "manifest.json"}


def test_a_download_that_breaks_off_is_continued(hub, subject, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    push(subject, open_place("hf://me/model"), Remarks(), part_bytes=PART)
    hub.cut_downloads = 1
    pull(open_place("hf://me/model"), tmp_path / "back.zarr")
    assert hub.cut_downloads == 0
    assert tree(tmp_path / "back.zarr") == tree(subject.path)


def test_private_is_asked_for(hub, scores):
    from ltood.sharing.subjects import open_subject

    push(open_subject(scores), open_place("hf://me/secret", private=True), Remarks())
    assert hub.private == [True]


def test_no_permission(hub, subject, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(TransferError, match=r"hf://me/model.*permission"):
        push(subject, open_place("hf://me/model"), Remarks())


def test_nothing_there(hub, tmp_path):
    with pytest.raises(TransferError, match="hf://me/nothing"):
        pull(open_place("hf://me/nothing"), tmp_path / "back.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["hf://", "hf://name", "hf://a/b@", "hf://spaces/a/b/../c d"])
def test_malformed_addresses(address):
    with pytest.raises(TransferError, match="hf://owner/name"):
        open_place(address)
