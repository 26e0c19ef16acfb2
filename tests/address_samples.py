"""Places behind addresses: an S3 server on this machine, and writers that are stopped."""

from contextlib import contextmanager

import pytest

from ltood.runtime.drivers import Driver


@contextmanager
def s3_server():
    """A running S3 server, by the environment variables that lead there."""
    from moto.backends import get_backend
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield {
            "no_proxy": "127.0.0.1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        # All servers of a process share their buckets, and the next one is to have none.
        get_backend("s3").reset()
        server.stop()


@contextmanager
def s3_files(monkeypatch):
    """s3fs, which finds a server of this machine where users name theirs."""
    s3fs = pytest.importorskip("s3fs")
    with s3_server() as settings:
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield s3fs
        finally:
            s3fs.S3FileSystem.clear_instance_cache()


class StoppedError(Exception):
    """What stops a writer."""


def stopped_after(monkeypatch, writes, call, *, kills=False):
    """Stop before a write; with `kills` nothing is put away, as where a process was killed."""
    write, names = Driver.write, []

    def stopping(driver, name, content):
        if len(names) >= writes:
            raise StoppedError
        names.append(name)
        write(driver, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "write", stopping)
        if kills:
            patch.setattr(Driver, "remove", lambda driver, name: None)
        with pytest.raises(StoppedError):
            call()
