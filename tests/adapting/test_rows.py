import itertools

import numpy as np
import pytest

from ltood.adapting.rows import TrainingRows, drawn, epoch_order, training_rows
from ltood.core.errors import DataError, MissingNeedError
from ltood.recipes.coop import Config
from ltood.store.layout import ArraySpec
from tests import prompt_samples

NAMES = ["a", "b", "c"]


@pytest.fixture
def store(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=13)
    return prompt_samples.write_store(tmp_path / "f.zarr", splits, NAMES)


def test_a_draw_has_so_many_rows_of_each_class_or_all(rng):
    labels, ids = np.repeat([0, 1, 2], [6, 2, 9]), rng.permutation(17)
    rows = drawn(labels, ids, 4, seed=1)
    assert np.bincount(labels[rows]).tolist() == [4, 2, 4]
    assert len(set(rows.tolist())) == 10


def test_a_draw_depends_on_ids_seed_and_nothing_else(rng):
    labels, ids = np.repeat([0, 1, 2], [6, 2, 9]), rng.permutation(17)
    chosen = set(ids[drawn(labels, ids, 4, seed=1)].tolist())
    order = rng.permutation(17)
    again = drawn(labels[order], ids[order], 4, seed=1)
    assert chosen == set(ids[order][again].tolist())
    assert chosen != set(ids[drawn(labels, ids, 4, seed=2)].tolist())


def test_fewer_shots_are_part_of_more(rng):
    labels, ids = np.repeat([0, 1], [30, 20]), rng.permutation(50)
    samples = [set(drawn(labels, ids, shots, seed=3).tolist()) for shots in (1, 2, 4, 8, 16)]
    assert all(few < many for few, many in itertools.pairwise(samples))


def test_an_epoch_visits_every_row_once_in_its_own_order():
    first, views = epoch_order(0, 0, 50, 3)
    assert sorted(first.tolist()) == list(range(50))
    assert set(views.tolist()) == {0, 1, 2}
    again, other = epoch_order(0, 0, 50, 3), epoch_order(0, 1, 50, 3)
    assert np.array_equal(first, again[0])
    assert np.array_equal(views, again[1])
    assert not np.array_equal(first, other[0])
    assert not np.array_equal(views, other[1])
    assert not np.array_equal(first, epoch_order(-1, 0, 50, 3)[0])


def test_without_a_choice_all_rows_are_taken(store):
    rows = training_rows(store, Config(), 0, local=True)
    assert len(rows) == 13
    assert rows.num_views == 1
    whole = store.split("train").load(["features", "local", "labels", "ids"])
    np.testing.assert_array_equal(rows.labels, whole["labels"])
    np.testing.assert_array_equal(rows.ids, whole["ids"])
    chosen = np.array([12, 0, 5])
    for name in ("features", "local"):
        found = rows.read(name, chosen, np.zeros(3, dtype=np.int64))
        np.testing.assert_array_equal(found, whole[name][chosen])
        assert found.dtype == np.float32


def test_shots_are_drawn_and_listed_rows_are_taken(store, tmp_path):
    rows = training_rows(store, Config(shots=2), 1, local=False)
    assert np.bincount(rows.labels).tolist() == [2, 2, 2]
    file = tmp_path / "rows.csv"
    file.write_text("seed,id,path\n1,104,x\n1,101,y\n2,102,z\n1,101,y\n", encoding="utf-8")
    found = training_rows(store, Config(rows=str(file)), 1, local=False)
    assert found.ids.tolist() == [101, 104]
    assert found.labels.tolist() == [1, 1]
    file.write_text("id\n103\n", encoding="utf-8")
    assert training_rows(store, Config(rows=str(file)), 1, local=False).rows.tolist() == [3]
    # A spreadsheet's mark at the start would else hide the first column, here the seed.
    file.write_text("seed,id\n1,104\n2,102\n", encoding="utf-8-sig")
    found = training_rows(store, Config(rows=str(file)), 1, local=False)
    assert found.ids.tolist() == [104]


def test_a_list_of_several_shots_is_asked_for_one_of_them(store, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("seed,shots,id\n1,1,104\n1,2,104\n1,2,101\n2,1,102\n", encoding="utf-8")
    for shots, expected in ((1, [104]), (2, [101, 104])):
        config = Config(rows=str(file), shots=shots)
        assert training_rows(store, config, 1, local=False).ids.tolist() == expected
    assert training_rows(store, Config(rows=str(file)), 2, local=False).ids.tolist() == [102]
    for shots, said in (
        (None, r"rows\.csv lists rows for 1, 2 shots; set recipes\.coop\.shots to one"),
        (4, r"rows\.csv lists no row for seed 1 and 4 shots"),
    ):
        with pytest.raises(DataError, match=said):
            training_rows(store, Config(rows=str(file), shots=shots), 1, local=False)
    file.write_text("id\n104\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"KeyError: 'shots'\); give .* the column id and shots"):
        training_rows(store, Config(rows=str(file), shots=1), 1, local=False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id\n7\n", r"rows\.csv lists id 7, which no training row of the store has"),
        (
            "id,label\n101,1\n104,0\n",
            r"gives id 104 the label 0 \(\w+\) but the store gives it 1 \(\w+\)",
        ),
        ("id,label\n101,\n", r"rows\.csv cannot be read \(ValueError"),
        ("seed,id\n2,101\n", r"rows\.csv lists no row for seed 1"),
        ("number\n101\n", r"recipes\.coop\.rows .*rows\.csv cannot be read \(KeyError"),
        ("id\nx\n", r"rows\.csv cannot be read \(ValueError"),
        (None, r"rows\.csv cannot be read \(FileNotFoundError"),
    ],
)
def test_bad_lists_are_refused(store, tmp_path, text, sentence):
    file = tmp_path / "rows.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        training_rows(store, Config(rows=str(file)), 1, local=False)


def test_what_a_store_lacks_is_named(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3)
    only = prompt_samples.write_store(tmp_path / "t.zarr", {"test": splits["test"]}, NAMES)
    with pytest.raises(MissingNeedError, match="has no split train or train_views"):
        training_rows(only, Config(), 0, local=False)
    labels, features, _ = splits["train"]
    bare = {"train": (labels, features, None)}
    plain = prompt_samples.write_store(tmp_path / "p.zarr", bare, NAMES)
    assert len(training_rows(plain, Config(), 0, local=False)) == 24
    with pytest.raises(MissingNeedError, match=r"split train of .* has no local features"):
        training_rows(plain, Config(), 0, local=True)


class Views:
    """A split of several views, in memory."""

    def __init__(self, **arrays):
        self.name, self.held = "train_views", arrays
        self.arrays = sorted(arrays)

    def __len__(self):
        return len(self.held["features"])

    def array_spec(self, name):
        return ArraySpec(str(self.held[name].dtype), self.held[name].shape[1:])

    def read(self, name, start, stop):
        return self.held[name][start:stop]

    def load(self, names):
        return {name: self.held[name] for name in names}


class WithViews:
    """A store of which one split is replaced by views."""

    def __init__(self, store, views):
        self.path, self._store, self._views = store.path, store, views
        self.splits = [*store.splits, views.name]
        self.class_names = store.class_names

    def split(self, name):
        return self._views if name == self._views.name else self._store.split(name)


def test_the_drawn_view_of_each_row_is_read(rng):
    features = rng.normal(size=(6, 3, 4)).astype(np.float16)
    local = rng.normal(size=(6, 3, 2, 4)).astype(np.float16)
    views = Views(features=features, local=local)
    numbers = np.array([5, 1, 2])
    rows = TrainingRows(views, numbers, np.zeros(3, np.int64), numbers, 3)
    chosen, drawn_views = np.array([2, 0, 1, 0]), np.array([0, 2, 1, 1])
    for name, held in (("features", features), ("local", local)):
        found = rows.read(name, chosen, drawn_views)
        np.testing.assert_array_equal(found, held[[2, 5, 1, 5], drawn_views])
        assert found.dtype == np.float32


@pytest.mark.parametrize("labelled", [True, False])
def test_views_come_before_plain_rows_and_share_their_labels(store, rng, labelled):
    plain = store.split("train").load(["labels", "ids"])
    arrays = {"features": rng.normal(size=(13, 5, 32)).astype(np.float32)}
    views = Views(**arrays, **(plain if labelled else {}))
    rows = training_rows(WithViews(store, views), Config(shots=2), 0, local=False)
    assert (rows.split, rows.num_views) == (views, 5)
    np.testing.assert_array_equal(rows.labels, plain["labels"][rows.rows])
    np.testing.assert_array_equal(rows.ids, plain["ids"][rows.rows])


def test_views_of_other_images_are_refused(store, rng):
    views = Views(features=rng.normal(size=(12, 2, 32)))
    with pytest.raises(DataError, match="has 12 rows and no labels but train has 13"):
        training_rows(WithViews(store, views), Config(), 0, local=False)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_a_name_are_refused(store, label):
    ids, labels = np.arange(4), np.array([0, 1, label, 2])
    views = Views(features=np.ones((4, 2, 32)), ids=ids, labels=labels)
    sentence = f"row 2 of split train_views has label {label}, but there are 3 class names"
    with pytest.raises(DataError, match=sentence):
        training_rows(WithViews(store, views), Config(), 0, local=False)
