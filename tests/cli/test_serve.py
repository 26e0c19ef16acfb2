import os
import signal
import socket
import threading
import time
import urllib.request

import pytest

from tests.deployment.detector_samples import make_image_samples


@pytest.fixture(scope="module")
def detector(store, tmp_path_factory):
    from ltood.core.building import EntrySpec
    from ltood.deployment.exporting import fit_detector
    from ltood.deployment.files import save_detector
    from ltood.store.features import FeatureStore

    path = tmp_path_factory.mktemp("detector") / "d.safetensors"
    save_detector(path, fit_detector(FeatureStore.open(store), EntrySpec("energy"), device="cpu"))
    return path


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def handlers():
    """The handlers of signals stay what they were."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_it_answers_until_it_is_stopped(ltood, tmp_path, port):
    from ltood.deployment.files import save_detector

    images = make_image_samples(tmp_path)
    save_detector(tmp_path / "d.safetensors", images.detector)
    answers = []

    def client():
        while not answers:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    answers.append(answer.read())
            except OSError:
                time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=client)
    thread.start()
    run = ltood(
        *("serve", tmp_path / "d.json", "--checkpoint", images.checkpoint, "--device", "cpu"),
        *("--port", port, "--fpr", 0.1),
    )
    thread.join()
    assert b'"images","features"' in answers[0]
    assert f"http://127.0.0.1:{port}/predict" in run.stderr
    assert "calibration rows" in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--port", 70000), "--port"),
        (("--host", "no such host"), "--host"),
        (("--max-images", 0), "images"),
        (("--timeout", "nan"), "seconds"),
        (("--batch-size", 0), "batch size"),
        (("--wait-ms", 5000), "waits"),
        (("--threshold", "nan"), "--threshold"),
        (("--fpr", 0.1, "--threshold", 1), "--threshold"),
        (("--confidence", 0.9), "fpr"),
        (("--token-file", "gone"), "gone"),
    ],
)
def test_settings_are_refused_before_it_listens(ltood, detector, port, options, key):
    run = ltood("serve", detector, "--port", port, *options, code=1)
    assert key in run.stderr
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("token", ["short", "with blanks in it", "ünïcödé-token"])
def test_tokens_are_long_and_plain(ltood, detector, token, monkeypatch):
    monkeypatch.setenv("LTOOD_TOKEN", token)
    said = ltood("serve", detector, "--port", 0, code=1).stderr
    assert "LTOOD_TOKEN" in said
    assert token not in said


def test_a_port_that_is_taken_is_named(ltood, detector):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert str(number) in ltood("serve", detector, "--port", number, code=1).stderr
