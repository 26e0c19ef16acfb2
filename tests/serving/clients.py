"""A service on loopback, in a thread, and requests to it."""

import contextlib
import http.client
import io
import json
import threading
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ltood.serving.app import make_app
from ltood.serving.judge import Judge
from ltood.serving.limits import Limits
from ltood.serving.running import bind, make_server

#: Small enough that a test can go beyond each.
LIMITS = Limits(body=200_000, images=5, rows=60, pixels=20_000, requests=64, seconds=20)


@dataclass
class Answer:
    status: int
    headers: dict
    text: str

    @property
    def found(self):
        return json.loads(self.text)

    @property
    def detail(self):
        return self.found["detail"]


@dataclass
class Service:
    port: int
    judge: Judge
    server: object

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method, path, body=None, headers=None):
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            return answer_on(connection)

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def send(self, body, kind="application/octet-stream", **headers):
        return self.ask("POST", "/predict", body, {"Content-Type": kind, **headers})

    def features(self, rows, **others):
        body = json.dumps({"features": np.asarray(rows).tolist(), **others})
        return self.send(body, "application/json")

    def form(self, files):
        return self.send(*form_of(files))


def answer_on(connection):
    """The answer to what was sent on a connection."""
    found = connection.getresponse()
    text = found.read().decode()
    return Answer(found.status, {key.lower(): value for key, value in found.getheaders()}, text)


@contextlib.contextmanager
def serving(detector, embedder=None, *, limits=LIMITS, token=None, **options):
    """A service for the block."""
    judge = Judge(detector, embedder, **options)
    server = make_server(make_app(judge, limits, token=token), limits)
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield Service(port, judge, server)
    finally:
        server.should_exit = True
        thread.join()
        judge.close()


def form_of(files, boundary="x-7-x"):
    """A form of (name, content), and its type."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def image_file(pixels, kind="PNG"):
    """Bytes of an image file."""
    content = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(content, kind)
    return content.getvalue()
