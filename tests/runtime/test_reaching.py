"""A hub that cannot be reached is known at once, and what its cache holds is taken."""

import os
import socket
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from ltood.runtime import reaching
from ltood.runtime.reaching import hub_or_cache, out_of_reach


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_a_host_that_answers_is_in_reach(listening, closed):
    assert out_of_reach(listening) is None
    assert "127.0.0.1" in str(out_of_reach(closed))


def test_the_way_through_a_proxy_is_the_one_that_counts(listening, closed, monkeypatch):
    monkeypatch.setenv("http_proxy", listening.removeprefix("http://"))
    assert out_of_reach("http://nowhere.invalid") is None
    monkeypatch.setenv("http_proxy", closed)
    assert "127.0.0.1" in str(out_of_reach("http://nowhere.invalid"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert out_of_reach(listening) is None


def test_a_question_without_an_answer_ends(monkeypatch):
    monkeypatch.setattr(reaching, "_SECONDS", 0.01)
    monkeypatch.setattr(reaching, "_connect", lambda *args: None)
    assert "no answer" in str(out_of_reach("https://huggingface.co"))


def test_the_hub_is_left_alone_where_it_answers_or_is_not_wanted(listening, closed, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", listening)
    with hub_or_cache() as reason:
        assert (reason, constants.HF_HUB_OFFLINE) == (None, False)
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    with hub_or_cache() as reason:
        assert constants.HF_HUB_OFFLINE
        assert "127.0.0.1" in str(reason)
    assert not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(reaching, "out_of_reach", pytest.fail)
    with hub_or_cache() as reason:
        assert reason is None


def test_files_come_from_the_cache_where_the_hub_is_out_of_reach(tmp_path, closed, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    kept = tmp_path / "models--a--b" / "snapshots" / "1" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir()
    (refs / "main").write_text("1")
    with hub_or_cache():
        found = huggingface_hub.hf_hub_download("a/b", "model.safetensors", cache_dir=tmp_path)
        assert Path(found).read_bytes() == b"weights"
        with pytest.raises(LocalEntryNotFoundError):
            huggingface_hub.hf_hub_download("a/b", "other.safetensors", cache_dir=tmp_path)
