"""The service over real sockets: the verdicts of `ltood predict`, under load too."""

import contextlib
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.deployment.predicting import predict_files
from ltood.deployment.promises import Promise
from ltood.serving.app import make_app
from ltood.serving.judge import Judge
from ltood.serving.limits import Limits
from ltood.serving.running import bind, listen, make_server, run
from tests.serving.clients import LIMITS, Service, answer_on, image_file, serving

#: What a network's rounding in batches of other sizes may do to a score.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def predicted(samples):
    """What `ltood predict` says of all images."""
    path = samples.folder.parent / "images.npz"
    return list(predict_files(samples.detector, [path], checkpoint=samples.checkpoint))


def same(record, row):
    """A row of the service has all fields of a row of `ltood predict`, and its values."""
    wanted = row.record()
    assert list(record) == list(wanted)
    assert [record[key] for key in ("verdict", "threshold", "class", "p_value", "reason")] == [
        wanted[key] for key in ("verdict", "threshold", "class", "p_value", "reason")
    ]
    for key in ("score", "probability"):
        np.testing.assert_allclose(record[key], wanted[key], **CLOSE)
    for near, other in zip(record["nearest"], wanted["nearest"], strict=True):
        assert near["class"] == other["class"]
        np.testing.assert_allclose(near["cosine"], other["cosine"], **CLOSE)


def test_fifty_clients_at_once_get_the_verdicts_of_predict(service, samples, predicted, rows):
    start = threading.Barrier(50)

    def client(number):
        index = number % len(samples.images)
        content = image_file(samples.images[index])
        start.wait(20)
        if number % 5 == 0:
            found = service.form([("x.png", content), ("broken.png", content[:50])])
            assert [row["verdict"] == "error" for row in found.found["rows"]] == [False, True]
            return index, found.found["rows"][0]
        if number % 5 == 1:
            assert service.send(content[:50]).status == 422
            return index, service.features(rows[index]).found["rows"][0]
        return index, service.send(content).found

    before = service.judge.batches
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(client, range(50)))
    for index, record in answers:
        same(record, predicted[index])
    # 40 images; 10 clients sent features.
    assert service.judge.batches - before < 40


def test_images_are_decoded_within_the_limit_of_pixels(service, embedder, monkeypatch):
    decode, lock, held, most = embedder.decode, threading.Lock(), [0], [0]

    def counted(content, name):
        with lock:
            held[0] += 10_000
            most[0] = max(most[0], held[0])
        try:
            time.sleep(0.01)
            return decode(content, name)
        finally:
            with lock:
                held[0] -= 10_000

    monkeypatch.setattr(embedder, "decode", counted)
    content = image_file(np.zeros((100, 100, 3)))
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: service.send(content).status, range(20)))
    assert found == [200] * 20
    assert 0 < most[0] <= LIMITS.pixels


def test_rows_of_features_have_the_bits_of_the_detector(service, samples, rows):
    answer = service.features(rows, ids=list(range(100, 124)))
    wanted = samples.detector.predict(rows)
    assert [row["score"] for row in answer.found["rows"]] == wanted.scores.tolist()
    assert [row["id"] for row in answer.found["rows"]] == list(range(100, 124))
    assert {row["path"] for row in answer.found["rows"]} == {"body"}


def test_large_files_of_a_form_lie_on_disk(samples, embedder, predicted):
    content = image_file(samples.images[1]) + b"\0" * 1_500_000
    limits = Limits(body=4_000_000, images=2)
    with serving(samples.detector, embedder, limits=limits) as service:
        first, second = service.form([("x", content), ("y", content)]).found["rows"]
    same(first, predicted[1])
    assert second["score"] == pytest.approx(first["score"], rel=1e-5)


def test_the_detector_is_named(service, samples):
    found = service.get("/health").found
    assert found["status"] == "ready"
    assert found["detector"]["method"] == "energy"
    assert found["takes"] == ["images", "features"]
    assert found["device"] == "cpu"
    assert service.ask("HEAD", "/health").status == 200
    assert service.get("/").found["limits"]["images"] == LIMITS.images


def test_the_interface_is_described_without_another_host(service, samples):
    described = service.get("/openapi.json").found
    body = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/*"} <= body.keys()
    assert "http" not in json.dumps(described)
    (row, _) = described["paths"]["/predict"]["post"]["responses"]["200"]["content"][
        "application/json"
    ]["schema"]["oneOf"]
    found = service.send(image_file(samples.images[0])).found
    assert set(row["properties"]) <= found.keys()
    jsonschema.validate(found, row)


def test_requests_are_counted(samples, rows):
    with serving(samples.detector) as service:
        service.features(rows[:3])
        service.features(rows[:3, :2])
        lines = service.get("/metrics").text.splitlines()
        verdicts = [row for row in lines if row.startswith("ltood_rows_total{")]
    assert 'ltood_requests_total{status="200"} 1' in lines
    assert 'ltood_requests_total{status="422"} 1' in lines
    assert sum(int(row.rpartition(" ")[2]) for row in verdicts) == 3
    assert "ltood_requests_in_work 0" in lines


def test_without_a_network_images_are_refused(samples, rows):
    with serving(samples.detector) as service:
        assert service.send(image_file(samples.images[0])).status == 415
        assert service.features(rows).status == 200


def test_a_promise_decides(samples, rows):
    promised = samples.detector.promising(Promise(sets=0.3))
    with serving(promised) as service:
        found = service.features(rows[:2]).found["rows"]
    assert [row["set"] is not None and 0 < row["p_value"] <= 1 for row in found] == [True, True]


def test_a_token_is_asked_for(samples, rows):
    with serving(samples.detector, token="a-b-c-d-e") as service:
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic a-b-c-d-e"}):
            answer = service.features(rows) if not headers else service.send(b"", **headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert service.get("/metrics", **headers).status == 401
            assert service.get("/health", **headers).found == {"status": "ready"}
        fine = {"Authorization": "Bearer a-b-c-d-e"}
        assert service.send(json.dumps({"features": rows.tolist()}), "application/json", **fine)
        assert "detector" in service.get("/health", **fine).found


@pytest.fixture
def gate(embedder, monkeypatch):
    """Holds the network until it is set."""
    found, features = threading.Event(), embedder.features

    def wait(images):
        found.wait(20)
        return features(images)

    monkeypatch.setattr(embedder, "features", wait)
    found.set()
    return found


@contextlib.contextmanager
def in_work(service, content, number=1):
    """Requests that are being judged while the block runs; yields their answers to come."""
    with ThreadPoolExecutor(number) as pool:
        answers = [pool.submit(service.send, content) for _ in range(number)]
        until(lambda: f"ltood_requests_in_work {number}" in service.get("/metrics").text)
        yield answers


def until(holds):
    """Wait until something holds; the timeout of the tests ends it otherwise."""
    while not holds():
        time.sleep(0.005)


def test_a_full_service_says_when_to_ask_again(samples, embedder, gate):
    limits = Limits(requests=2, seconds=20)
    content = image_file(samples.images[0])
    with serving(samples.detector, embedder, limits=limits) as service:
        gate.clear()
        with in_work(service, content, 2) as answers:
            refused = service.send(content)
            gate.set()
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert [answer.result().status for answer in answers] == [200, 200]
        assert service.send(content).status == 200


def test_bodies_together_are_bounded(samples, embedder):
    limits = Limits(body=1000, seconds=20)
    content = image_file(samples.images[0])
    with (
        serving(samples.detector, embedder, limits=limits) as service,
        contextlib.ExitStack() as open_,
    ):
        for _ in range(8):  # As many as there is room for; each has announced a whole body.
            connection = open_.enter_context(contextlib.closing(service.connect()))
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Length", "1000")
            connection.endheaders()
        until(lambda: "ltood_requests_in_work 8" in service.get("/metrics").text)
        assert service.send(content).status == 503
        open_.close()
        until(lambda: service.send(content).status == 200)


def test_what_takes_too_long_is_given_up(samples, embedder, gate):
    content = image_file(samples.images[0])
    limits = Limits(seconds=0.2)
    with serving(samples.detector, embedder, limits=limits) as service:
        gate.clear()
        assert service.send(content).status == 503
        with contextlib.closing(service.connect()) as connection:
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Length", "100")
            connection.endheaders()
            assert answer_on(connection).status == 408
        gate.set()


def test_a_signal_ends_it_after_the_requests_in_work(samples, embedder, gate):
    """Twice at the same port: a service that has ended can be started again at once."""
    content, found, port = image_file(samples.images[0]), [], 0
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in kept:
            judge = Judge(samples.detector, embedder)
            server = make_server(make_app(judge, LIMITS), LIMITS)
            listening = bind("127.0.0.1", port)
            port = listening.getsockname()[1]
            listen(listening)
            client = Service(port, judge, server)

            def send(client=client, server=server, number=number):
                until(lambda: server.started)
                gate.clear()
                with in_work(client, content) as (answer,):
                    os.kill(os.getpid(), number)
                    until(lambda: server.should_exit)
                    gate.set()
                found.append(answer.result().status)

            thread = threading.Thread(target=send)
            thread.start()
            run(server, listening)
            thread.join()
            judge.close()
            assert not judge.is_ready
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert found == [200, 200]


def test_a_port_that_is_taken_is_named(service):
    with pytest.raises(ConfigError) as caught:
        bind("127.0.0.1", service.port)
    assert str(service.port) in str(caught.value)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no such host", 0), ("", -1)])
def test_addresses_that_cannot_be_had(host, port):
    with pytest.raises(ConfigError):
        bind(host, port)


@pytest.mark.parametrize("limit", ["body", "images", "rows", "pixels", "requests", "seconds"])
def test_limits_are_above_zero(limit):
    for value in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match=limit):
            Limits(**{limit: value})
