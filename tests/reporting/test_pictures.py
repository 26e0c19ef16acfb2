"""Examples, training, confused classes and the making of results on the page."""

import html
import re

import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.evaluation.measures import Evaluation
from ltood.reporting.confusion import MOST_CLASSES, confusion_panel, counted
from ltood.reporting.content import Pieces, slots
from ltood.reporting.examples import examples_panel
from ltood.reporting.making import duration, making_panel
from ltood.reporting.training import read_history, training_panel
from ltood.reporting.write import write_report
from ltood.store.examples import Example, ExampleGroup, Examples, Neighbour, Picture
from tests.reporting.report_samples import NASTY, Elements, make_store

DOT = Picture(7, -1, f"ood/{NASTY}.jpg", b"RIFF", 32, 24)
RECORD = {
    "finished": "2026-02-03T04:05:06Z", "seconds": 75.2, "machine": "CPU, 2 cores",
    "git": {"commit": "0123456789abcdef", "changed": True}, "python": "3.13.1",
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation():
    """Scores of ten classes, one of them with a nasty name."""
    return Evaluation(make_store(names=[NASTY, *"bcdefghij"], sets=("near", "far")))


def examples_of(scores, picture=DOT):
    nearest = (Neighbour(Picture(3, 1, None, b"RIFX", 96, 96), 0.5),)
    missed = Example(picture, 1, 1.25, 0.875, nearest)
    alarm = Example(Picture(9, 0), 2, 7.5, 0.25)
    return Examples(
        scores,
        (
            ExampleGroup("missed", "near", 100, (missed,)),
            ExampleGroup("false_alarm", "few", 50, (alarm,)),
        ),
    )


def page_of(evaluation, tmp_path, **pieces):
    write_report(tmp_path / "r.html", evaluation, pieces=Pieces(**pieces))
    return (tmp_path / "r.html").read_text(encoding="utf-8")


def test_examples_stand_in_the_page(evaluation, tmp_path):
    page = page_of(evaluation, tmp_path, examples=examples_of(evaluation.fingerprint))
    elements = Elements(page)
    images = elements.all("img")
    assert [image["src"] for image in images] == [
        "data:image/webp;base64,UklGRg==", "data:image/webp;base64,UklGWA==",
    ]  # fmt: skip
    assert images[0]["alt"] == f"near, taken for b (ood/{NASTY}.jpg)"
    assert [image.get("class") for image in images] == ["small", None]
    assert NASTY not in page
    text = " ".join(" ".join(elements.texts).split())
    assert "score 1.25; 87.5 % of ID images look more OOD" in text
    assert "score 7.5; 25.0 % of OOD images look more ID" in text
    assert "c not <script>" in text  # The class itself, beside the one it is taken for.
    assert "; img-src data:" in page
    assert {"href": "#examples"} in elements.all("a")


def test_without_pictures_rows_are_named(evaluation, tmp_path):
    examples = examples_of(evaluation.fingerprint, Picture(7, -1))
    examples = Examples(examples.scores, tuple(
        ExampleGroup(group.kind, group.name, group.total, tuple(
            Example(one.picture, one.prediction, one.score, one.share) for one in group.examples
        )) for group in examples.groups
    ))  # fmt: skip
    page = page_of(evaluation, tmp_path, examples=examples)
    assert "<img" not in page
    assert "There are no pictures at hand" in page
    assert "image 7" in page


def test_examples_of_other_scores_are_refused(evaluation):
    with pytest.raises(DataError, match="scores 0a0a0a0a0a0a"):
        examples_panel(examples_of("0a" * 32), evaluation.fingerprint, ["a"])


def test_the_history_is_drawn(evaluation, tmp_path):
    text = (
        "epoch,learning_rate,cross_entropy,outliers,loss,val_accuracy,val_loss\n"
        "1,0.1,1.5,0.5,2.0,,\n2,0.1,1.0,0.25,1.25,0.75,0.9\n3,0.1,1.0,nan,inf,0.5,\n"
    )
    panel = training_panel(read_history(text))
    assert panel.lead == "3 epochs; validation accuracy 50.00 % at the end, 75.00 % at best."
    loss, accuracy = (one.svg for one in panel.panels)
    for name in ("all terms", "cross_entropy", "outliers", "validation, cross entropy"):
        assert f">{name}</text>" in loss
    assert "accuracy, %" in accuracy
    page = page_of(evaluation, tmp_path, history=read_history(text))
    assert {"id": "training"} in Elements(page).all("section")


def test_no_training_no_section(evaluation, tmp_path):
    assert training_panel(read_history("")) is None
    assert 'id="training"' not in page_of(evaluation, tmp_path)


@pytest.mark.parametrize("text", ["epoch,loss\n1\n", "epoch,loss\n1,x\n", "loss\n1\n"])
def test_a_damaged_history_is_refused(text):
    with pytest.raises(DataError, match="epochs"):
        read_history(text)


def test_the_matrix_counts_every_test_row(evaluation):
    panel = confusion_panel(evaluation)
    test = evaluation.test
    for true, row in enumerate(panel.rows):
        for taken, cell in enumerate(row):
            both = (test.labels == true) & (test.predictions == taken)
            assert cell.count == both.sum()
            assert cell.is_right == (true == taken)
            assert cell.percent == round(100 * both.sum() / (test.labels == true).sum())
    first = panel.pairs[0]
    worst = max(
        row[taken].count
        for true, row in enumerate(panel.rows)
        for taken in range(10)
        if taken != true
    )
    assert first.cells[1].text == str(worst)


def test_many_classes_are_grouped(tmp_path):
    evaluation = Evaluation(make_store(num_classes=MOST_CLASSES + 1, sets=("near",)))
    panel = confusion_panel(evaluation)
    assert (panel.by_group, panel.names) == (True, ["many", "medium", "few"])
    assert sum(cell.count for row in panel.rows for cell in row) == len(evaluation.test)
    assert "too many to show each" in page_of(evaluation, tmp_path)


def test_counted_by_hand():
    found = counted(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    assert found.tolist() == [[0, 2], [0, 1]]


def test_one_class_is_not_confused():
    assert confusion_panel(Evaluation(make_store(num_classes=1, sets=("near",)))) is None


def test_the_making_is_told(evaluation, tmp_path):
    other = {**RECORD, "finished": "2026-02-04T00:00:00Z", "machine": "Another", "seconds": 2.0}
    panel = making_panel({"train": RECORD, "extract": None, "score": other})
    assert panel.headline == (
        "Scored on 2026-02-04 from commit 0123456789 with uncommitted changes; 1 min 17 s of work."
    )
    assert panel.constant == ["Commit 0123456789 with uncommitted changes", "Python 3.13.1"]
    assert [[cell.text for cell in row.cells] for row in panel.rows] == [
        ["2026-02-03 04:05:06", "1 min 15 s", "CPU, 2 cores"],
        ["–", "–", "–"],  # noqa: RUF001
        ["2026-02-04 00:00:00", "2.0 s", "Another"],
    ]
    page = page_of(evaluation, tmp_path, records={"train": RECORD, "extract": None})
    assert "1 min 15 s" in page
    assert making_panel({"train": None}) is None
    bare = making_panel({"train": {**RECORD, "git": None}})
    assert "commit" not in bare.headline


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.6, "1 min 0 s"),
        (3725, "1 h 2 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_page_of_everything_is_small(evaluation, tmp_path):
    """As many pictures as there can be, each as large as copies are."""
    picture = Picture(1, 0, "x/" + "y" * 60, bytes(3000), 96, 96)
    one = Example(picture, 1, 0.5, 0.5, (Neighbour(picture, 0.5),) * 3)
    groups = tuple(ExampleGroup("missed", f"set{n}", 9, (one,) * 8) for n in range(15))
    page = page_of(evaluation, tmp_path, examples=Examples(evaluation.fingerprint, groups))
    assert len(re.findall("<img", page)) == 15 * 8 * 4
    assert len(page.encode()) < 3 * 2**20


def test_images_are_called_what_their_user_calls_them(evaluation, tmp_path):
    page = page_of(evaluation, tmp_path, images=NASTY)
    assert NASTY not in page
    assert f"on {NASTY}</h1>" in html.unescape(page)
    attributes = evaluation.scores.attributes
    found = {slot.kind: slot.title for slot in slots(attributes, "Mushrooms")}
    plain = {slot.kind: slot.title for slot in slots(attributes)}
    assert {kind for kind in plain if plain[kind] != found[kind]} == {"dataset"}
