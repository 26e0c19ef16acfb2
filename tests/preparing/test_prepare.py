import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ltood.core.errors import CorruptStoreError, DataError, StoreError
from ltood.images.arrays import ImageSplit
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare
from ltood.preparing.summary import Summary

ROOT = Path(__file__).resolve().parents[2]


class Toy:
    """Two classes and one OOD set; a test changes what it is about."""

    class_names = ("cat", "dog")

    def __init__(self):
        rng = np.random.default_rng(0)
        self.content = {
            name: [
                rng.integers(0, 256, (rows, 4, 4, 3)).astype(np.uint8),
                np.full(rows, -1) if name.startswith("ood") else np.arange(rows) % 2,
                np.arange(rows) * 3,
            ]
            for name, rows in (("train", 6), ("test", 5), ("ood_far", 4))
        }

    def splits(self):
        return tuple(self.content)

    def split(self, name):
        return ImageSplit(*self.content[name])


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "work" / "prepared"


def run(dataset, out):
    prepare(dataset, "toy", {"ratio": 0.5}, out)
    return open_prepared(out)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_was_prepared_is_read_back(toy, out):
    prepared = run(toy, out)
    assert prepared.splits() == ("train", "test", "ood_far")
    assert prepared.class_names == ("cat", "dog")
    assert prepared.class_counts.tolist() == [3, 3]
    for name, arrays in toy.content.items():
        split = prepared.split(name)
        for found, expected in zip((split.images, split.labels, split.ids), arrays, strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_the_manifest_says_what_is_there(toy, out):
    manifest = run(toy, out).manifest
    images, labels, ids = toy.content["test"]
    assert manifest == json.loads((out / "manifest.json").read_text())
    assert manifest["dataset"] == "toy"
    assert manifest["settings"] == {"ratio": 0.5}
    assert manifest["class_names"] == ["cat", "dog"]
    assert manifest["class_counts"] == [3, 3]
    found = dict(manifest["splits"]["test"])
    assert len(found.pop("content")) == 64
    assert found == {
        "rows": 5,
        "shape": [4, 4, 3],
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
        "ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
    }


def test_arrays_are_mapped_and_read_only(toy, out):
    split = run(toy, out).split("train")
    for values in (split.images, split.labels, split.ids):
        assert isinstance(values.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


def test_two_runs_give_the_same_bytes(toy, tmp_path):
    run(toy, tmp_path / "one")
    # Fortran order in memory must not show on disk.
    toy.content["train"][0] = np.asfortranarray(toy.content["train"][0])
    prepare(toy, "toy", {"ratio": 0.5}, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 12


def test_an_older_folder_is_replaced_and_nothing_is_left_beside_it(toy, out):
    run(toy, out)
    del toy.content["ood_far"]
    assert run(toy, out).splits() == ("train", "test")
    assert [path.name for path in out.parent.iterdir()] == ["prepared"]
    assert not (out / "ood_far").exists()


def test_a_failed_run_keeps_the_older_folder(toy, out):
    run(toy, out)
    before = files(out)
    toy.content["test"][1] = toy.content["test"][1] + 7
    with pytest.raises(DataError):
        run(toy, out)
    assert files(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["prepared"]


def test_a_killed_run_leaves_no_half_folder_and_the_next_run_works(toy, out):
    out.parent.mkdir()
    code = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path[:0] = {sys.path!r}
        from tests.preparing.test_prepare import Toy
        from ltood.preparing.prepare import prepare

        class Killed(Toy):
            def split(self, name):
                if name == "ood_far":
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().split(name)

        prepare(Killed(), "toy", {{"ratio": 0.5}}, Path({str(out)!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    (leftover,) = out.parent.iterdir()
    assert leftover.name.startswith(".prepared.")
    assert leftover.name.endswith(".tmp")
    run(toy, out).verify()


def test_an_empty_folder_is_used_and_another_one_refused(toy, out):
    out.mkdir(parents=True)
    run(toy, out)
    other = out.parent / "holiday"
    other.mkdir()
    (other / "photo.jpg").write_text("precious")
    with pytest.raises(StoreError, match="holiday exists and holds no prepared data; move it"):
        run(toy, other)
    assert (other / "photo.jpg").read_text() == "precious"


def test_a_file_in_the_way_is_refused(toy, out):
    out.parent.mkdir()
    out.write_text("")
    with pytest.raises(StoreError, match="exists and holds no prepared data"):
        run(toy, out)


def test_a_place_that_cannot_be_written_is_refused(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*prepared: .*; free space"):
        run(toy, tmp_path / "file" / "prepared")


def test_a_full_disk_is_one_sentence(toy, out, monkeypatch):
    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StoreError, match=r"cannot write .*: No space left on device"):
        run(toy, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("split", "row", "label", "sentence"),
    [
        ("train", 2, 2, "train: the label of row 2 is 2; it must lie in 0 to 1"),
        ("test", 3, -1, "test: the label of row 3 is -1; it must lie in 0 to 1"),
        ("ood_far", 1, 5, "ood_far: the label of row 1 is 5; it must lie in -1 to 1"),
    ],
)
def test_labels_out_of_range_are_refused(toy, out, split, row, label, sentence):
    toy.content[split][1][row] = label
    with pytest.raises(DataError, match=sentence):
        run(toy, out)


def test_semantically_id_rows_of_an_ood_set_are_kept(toy, out):
    toy.content["ood_far"][1][2] = 1
    assert run(toy, out).split("ood_far").labels.tolist() == [-1, -1, 1, -1]


def test_an_id_given_twice_is_refused(toy, out):
    toy.content["test"][2][3:] = toy.content["test"][2][:2]
    with pytest.raises(DataError, match="test: row 3 repeats the id 0; each id names one row"):
        run(toy, out)


def test_a_class_without_training_images_is_refused_by_name(toy, out):
    toy.content["train"][1][:] = 0
    with pytest.raises(DataError, match=r"no training images .*\(dog\)"):
        run(toy, out)


def test_images_of_another_shape_are_refused(toy, out):
    toy.content["ood_far"][0] = np.zeros((4, 4, 4, 1), np.uint8)
    with pytest.raises(DataError, match=r"ood_far have the shape \[4, 4, 1\], those of train \[4"):
        run(toy, out)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_dataset_without_train_or_test_is_refused(toy, out, missing):
    del toy.content[missing]
    with pytest.raises(DataError, match=f"toy has no split '{missing}'; add it"):
        run(toy, out)


def test_names_given_twice_or_malformed_are_refused(toy, out):
    toy.class_names = ("cat", "cat")
    with pytest.raises(DataError, match="toy names the class 'cat' twice"):
        run(toy, out)
    toy.class_names = ("cat", "dog")
    toy.splits = lambda: ("train", "test", "test")
    with pytest.raises(DataError, match="toy names the split 'test' twice"):
        run(toy, out)
    toy.splits = lambda: ("train", "test", "../evil")
    with pytest.raises(StoreError, match=r"'\.\./evil' is not a valid split name"):
        run(toy, out)


def test_missing_prepared_data_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"holds no prepared data .*run the prepare stage"):
        open_prepared(tmp_path)


def test_an_unknown_split_is_refused(toy, out):
    with pytest.raises(StoreError, match="has no split 'val'; it has train, test, ood_far"):
        run(toy, out).split("val")


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00"])
def test_a_broken_manifest_is_refused(toy, out, content):
    run(toy, out)
    (out / "manifest.json").write_text(content)
    with pytest.raises(CorruptStoreError, match=r"manifest\.json"):
        open_prepared(out)


@pytest.mark.parametrize("key", ["dataset", "settings", "class_names", "class_counts", "splits"])
def test_a_manifest_without_an_entry_is_refused(toy, out, key):
    manifest = dict(run(toy, out).manifest)
    del manifest[key]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptStoreError, match=key):
        open_prepared(out)


def test_another_schema_is_refused(toy, out):
    manifest = {**run(toy, out).manifest, "schema": 99}
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="prepared with schema 99, this version reads 2"):
        open_prepared(out)


def test_a_missing_file_is_refused(toy, out):
    run(toy, out)
    (out / "test" / "ids.npy").unlink()
    with pytest.raises(CorruptStoreError, match=r"ids\.npy cannot be read .*run the prepare"):
        open_prepared(out)


@pytest.mark.parametrize("length", [0, 20, -1])
def test_a_truncated_file_is_refused(toy, out, length):
    run(toy, out)
    path = out / "test" / "images.npy"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CorruptStoreError, match=r"images\.npy cannot be read"):
        open_prepared(out)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            np.zeros((5, 4, 4, 1), np.uint8),
            r"holds uint8 of shape \[5, 4, 4, 1\] .* \[5, 4, 4, 3\]",
        ),
        (np.zeros((5, 4, 4, 3)), r"holds float64 of shape .* the manifest says uint8"),
        (np.array([object()] * 5), r"images\.npy cannot be read"),
    ],
)
def test_arrays_that_do_not_fit_the_manifest_are_refused(toy, out, values, sentence):
    run(toy, out)
    np.save(out / "test" / "images.npy", values, allow_pickle=True)
    with pytest.raises(CorruptStoreError, match=sentence):
        open_prepared(out)


def test_bytes_behind_the_array_are_refused(toy, out):
    run(toy, out)
    with (out / "test" / "labels.npy").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CorruptStoreError, match=r"shape \[5\] and 4 bytes more"):
        open_prepared(out)


def test_labels_that_break_a_rule_on_disk_are_corruption(toy, out):
    run(toy, out)
    np.save(out / "test" / "labels.npy", np.full(5, -9))
    with pytest.raises(CorruptStoreError, match=r"was changed: labels\[0\] is -9.*Run the prepare"):
        open_prepared(out)


@pytest.mark.parametrize("key", ["images", "labels", "ids"])
def test_verify_finds_one_changed_bit(toy, out, key):
    prepared = run(toy, out)
    prepared.verify()
    path = out / "train" / f"{key}.npy"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # The lowest byte of the last row: labels and ids stay in range.
    path.write_bytes(content)
    changed = open_prepared(out)
    with pytest.raises(CorruptStoreError, match=rf"{key}\.npy was changed after it was prepared"):
        changed.verify()


def stage(folder, monkeypatch, params):
    from stages.prepare import main

    (folder / "params.yaml").write_text(params)
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main)


def test_the_stage_prepares_the_demo(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(ROOT / "data" / "demo")
    done = stage(
        tmp_path, monkeypatch, "dataset: demo\ndatasets:\n  demo:\n    imbalance_ratio: 0.1\n"
    )
    assert done.exit_code == 0
    prepared = open_prepared(tmp_path / "data" / "work" / "prepared")
    prepared.verify()
    assert prepared.manifest["settings"] == {
        "imbalance": "exponential",
        "imbalance_ratio": 0.1,
    }
    assert prepared.class_counts.tolist()[::7] == [1000, 100]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("dataset: demo\ndatasets: {demo: {}}\n", "error: the demo images are not at data/demo"),
        ("dataset: dmo\n", "error: No dataset 'dmo'. Did you mean demo?"),
        (
            "dataset: demo\ndatasets: {demo: {ratio: 1}}\n",
            "error: datasets.demo has no key 'ratio'",
        ),
    ],
)
def test_the_stage_ends_a_failure_in_one_line(tmp_path, monkeypatch, params, sentence):
    done = stage(tmp_path, monkeypatch, params)
    assert done.exit_code == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_what_was_prepared_is_reported(toy, out, capsys):
    toy.content["train"][1][:] = [0, 0, 0, 0, 0, 1]
    prepare(toy, "toy", {"aux": None, "ood": []}, out)
    told = capsys.readouterr().err
    assert "toy: 2 classes; training images of a class: 5 (cat) to 1 (dog)." in told
    assert "toy: images: train 6, test 5, ood_far 4." in told
    assert "no split val" in told
    assert "datasets.toy.aux" in told
    assert "datasets.toy.ood" not in told


def summary_of(counts, **changes):
    names = [str(label) for label in range(len(counts))]
    rows = {"train": sum(counts), "val": 1, "aux": 1, "ood_x": 1}
    given = {"counts": {"train": np.array(counts)}, "rows": rows, **changes}
    return Summary("toy", names, **given)


def test_groups_are_those_of_the_tables():
    found = summary_of([60, 50, 10, 8, 2, 1])
    assert found.lines()[1] == "toy: classes by group: many 2, medium 3, few 1."
    assert found.missing() == []
    assert found.plain()["groups"] == {"many": 2, "medium": 3, "few": 1}


def test_of_many_classes_the_largest_and_the_smallest_are_shown():
    found = summary_of(list(range(1, 10_001)))
    lines = found.lines()
    assert len(lines) < 30
    assert any("9,980 more classes" in line for line in lines)
    assert len(found.plain()["classes"]) == 10_000


@pytest.mark.parametrize(
    ("rows", "setting"),
    [("val", "datasets.toy.val_share"), ("ood_x", "datasets.toy.ood"), ("aux", "datasets.toy.aux")],
)
def test_what_is_missing_is_named_with_its_setting(rows, setting):
    whole = {"train": 3, "val": 1, "aux": 1, "ood_x": 1}
    left = {key: num for key, num in whole.items() if key != rows}
    found = summary_of([2, 1], rows=left, settings=("aux", "ood", "val_share"))
    assert [setting in each.remedy for each in found.missing()] == [True]
    assert setting in found.lines()[-1]
    assert found.plain()["missing"][0]["remedy"] in found.lines()[-1]


def test_recipes_that_are_said_to_need_outliers_do():
    told = summary_of([1], rows={"train": 1, "val": 1, "ood_x": 1}).missing()[0].consequence
    listed = told[told.index("(") + 1 : told.index(")")].split(", ")
    sources = [(ROOT / f"ltood/recipes/{name}.py").read_text() for name in listed]
    assert all("aux_per_image:" in source for source in sources)


def test_what_was_found_is_kept_as_json(toy, out):
    train, test = toy.content["train"], toy.content["test"]
    toy.content = {"train": train, "val": [column[:2] for column in test], "test": test}
    run(toy, out)
    found = json.loads((out / "summary.json").read_bytes())
    assert [each["name"] for each in found["classes"]] == list(toy.class_names)
    assert sum(each["train"] for each in found["classes"]) == found["images"]["train"] == 6
    assert {(each["split"], each["other"]) for each in found["repeats"]} == {("test", "val")}


def test_test_images_in_ood_sets_are_reported(toy, out, capsys):
    toy.content["ood_far"][0][1] = toy.content["test"][0][3]
    run(toy, out)
    assert "ood_far: 1 of 4 images are images of test too" in capsys.readouterr().err


def test_labels_that_count_from_one_are_explained(toy, out):
    toy.class_names = ("0", "1", "2")
    toy.content["train"][1] = np.arange(6) % 2 + 1
    with pytest.raises(DataError, match="count from 0"):
        run(toy, out)
