import shutil

import pytest

from ltood.core.errors import StoreError
from ltood.sharing.addresses import open_place
from ltood.sharing.card import Remarks
from ltood.sharing.dvc_remotes import read_remote
from ltood.sharing.places import Folder
from ltood.sharing.pulling import pull
from ltood.sharing.pushing import push
from ltood.sharing.remotes import Remote
from ltood.store.verifying import verify_store
from tests.store.store_samples import tree


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A DVC repository, without the programs: its configuration files alone."""
    folder = tmp_path / "repository"
    (folder / ".dvc").mkdir(parents=True)
    (folder / "deep").mkdir()
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.chdir(folder / "deep")
    return folder


def test_a_store_comes_back_from_a_folder_by_name(repository, subject, tmp_path):
    (repository / ".dvc" / "config").write_text("['remote \"storage\"']\n    url = ../../shared\n")
    place = open_place("remote://storage/features/v1")
    assert isinstance(place, Folder)
    push(subject, place, Remarks())
    assert (tmp_path / "shared" / "features" / "v1" / "manifest.json").is_file()
    pull(open_place("remote://storage/features/v1"), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)


def test_settings_of_an_object_store(repository):
    (repository / ".dvc" / "config").write_text(
        "[core]\n    remote = s\n['remote \"s\"']\n    url = s3://bucket/dvc/\n"
        "    endpointurl = http://127.0.0.1:9\n    region = eu-west-1\n    profile = lab\n"
    )
    (repository / ".dvc" / "config.local").write_text(
        "['remote \"s\"']\n    access_key_id = me%\n    secret_access_key = 'hush'\n"
    )
    url, options = read_remote("remote://s/toy")
    assert url == "s3://bucket/dvc/toy"
    assert options == {
        "endpoint_url": "http://127.0.0.1:9",
        "client_kwargs": {"region_name": "eu-west-1"},
        "profile": "lab",
        "key": "me%",
        "secret": "hush",
    }


def test_settings_of_a_machine_behind_ssh(repository):
    (repository / ".dvc" / "config").write_text(
        "['remote \"lab\"']\n    url = ssh://lab.example/data\n    user = ann\n    port = 2222\n"
        "    keyfile = /keys/ann\n"
    )
    assert read_remote("remote://lab") == (
        "ssh://lab.example/data",
        {"username": "ann", "port": 2222, "client_keys": ["/keys/ann"]},
    )


def test_the_nearest_file_has_the_last_word(repository, tmp_path):
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "config").write_text(
        "['remote \"a\"']\n    url = /from/user\n['remote \"b\"']\n    url = ~/b\n"
    )
    (repository / ".dvc" / "config").write_text("['remote \"a\"']\n    url = /from/repository\n")
    assert read_remote("remote://a")[0] == "/from/repository"
    assert read_remote("remote://b")[0].endswith("/b")
    assert "~" not in read_remote("remote://b")[0]


def test_other_schemes_go_on_as_they_are(repository):
    (repository / ".dvc" / "config").write_text("['remote \"m\"']\n    url = memory://dvc\n")
    assert isinstance(open_place("remote://m/toy"), Remote)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "'storage'"),
        ("['remote \"other\"']\n    url = /a\n", "other"),
        ("['remote \"storage\"']\n    profile = a\n", "url"),
        ("no section\n", "config"),
    ],
)
def test_what_is_missing_is_named(repository, text, named):
    (repository / ".dvc" / "config").write_text(text)
    with pytest.raises(StoreError, match=named):
        read_remote("remote://storage")


def test_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="remote://"):
        read_remote("remote://storage")


def dvc(*words):
    """Run a command of DVC in this process."""
    from dvc.cli import main

    assert main(list(words)) == 0


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A DVC repository whose stage extract has run; its output is a feature store."""
    pytest.importorskip("dvc")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    dvc("init", "--no-scm", "-q")
    return tmp_path / "work"


def test_dvc_itself_writes_what_is_read(pipeline):
    dvc("remote", "add", "storage", "../shared")
    dvc("remote", "add", "s", "s3://bucket/dvc")
    dvc("remote", "modify", "--local", "s", "secret_access_key", "hush")
    assert read_remote("remote://storage")[0] == str(pipeline.parent / "shared")
    assert read_remote("remote://s/a") == ("s3://bucket/dvc/a", {"secret": "hush"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dvc_shares_the_outputs_of_its_stages(pipeline, features):
    (pipeline / "dvc.yaml").write_text(
        f"stages:\n  extract:\n    cmd: cp -r {features} features.zarr\n    outs: [features.zarr]\n"
    )
    dvc("repro")
    dvc("remote", "add", "-q", "--default", "storage", "../shared")
    dvc("push", "-q")
    shutil.rmtree(pipeline / "features.zarr")
    shutil.rmtree(pipeline / ".dvc" / "cache")
    dvc("pull", "-q")
    assert tree(pipeline / "features.zarr") == tree(features)
    assert dict(verify_store(pipeline / "features.zarr"))
