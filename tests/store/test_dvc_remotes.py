"""DVC hands stores over: what a remote gives back is the store, and only new files are sent."""

import os
import shutil
import subprocess
import sys

import pytest
from address_samples import s3_server

from ltood.store.verifying import verify_store
from tests.store.store_samples import make_spec, tree, write_store

pytestmark = pytest.mark.slow
FIRST = make_spec(4, train=30, ood_a=3)
#: The same rows, and one more split.
SECOND = make_spec(4, train=30, ood_a=3, val=7)


class Repository:
    """A folder with DVC alone, without git."""

    def __init__(self, path, settings):
        self.path = path
        self.env = {
            **os.environ,
            **settings,
            "DVC_SITE_CACHE_DIR": str(path.parent / "site"),
            "DVC_NO_ANALYTICS": "1",
        }
        path.mkdir()
        self.dvc("init", "--no-scm", "-q")

    def dvc(self, *words):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=self.path,
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def hand_over(tmp_path, remote, settings, count):
    """Push two versions of a store and pull the second elsewhere."""
    repository = Repository(tmp_path / "here", settings)
    repository.dvc("remote", "add", "--default", "shared", remote)
    store = repository.path / "features.zarr"
    sent = []
    for spec in (FIRST, SECOND):
        shutil.rmtree(store, ignore_errors=True)
        write_store(store, spec)
        repository.dvc("add", "-q", "features.zarr")
        repository.dvc("push", "-q")
        sent.append(count())
    other = Repository(tmp_path / "there", settings)
    for name in ("features.zarr.dvc", ".dvc/config"):
        shutil.copy(repository.path / name, other.path / name)
    other.dvc("pull", "-q")
    arrived = other.path / "features.zarr"
    assert tree(arrived) == tree(store)
    assert dict(verify_store(arrived)) == {"train": 30, "ood_a": 3, "val": 7}
    # Of the second version the new split, the list of contents, and DVC's own list of files.
    new = [file for file in (store / "val").rglob("*") if file.is_file()]
    assert sent[1] - sent[0] <= len(new) + 2


def test_a_folder(tmp_path):
    pytest.importorskip("dvc")
    remote = tmp_path / "shared folder"
    remote.mkdir()
    hand_over(tmp_path, str(remote), {}, lambda: sum(path.is_file() for path in remote.rglob("*")))


def test_an_object_store(tmp_path, monkeypatch):
    pytest.importorskip("dvc_s3")
    import boto3

    with s3_server() as settings:
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="features")
        hand_over(
            tmp_path,
            "s3://features/remote",
            settings,
            lambda: client.list_objects_v2(Bucket="features")["KeyCount"],
        )
