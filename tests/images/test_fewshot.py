import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, DataError
from ltood.images.fewshot import COLUMNS, few_shot_rows, listed_paths, report_shots, split_table

LABELS = np.array([0] * 9 + [1] * 3 + [-1] * 2 + [2] * 6)
PATHS = [f"class{label}/{row:02d}.jpg" for row, label in enumerate(LABELS)]
IDS = np.arange(len(LABELS)) + 100


def rows(**changes):
    return few_shot_rows(LABELS, PATHS, **{"shots": 4, "seed": 1, **changes})


def test_each_class_gives_its_shots_or_all_it_has():
    assert np.bincount(LABELS[rows()]).tolist() == [4, 3, 4]
    assert len(set(rows().tolist())) == 11


def test_the_seed_chooses_and_repeats():
    assert np.array_equal(rows(), rows())
    assert not np.array_equal(rows(), rows(seed=2))


def test_fewer_shots_are_a_subset():
    assert set(rows(shots=2).tolist()) <= set(rows(shots=4).tolist())


@given(st.permutations(range(len(LABELS))))
def test_the_order_of_a_listing_does_not_matter(order):
    order = np.array(order)
    shuffled = few_shot_rows(LABELS[order], [PATHS[row] for row in order], shots=3, seed=3)
    plain = few_shot_rows(LABELS, PATHS, shots=3, seed=3)
    assert [PATHS[order[row]] for row in shuffled] == [PATHS[row] for row in plain]


def test_another_class_changes_nothing():
    without = LABELS != 0
    alone = few_shot_rows(
        LABELS[without], [path for path, kept in zip(PATHS, without, strict=True) if kept],
        shots=4, seed=1,
    )  # fmt: skip
    names = [path for path, kept in zip(PATHS, without, strict=True) if kept]
    assert [names[row] for row in alone] == [PATHS[row] for row in rows() if LABELS[row] != 0]


@pytest.mark.parametrize("changes", [{"shots": 0}, {"seed": -1}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ConfigError, match=r"set it to [01] or more"):
        rows(**changes)


def test_tables_hold_every_selection_and_are_read_back():
    names = ("a", "b", "c")
    text = split_table(LABELS, PATHS, names, IDS, shots=(1, 4), seeds=(1, 2))
    table = list(csv.DictReader(io.StringIO(text)))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == 2 * (3 + 11)
    assert table[0]["class"] == "a"
    for seed in (1, 2):
        expected = [PATHS[row] for row in rows(seed=seed)]
        assert listed_paths(text, "x.csv", shots=4, seed=seed) == expected
    ids = {PATHS[row]: str(IDS[row]) for row in range(len(LABELS))}
    assert all(line["id"] == ids[line["path"]] for line in table)
    # All seeds together name every image once.
    union = listed_paths(text, "x.csv", shots=4, seed=None)
    assert len(union) == len(set(union))
    assert set(union) == {PATHS[row] for seed in (1, 2) for row in rows(seed=seed)}


def test_a_list_of_paths_only_is_taken_whole():
    assert listed_paths("path\na\nb\n", "x.csv", shots=None, seed=7) == ["a", "b"]


def test_lists_without_rows_are_refused():
    with pytest.raises(DataError, match=r"x\.csv has no column path"):
        listed_paths("a,b\n1,2\n", "x.csv", shots=1, seed=1)
    text = split_table(LABELS, PATHS, ("a", "b", "c"), IDS, shots=(1,), seeds=(1,))
    with pytest.raises(DataError, match="no row of the split train with seed 1, shots 16"):
        listed_paths(text, "x.csv", shots=16, seed=1)
    with pytest.raises(DataError, match="no row of the split train; correct"):
        listed_paths("split,path\nval,a\n", "x.csv", shots=None, seed=None)


def test_what_is_not_a_table_is_refused():
    with pytest.raises(
        DataError, match=r"x\.csv is not a CSV file \(field larger than .*; correct"
    ):
        listed_paths(f"path\n{'a' * 200_000}\n", "x.csv", shots=None, seed=None)


def test_no_rows_at_all():
    assert few_shot_rows(np.zeros(0, np.int64), [], shots=1, seed=1).tolist() == []


def test_classes_with_fewer_images_than_shots_are_reported(capsys):
    report_shots(LABELS[rows(shots=7)], 7, "datasets.x")
    told = capsys.readouterr().err
    assert "datasets.x: 2 of 3 classes have fewer than 7 images" in told
    assert "3 at least" in told
    report_shots(LABELS[rows(shots=3)], 3, "datasets.x")
    assert capsys.readouterr().err == ""
