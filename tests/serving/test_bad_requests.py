"""What is wrong with a request is answered with a status from 400 to 499 and one sentence."""

import contextlib
import io
import json
import socket
import struct
import zipfile
import zlib

import numpy as np
import pytest

from tests.serving.clients import LIMITS, answer_on, form_of, image_file

IMAGE = image_file(np.arange(8 * 8 * 3).reshape(8, 8, 3))
DIM = 128


def bomb():
    """A PNG of 30,000 x 30,000 pixels in about 100 bytes."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def archive():
    """A NumPy archive of pickled objects."""
    content = io.BytesIO()
    np.savez(content, features=np.array([object()], dtype=object))
    return content.getvalue()


def zipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x", b"\0" * 10**6)
    return content.getvalue()


def rows(value=0.5, width=DIM, number=2, **others):
    return json.dumps({"features": [[value] * width] * number, **others}).encode()


JSON = "application/json"
WHOLE, FORM = form_of([("a.png", IMAGE)])
NO_TEXT = b'--x-7-x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--x-7-x--\r\n'

BAD = {
    "empty": (b"", "image/png", 422),
    "truncated JPEG": (image_file(np.zeros((90, 90, 3)), "JPEG")[:400], "image/jpeg", 422),
    "text": (b"hello", "image/png", 422),
    "web page": (b"<!doctype html><html></html>", "application/octet-stream", 422),
    "bomb": (bomb(), "image/png", 422),
    "too many pixels": (image_file(np.zeros((101, 200, 3))), "image/png", 422),
    "16 bits": (b"P5 8 8 65535\n" + b"\1" * 128, "image/x-portable-graymap", 422),
    "zip": (zipped(), "application/octet-stream", 422),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps", 422),
    "pickle": (archive(), "application/octet-stream", 422),
    "path": (b"/etc/passwd", "image/png", 422),
    "other type": (IMAGE, "text/plain", 415),
    "curl's default type": (IMAGE, "application/x-www-form-urlencoded", 415),
    "too large": (b"\0" * (LIMITS.body + 1), "image/png", 413),
    "form without boundary": (WHOLE, "multipart/form-data", 400),
    "other boundary": (WHOLE, "multipart/form-data; boundary=nix", 400),
    "form that breaks off": (WHOLE[:-40], FORM, 400),
    "empty form": (b"--x-7-x--\r\n", FORM, 422),
    "field of text": (NO_TEXT, FORM, 422),
    "not a form": (b"hello", FORM, 400),
    "too many images": (form_of([("a.png", IMAGE)] * (LIMITS.images + 1))[0], FORM, 413),
    "not JSON": (b"{'features': 1}", JSON, 400),
    "NaN": (rows(float("nan")), JSON, 400),
    "infinite": (rows(1e39), JSON, 422),
    "wrong width": (rows(width=3), JSON, 422),
    "no rows": (rows(number=0), JSON, 422),
    "too many rows": (rows(number=LIMITS.rows + 1, width=1), JSON, 413),
    "three dimensions": (json.dumps({"features": [[[0.5] * DIM]]}).encode(), JSON, 422),
    "other key": (rows(path="/etc/passwd"), JSON, 422),
    "other ids": (rows(ids=[1]), JSON, 422),
    "list": (b"[]", JSON, 422),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_sentence(service, name):
    body, kind, status = BAD[name]
    answer = service.send(body, kind)
    assert (answer.status, list(answer.found)) == (status, ["detail"]), answer
    assert answer.detail.endswith(".")
    assert "\n" not in answer.detail
    assert service.send(IMAGE).status == 200


@pytest.mark.parametrize("length", ["1000000000", "9" * 19])
def test_a_declared_length_is_refused_before_the_body_comes(service, length):
    with contextlib.closing(service.connect()) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        answer = answer_on(connection)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


def test_a_body_without_length_is_cut_at_the_limit(service):
    with contextlib.closing(service.connect()) as connection:
        parts = (b"\0" * 1000 for _ in range(LIMITS.body // 1000 + 5))
        connection.request("POST", "/predict", parts, encode_chunked=True)
        assert answer_on(connection).status == 413


def test_who_sends_nothing_but_rubbish_is_cut_off(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as raw:
        raw.sendall(b"hello\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("GET", "/nix", 404),
        ("GET", "/docs", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_addresses_that_are_not_there(service, method, path, status):
    answer = service.ask(method, path)
    assert (answer.status, list(answer.found)) == (status, ["detail"])
    assert answer.detail.endswith(".")


def test_an_image_that_cannot_be_read_spoils_no_other_of_a_form(service, samples):
    good = image_file(samples.images[0])
    answer = service.form([("a b.png", good), ("bröken.png", good[:60]), ("bomb.png", bomb())])
    assert answer.status == 200
    first, *others = answer.found["rows"]
    assert (first["path"], first["verdict"] in {"ID", "OOD"}) == ("a b.png", True)
    assert [row["path"] for row in others] == ["bröken.png", "bomb.png"]
    for row in others:
        assert row["verdict"] == "error"
        assert row["reason"].startswith(row["path"])
