"""An object store and a machine behind SSH, both on loopback."""

import asyncio
import threading

import pytest
from address_samples import s3_server

from ltood.core.errors import CorruptStoreError, MissingPackageError, TransferError
from ltood.sharing.addresses import open_place
from ltood.sharing.card import Remarks
from ltood.sharing.pulling import pull
from ltood.sharing.pushing import push
from ltood.sharing.remotes import Remote
from tests.sharing.conftest import PART
from tests.store.store_samples import tree


@pytest.fixture(scope="module")
def s3_settings():
    pytest.importorskip("s3fs")
    with s3_server() as settings:
        yield settings


@pytest.fixture
def bucket(s3_settings, monkeypatch):
    """A bucket; the driver finds its server and keys where users set them."""
    import s3fs

    for key, value in s3_settings.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("features")
    yield system
    system.rm("features", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_comes_back_from_an_object_store(bucket, subject, tmp_path):
    place = open_place("s3://features/toy/v1/")
    pushed = push(subject, place, Remarks(), part_bytes=PART)
    assert len(bucket.find("features/toy/v1")) == 2 + len(pushed.manifest.parts)
    pull(open_place("s3://features/toy/v1"), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)


def test_parts_that_are_there_are_not_sent_again(bucket, subject):
    pushed = push(subject, open_place("s3://features/toy"), Remarks(), part_bytes=PART)
    lost, damaged = (f"features/toy/{part.name}" for part in pushed.manifest.parts[:2])
    bucket.rm(lost)
    bucket.pipe_file(damaged, b"x" * PART)
    place = open_place("s3://features/toy")
    assert push(subject, place, Remarks(), part_bytes=PART).sent == 1
    assert push(subject, place, Remarks(), part_bytes=PART, check=True).sent == 1


def test_a_damaged_part_is_named(bucket, subject, tmp_path):
    pushed = push(subject, open_place("s3://features/toy"), Remarks(), part_bytes=PART)
    bucket.pipe_file(f"features/toy/{pushed.manifest.parts[0].name}", b"x" * PART)
    with pytest.raises(CorruptStoreError, match="parts/00000-"):
        pull(open_place("s3://features/toy"), tmp_path / "back.zarr")


def test_parts_of_an_older_version_go(bucket, subject):
    push(subject, open_place("s3://features/toy"), Remarks(), part_bytes=PART)
    pushed = push(subject, open_place("s3://features/toy"), Remarks(), part_bytes=2 * PART)
    assert len(bucket.find("features/toy")) == 2 + len(pushed.manifest.parts)


@pytest.mark.parametrize("address", ["s3://features/nothing", "s3://no-such-bucket/a"])
def test_nothing_there(bucket, tmp_path, address):
    with pytest.raises(TransferError, match=address):
        pull(open_place(address), tmp_path / "back.zarr")


def test_a_bucket_is_never_made(bucket, subject):
    with pytest.raises(TransferError, match=r"s3://no-such-bucket.*create it"):
        push(subject, open_place("s3://no-such-bucket/a"), Remarks())
    assert bucket.ls("") == ["features"]


def test_no_network(bucket, subject):
    place = Remote("s3://features/toy", {"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(TransferError, match=r"s3://features/toy.*network"):
        push(subject, place, Remarks())


def test_no_permission(subject):
    def refuse(*_):
        raise PermissionError("Access Denied")

    place = Remote("memory://toy")
    place._driver.system = type("System", (), {"invalidate_cache": refuse})()
    with pytest.raises(TransferError, match=r"memory://toy.*permission"):
        push(subject, place, Remarks())


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("ssh", "sshfs")])
def test_a_missing_package_is_one_command(monkeypatch, scheme, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingPackageError, match=r"ltood\[remote\]"):
        open_place(f"{scheme}://there/toy")


def test_an_unknown_scheme():
    with pytest.raises(TransferError, match="carrier"):
        open_place("carrier://pigeon/toy")


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory):
    """An SFTP server that knows one user and shows one folder."""
    asyncssh = pytest.importorskip("asyncssh")
    pytest.importorskip("sshfs")
    root = tmp_path_factory.mktemp("machine")
    loop = asyncio.new_event_loop()

    connections = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, connection):
            connections.append(connection)

        def password_auth_supported(self):
            return True

        def validate_password(self, username, password):
            return (username, password) == ("ann", "pass")

    async def start():
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root)),
        )

    listener = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield listener.get_port(), root

    async def stop():
        listener.close()
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in connections))

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def ssh_place(port, password="pass"):
    options = {"username": "ann", "password": password, "port": port, "known_hosts": None}
    return Remote("ssh://127.0.0.1/shared/toy", {**options, "client_keys": None})


def test_a_store_comes_back_by_ssh(ssh_server, subject, tmp_path):
    port, root = ssh_server
    pushed = push(subject, ssh_place(port), Remarks(), part_bytes=PART)
    assert (root / "shared" / "toy" / pushed.manifest.parts[0].name).stat().st_size == PART
    assert push(subject, ssh_place(port), Remarks(), part_bytes=PART).sent == 0
    pull(ssh_place(port), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)


def test_a_wrong_password(ssh_server, subject):
    with pytest.raises(TransferError, match=r"ssh://.*permission"):
        push(subject, ssh_place(ssh_server[0], "wrong"), Remarks())
