import dataclasses
import threading

import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError, DataError
from ltood.serving.judge import Judge


@pytest.fixture
def held(embedder, monkeypatch):
    """Lets nothing through the network until it is set, and keeps the sizes of batches."""
    gate, features = threading.Event(), embedder.features
    gate.sizes = []

    def wait(images):
        gate.wait(20)
        gate.sizes.append(len(images))
        return features(images)

    gate.set()
    monkeypatch.setattr(embedder, "features", wait)
    return gate


@pytest.fixture
def judge(samples, embedder, held):
    found = Judge(samples.detector, embedder, batch_size=4, wait=0)
    held.sizes.clear()
    yield found
    held.set()
    found.close()


def test_what_waits_goes_through_together_in_its_order(judge, samples, held):
    held.clear()
    answers = [judge.image(str(n), image) for n, image in enumerate(samples.images[:10])]
    held.set()
    found = [answer.result(20) for answer in answers]
    assert [row.path for row in found] == [str(n) for n in range(10)]
    # The first may have gone before the others came.
    assert sum(held.sizes) == 10
    assert max(held.sizes) == 4
    wanted = samples.detector.score(
        np.load(samples.folder.parent / "arrays" / "val.npz")["features"]
    )
    np.testing.assert_allclose([row.score for row in found], wanted[:10], rtol=1e-4, atol=1e-5)


def test_a_batch_waits_for_further_images(samples, embedder, held):
    judge = Judge(samples.detector, embedder, batch_size=2, wait=1)
    held.sizes.clear()
    try:
        answers = [judge.image("x", samples.images[0]), judge.image("y", samples.images[1])]
        assert [answer.result(20).path for answer in answers] == ["x", "y"]
    finally:
        judge.close()
    assert held.sizes == [2]


def test_single_images_have_the_same_bits_whatever_else_is_asked(samples, embedder):
    judge = Judge(samples.detector, embedder, batch_size=1)
    try:
        alone = judge.image("x", samples.images[3]).result(20)
        answers = [judge.image("x", image) for image in samples.images]
        assert answers[3].result(20) == alone
    finally:
        judge.close()


def test_rows_are_judged_as_the_detector_judges_them(judge, samples, rows, held):
    held.clear()
    first = judge.image("x", samples.images[0])
    answer = judge.rows("body", rows, None, np.arange(len(rows)) + 5)
    last = judge.image("y", samples.images[1])
    held.set()
    found = answer.result(20)
    wanted = samples.detector.predict(rows)
    assert [row.score for row in found] == wanted.scores.tolist()
    assert [row.verdict == "OOD" for row in found] == wanted.is_ood.tolist()
    assert [row.id for row in found] == list(range(5, len(rows) + 5))
    assert (first.result(20).path, last.result(20).path) == ("x", "y")


def test_an_image_that_fails_spoils_no_other(judge, samples, embedder, held, monkeypatch):
    features = embedder.features

    def fail_on_zeros(images):
        if not images.reshape(len(images), -1).any(axis=1).all():
            raise RuntimeError("zeros")
        return features(images)

    monkeypatch.setattr(embedder, "features", fail_on_zeros)
    held.clear()
    images = [samples.images[0], np.zeros_like(samples.images[0]), samples.images[1]]
    answers = [judge.image(str(n), image) for n, image in enumerate(images)]
    held.set()
    assert [answers[n].result(20).path for n in (0, 2)] == ["0", "2"]
    assert isinstance(answers[1].exception(20), RuntimeError)
    judge.image("zeros", images[1]).exception(20)
    assert (judge.is_ready, judge.failed) == (False, "RuntimeError")
    judge.image("fine", images[0]).result(20)
    assert judge.is_ready


def test_who_no_longer_waits_is_left_out(judge, samples, held):
    held.clear()
    judge.image("busy", samples.images[0])
    given_up = judge.image("x", samples.images[1])
    assert given_up.cancel()
    wanted = judge.image("y", samples.images[2])
    held.set()
    assert wanted.result(20).path == "y"
    assert sum(held.sizes) == 2


def test_closing_judges_what_waits(samples, embedder):
    judge = Judge(samples.detector, embedder)
    answers = [judge.image("x", image) for image in samples.images]
    judge.close()
    assert all(answer.result(0).path == "x" for answer in answers)
    assert not judge.is_ready


def test_what_has_no_score_says_so(samples, embedder, rows):
    judge = Judge(samples.detector, embedder)
    try:
        huge = 3e38 * np.sign(samples.detector.head.weight[:2].numpy())
        rows = np.concatenate([huge[:1], rows[:1]])
        first, second = judge.rows("body", rows, None, np.arange(2)).result(20)
        assert (first.verdict, first.reason is None) == ("error", False)
        assert (second.verdict in {"ID", "OOD"}, second.reason) == (True, None)
        assert judge.is_ready
    finally:
        judge.close()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"wait": -1}, {"wait": float("nan")}])
def test_settings_out_of_range(samples, embedder, options):
    with pytest.raises(ConfigError):
        Judge(samples.detector, embedder, **options)


def test_a_network_that_does_not_go_with_the_detector_is_met_at_the_start(samples, embedder):
    head = samples.detector.head
    narrow = dataclasses.replace(head, weight=head.weight[:, :5])
    other = dataclasses.replace(
        samples.detector, head=narrow, class_means=torch.zeros(len(narrow.weight), 5)
    )
    with pytest.raises(DataError):
        Judge(other, embedder)
