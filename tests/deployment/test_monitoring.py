"""Drift of new inputs beside held-out rows: what is said, and how often it is wrong."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.deployment.calibration import CalibrationRows
from ltood.deployment.monitoring import Monitor, refuse_joint
from ltood.deployment.output import write_file
from ltood.deployment.predicting import predict_files
from ltood.deployment.promises import Promise
from ltood.deployment.references import Reference, held_out, read_reference
from ltood.deployment.verdicts import COLUMNS
from ltood.ops.drift import Cells


def compared(detector, scores, **options):
    monitor = Monitor(detector, held_out(detector), **options)
    for score in scores:
        monitor.add("OOD" if score > detector.threshold else "ID", score)
    return monitor.found()


def test_share_and_scores_are_those_of_the_rows(detector, rows):
    scores = detector.score(rows).tolist() + [9.0] * 5
    found = compared(detector, scores)
    known = detector.calibration.scores.tolist()
    assert found.num_ood == sum(score > detector.threshold for score in scores)
    assert found.share == found.num_ood / len(scores)
    assert found.promised == 0.1
    assert found.p_scores == pytest.approx(stats.ks_2samp(known, scores).pvalue)
    assert found.p_value == pytest.approx(min(1, 2 * min(found.p_share, found.p_scores)))
    wanted = stats.binomtest(found.num_ood, len(scores)).proportion_ci(0.95, "exact")
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    record = found.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["ood"]["share"] == found.share
    assert record["stream"] is None


def test_drift_is_seen_and_its_direction(detector):
    known = detector.calibration.scores.numpy()
    assert not compared(detector, known.tolist()).is_drift
    higher, lower = compared(detector, known + 5), compared(detector, known - 5)
    assert higher.is_drift
    assert lower.is_drift
    assert higher.gap > 0.9
    assert lower.gap < -0.9
    assert lower.p_share == 1.0


def test_false_alarms_are_as_rare_as_promised(detector):
    """Held-out and new rows alike, the threshold set on the former: 300 times."""
    rng, level, alarms, shares = np.random.default_rng(0), 0.2, 0, 0
    for _ in range(300):
        known, new = rng.normal(size=40), rng.normal(size=25)
        threshold = float(np.sort(known)[35])
        own = dataclasses.replace(detector, threshold=threshold)
        monitor = Monitor(own, Reference(known, "rows"), level=level)
        for score in new:
            monitor.add("OOD" if score > threshold else "ID", float(score))
        found = monitor.found()
        alarms += found.is_drift
        shares += found.p_share <= level
    for number in (alarms, shares):
        assert stats.binomtest(number, 300, level, alternative="greater").pvalue > 0.01
        assert number > 0


def with_mix(known, new, **options):
    """A comparison of rows of two classes, all of which have other scores."""
    scores = np.arange(len(known), dtype=float) / 100
    monitor = Monitor(options.pop("detector"), Reference(scores, "rows", tuple(known)), **options)
    for number, name in enumerate(new):
        monitor.add("ID", number / 100, name)
    return monitor.found()


def test_another_class_mix_is_told_from_other_scores(detector):
    own = dataclasses.replace(detector, threshold=0.79)
    usual, other = with_mix("ab" * 50, "ab" * 30, detector=own), None
    assert usual.classes.p_value > 0.5
    assert (usual.classes.rows, usual.classes.reference_rows) == (60, 79)  # below the threshold
    other = with_mix("ab" * 50, "aab" + "a" * 57, detector=own)
    assert other.p_scores == usual.p_scores  # The alarm does not ask it.
    assert other.p_value == usual.p_value
    assert other.classes.p_value <= other.level
    assert other.classes.class_name in "ab"
    assert "class mix differs" in other.line()
    record = other.record()
    assert json.loads(json.dumps(record)) == record
    assert record["classes"]["largest"]["class"] == other.classes.class_name


def test_class_mixes_differ_as_rarely_as_promised(detector):
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        scores, labels = np.sort(rng.normal(size=40)), rng.integers(0, 3, 40)
        own = dataclasses.replace(detector, threshold=float(scores[35]))
        monitor = Monitor(own, Reference(scores, "rows", tuple("abc"[i] for i in labels)))
        for score, label in zip(rng.normal(size=25), rng.integers(0, 3, 25), strict=True):
            monitor.add("ID" if score <= own.threshold else "OOD", float(score), "abc"[label])
        alarms += monitor.found().classes.p_value <= 0.1
    assert stats.binomtest(alarms, 200, 0.1, alternative="greater").pvalue > 0.01
    assert alarms > 0


@pytest.mark.parametrize("names", [["a", None], ["a", "b"]])
def test_without_classes_and_in_a_stream_nothing_is_said_of_them(detector, names):
    found = with_mix("ab", names, detector=detector, is_stream=None not in names)
    assert found.classes is None
    assert "class mix" not in found.line()
    assert found.record()["classes"] is None


def test_rows_that_were_not_judged_are_counted_apart(detector):
    monitor = Monitor(detector, held_out(detector))
    monitor.add("error", None)
    found = monitor.found()
    assert (found.rows, found.not_judged, found.share, found.p_value) == (0, 1, None, 1.0)
    assert "no row" in found.line()
    assert found.record()["ood"]["interval"] == [0, 1]


def test_memory_does_not_grow_with_rows(detector):
    monitor = Monitor(detector, held_out(detector), is_stream=True)
    for number in range(3000):
        monitor.add("ID", float(number % 7))
    assert len(monitor._waiting) < 1024
    assert monitor._cells.rows + len(monitor._waiting) == 3000
    assert isinstance(monitor._cells, Cells)


def test_a_stream_rings_once(detector):
    monitor = Monitor(detector, held_out(detector), is_stream=True)
    rung = []
    for number in range(200):
        monitor.add("OOD", 50.0)
        if monitor.rings():
            rung.append(number)
    assert len(rung) == 1
    found = monitor.found()
    assert found.p_value == found.p_stream <= 0.01
    assert found.is_drift
    assert found.alarm_row is not None
    batch = compared(detector, [50.0] * 200)
    assert batch.p_stream is None


def test_promises_say_what_was_promised(detector):
    for promise, promised in ((Promise(fpr=0.2), 0.2), (Promise(sets=0.6), None)):
        deciding = detector.promising(promise)
        found = compared(deciding, [0.0])
        assert found.promised == promised
        assert (found.p_share is None) == (promised is None)
    other = dataclasses.replace(detector, threshold=0.5)
    assert compared(other, [1.0]).promised is None
    with pytest.raises(ConfigError, match="fdr"):
        refuse_joint(detector.promising(Promise(fdr=0.3)))
    with pytest.raises(ConfigError, match="drift level"):
        Monitor(detector, held_out(detector), level=1.0)


def test_a_detector_without_held_out_rows_names_the_way(detector):
    with pytest.raises(MissingNeedError, match="--reference-from"):
        held_out(dataclasses.replace(detector, calibration=None))
    empty = CalibrationRows(*(column[:0] for column in detector.calibration.tensors().values()))
    with pytest.raises(MissingNeedError, match="--reference-from"):
        held_out(dataclasses.replace(detector, calibration=empty))


def test_references_of_files(detector, folder, rows, tmp_path):
    bad = np.concatenate([rows, np.full((1, rows.shape[1]), np.nan)])
    np.savez(tmp_path / "new.npz", features=bad)
    wanted = detector.score(rows).tolist()
    for ending in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"rows.{ending}"
        write_file(path, predict_files(detector, [tmp_path / "new.npz"]), ending, COLUMNS)
        found = read_reference(path, detector)
        assert found.scores.tolist() == wanted
        assert str(path) in found.source
    assert read_reference(folder / "test.npz", detector).scores.tolist() == wanted
    np.savez(tmp_path / "scores.npz", scores=np.array([1, 2]))
    assert read_reference(tmp_path / "scores.npz", detector).scores.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "path,verdict\nx,ID\n"),
        ("a.csv", "path,score\nx,high\n"),
        ("a.csv", "path,score\n"),
        ("a.csv", "path,score\nx,nan\n"),
        ("a.jsonl", "{}\n"),
        ("a.jsonl", "[1]\n"),
        ("a.jsonl", "no json"),
        ("a.parquet", "PAR1"),
        ("a.npz", "no archive"),
        ("a.txt", "1\n2\n"),
        ("gone.csv", None),
        ("gone.npz", None),
    ],
)
def test_references_that_are_none(name, content, detector, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        read_reference(tmp_path / name, detector)


def test_archives_without_scores(detector, tmp_path):
    for arrays in ({"other": np.ones(2)}, {"scores": np.ones((2, 2))}):
        np.savez(tmp_path / "odd.npz", **arrays)
        with pytest.raises(DataError, match=r"odd\.npz"):
            read_reference(tmp_path / "odd.npz", detector)
