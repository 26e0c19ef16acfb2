"""Examples of errors: which rows, which neighbours, which pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from ltood.core.building import EntrySpec, build_calibrator
from ltood.core.errors import CorruptStoreError, DataError
from ltood.evaluation.measures import Evaluation
from ltood.preparing.prepare import prepare
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, calibrate
from ltood.showing.choosing import clearest_errors
from ltood.showing.nearest import nearest_rows
from ltood.showing.pictures import LONGEST, ListedPictures, PreparedPictures, small_copy
from ltood.showing.sessions import scored_session
from ltood.showing.sheet import NEAREST, example_sheet
from ltood.store.examples import read_examples, write_examples
from tests.comparing.compare_samples import make_store as make_features
from tests.image_samples import TinyImages
from tests.reporting.report_samples import make_store


@pytest.fixture(scope="module")
def evaluation():
    """Scores of four OOD sets, the second of which has relabelled rows."""
    return Evaluation(make_store())


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A feature store with auxiliary rows."""
    return make_features(tmp_path_factory.mktemp("features"))


def test_the_clearest_errors_are_the_extreme_scores(evaluation):
    chosen = {(group.kind, group.name): group for group in clearest_errors(evaluation)}
    sets = ("even", "far", "near", "odd")
    assert {name for kind, name in chosen if kind == "missed"} == set(sets)
    test = evaluation.test
    for name in sets:
        group = chosen["missed", name]
        split = evaluation.scores.split(f"ood_{name}")
        rows = [row for row in range(len(split)) if split.labels[row] < 0]
        expected = sorted(rows, key=lambda row: float(split.scores[row]))[:8]
        assert group.rows.tolist() == expected
        assert group.total == len(rows)
        for row, share in zip(group.rows, group.shares, strict=True):
            assert share == np.mean(test.scores > split.scores[row])
    outliers = [evaluation.scores.split(f"ood_{name}") for name in sets]
    pool = np.concatenate([split.scores[split.labels < 0] for split in outliers])
    groups = evaluation.prior.groups()[test.labels]
    for name in ("many", "medium", "few"):
        group = chosen["false_alarm", name]
        rows = sorted(np.flatnonzero(groups == name), key=lambda row: -float(test.scores[row]))
        assert group.rows.tolist() == rows[:8]
        for row, share in zip(group.rows, group.shares, strict=True):
            assert share == np.mean(pool < test.scores[row])


def test_many_sets_show_fewer_each(evaluation):
    sets = tuple(f"set{number}" for number in range(57))
    found = list(clearest_errors(Evaluation(make_store(sets=sets))))
    assert {len(group.rows) for group in found} == {2}


def slow_nearest(session, split, row, k):
    """Nearest training rows by cosine, one by one."""
    (query,) = [
        batch.features[row].double() for batch in session.source(split).batches(10**6, ["features"])
    ]
    (train,) = session.source("train").batches(10**6, ["features", "labels", "ids"])
    cosines = [
        float(query @ other / query.norm() / other.norm()) for other in train.features.double()
    ]
    best = sorted(range(len(cosines)), key=lambda place: -cosines[place])[:k]
    return [(int(train.ids[p]), int(train.labels[p]), cosines[p]) for p in best]


@pytest.mark.parametrize("name", ["none", "patt"])
def test_neighbours_are_those_of_all_pairs(features, name):
    session = ScoringSession.open(features, "cpu")
    session, _ = calibrate(session, build_calibrator(EntrySpec(name, {})))
    assert (session.calibrator is None) == (name == "none")
    wanted = {"ood_far": np.array([24, 0, 7]), "test": np.array([3])}
    found = nearest_rows(session, wanted, NEAREST)
    for split, rows in wanted.items():
        for place, row in enumerate(rows.tolist()):
            expected = slow_nearest(session, split, row, NEAREST)
            got = found[split]
            assert list(zip(got.ids[place], got.labels[place], strict=True)) == [
                (number, label) for number, label, _ in expected
            ]
            np.testing.assert_allclose(
                got.similarities[place], [cosine for *_, cosine in expected], atol=1e-5
            )


def test_batches_decide_nothing(features):
    class Small(ScoringSession):
        def source(self, split):
            whole = ScoringSession.source(self, split)

            class Few:
                dim = whole.dim

                def __len__(self):
                    return len(whole)

                def batches(self, rows=5, arrays=()):
                    return whole.batches(5, arrays)

            return Few()

    plain = ScoringSession.open(features, "cpu")
    small = Small.open(features, "cpu")
    wanted = {"test": np.array([29, 0, 11])}
    one, other = (nearest_rows(session, wanted, 100)["test"] for session in (plain, small))
    assert one.ids.shape == (3, 80)  # There are no more training rows.
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.similarities, other.similarities, atol=1e-6)


def test_a_sheet_without_features_and_pictures_names_rows(evaluation, tmp_path):
    sheet = example_sheet(evaluation)
    example = sheet.groups[0].examples[0]
    assert example.picture.thumbnail is None
    assert example.nearest == ()
    write_examples(tmp_path / "examples", sheet)
    assert read_examples(tmp_path / "examples") == sheet


def test_pictures_are_those_of_the_ids(tmp_path):
    prepare(TinyImages(), "tiny", {}, tmp_path / "prepared")
    pictures = PreparedPictures(tmp_path / "prepared")
    original = TinyImages().split("train")
    number = int(original.ids[5])
    found = pictures.of("train", -1, number, 0)
    assert (found.id, found.width, found.height, found.path) == (number, 8, 8, None)
    shown = np.asarray(Image.open(io.BytesIO(found.thumbnail)).convert("L"))
    np.testing.assert_array_equal(shown, original.images[5, :, :, 0])
    with pytest.raises(DataError, match="id 10000000"):
        pictures.of("train", -1, 10_000_000, 0)


@pytest.mark.parametrize("size", [(640, 480), (30, 500), (48, 48), (1, 1)])
def test_copies_are_small(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    content, shape = small_copy(Image.fromarray(pixels))
    assert Image.open(io.BytesIO(content)).size == shape
    assert max(shape) <= LONGEST
    if max(size) <= 48:
        assert shape == size
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    assert len(content) < 12_000


def test_listed_paths_go_with_test_rows_only(tmp_path):
    (tmp_path / "test.txt").write_text("a b.jpg\nÄ.png\n", encoding="utf-8")
    pictures = ListedPictures(tmp_path)
    assert pictures.of("test", 1, 77, 3).path.endswith("Ä.png")
    assert pictures.of("train", -1, 77, 3).path is None


def test_nothing_to_show_is_noted(tmp_path):
    write_examples(tmp_path / "examples", "no OOD set")
    assert read_examples(tmp_path / "examples") is None


def test_changed_examples_are_refused(evaluation, tmp_path):
    write_examples(tmp_path / "examples", example_sheet(evaluation))
    path = tmp_path / "examples" / "examples.json"
    path.write_text(path.read_text().replace("missed", "missing", 1))
    with pytest.raises(CorruptStoreError, match="examples"):
        read_examples(tmp_path / "examples")


def test_features_are_seen_as_they_were_scored(features, tmp_path):
    specs = (EntrySpec("energy", {}), EntrySpec("patt", {}))
    scores = score_store(features, tmp_path / "scores.zarr", *specs, device="cpu")
    session = scored_session(features, scores.attributes, "cpu")
    assert session.calibrator is not None
    sheet = example_sheet(Evaluation(scores), session)
    assert {len(one.nearest) for group in sheet.groups for one in group.examples} == {NEAREST}
    other = {**scores.attributes, "features_fingerprint": "0a" * 32}
    with pytest.raises(DataError, match="made from 0a0a0a0a0a0a"):
        scored_session(features, other, "cpu")
