"""What the library `datasets` writes: the same pictures whichever way they come in."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from ltood.core.errors import DataError
from ltood.core.settings import parse, to_section
from ltood.datasets.folder import Config, Dataset
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare
from ltood.preparing.watch import manifest

CLASSES = ("bar", "café", "dam")
NUMBERS = {"train": (7, 3, 2), "test": (2, 1, 2)}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folders(tmp_path):
    """Class folders per split."""
    seed = 0
    for split, counts in NUMBERS.items():
        for name, num in zip(CLASSES, counts, strict=True):
            for row in range(num):
                path = tmp_path / "set" / split / name / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
                seed += 1
    return tmp_path / "set"


def rows_of(folders, split):
    return [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": label}
        for label, name in enumerate(CLASSES)
        for path in sorted((folders / split / name).iterdir())
    ]


def table(rows, names=CLASSES, **columns):
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(names), "_type": "ClassLabel"},
    }
    made = pa.Table.from_pylist(rows)
    for name, values in columns.items():
        made = made.append_column(name, [values])
    described = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": described})


def as_parquet(folders, root):
    (root / "data").mkdir(parents=True)
    for split in NUMBERS:
        rows = rows_of(folders, split)
        for shard, part in enumerate((rows[:3], rows[3:])):
            path = root / "data" / f"{split}-0000{shard}-of-00002.parquet"
            parquet.write_table(table(part), path, row_group_size=2)


def as_arrow(folders, root):
    root.mkdir()
    (root / "dataset_dict.json").write_text(json.dumps({"splits": [*NUMBERS, "extra"]}))
    for split in NUMBERS:
        (root / split).mkdir()
        files = [{"filename": "data-00000-of-00001.arrow"}]
        (root / split / "state.json").write_text(json.dumps({"_data_files": files}))
        found = table(rows_of(folders, split))
        path = root / split / files[0]["filename"]
        with path.open("wb") as file, pa.ipc.new_stream(file, found.schema) as writer:
            writer.write_table(found, max_chunksize=4)


def as_metadata(folders, root, ending="csv"):
    for split in NUMBERS:
        (root / split).mkdir(parents=True)
        lines = []
        for name in CLASSES:
            for path in sorted((folders / split / name).iterdir()):
                own = f"{name}-{path.name}"
                shutil.copy(path, root / split / own)
                lines.append((own, name))
        where = root / split / f"metadata.{ending}"
        if ending == "csv":
            text = "file_name,label\n" + "".join(f"{own},{name}\n" for own, name in lines)
        else:
            text = "".join(
                json.dumps({"file_name": own, "label": name}) + "\n" for own, name in lines
            )
        where.write_text(text, encoding="utf-8")


def as_list(folders, root):
    shutil.copytree(folders, root)
    lines = [
        {"path": f"{split}/{name}/{path.name}", "label": name, "split": split}
        for split in NUMBERS
        for name in CLASSES
        for path in sorted((folders / split / name).iterdir())
    ]
    parquet.write_table(pa.Table.from_pylist(lines), root / "list.parquet")


FORMS = {
    "parquet": as_parquet,
    "arrow": as_arrow,
    "metadata.csv": as_metadata,
    "metadata.jsonl": lambda folders, root: as_metadata(folders, root, "jsonl"),
    "list": as_list,
}


def dataset(root, **settings):
    return Dataset(parse({"root": str(root), **settings}, Config, "datasets.folder"))


def prepared(root, out, **settings):
    prepare(dataset(root, **settings), "folder", {}, out)
    return open_prepared(out)


@pytest.mark.parametrize("size", [None, 8])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_pictures_give_the_same_bytes(folders, tmp_path, form, size):
    root = tmp_path / "other way"
    FORMS[form](folders, root)
    settings = {"manifest": "list.parquet"} if form == "list" else {}
    found = prepared(root, tmp_path / "found", size=size, **settings)
    wanted = prepared(folders, tmp_path / "wanted", size=size)
    assert found.class_names == wanted.class_names == CLASSES
    assert found.splits() == wanted.splits() == ("train", "test")
    for name in wanted.splits():
        assert (
            found.manifest["splits"][name]["content"] == wanted.manifest["splits"][name]["content"]
        )
        last = len(wanted.source(name).labels) - 1
        for row in (last, 0):
            pair = [np.asarray(each.source(name).image(row)) for each in (found, wanted)]
            np.testing.assert_array_equal(*pair)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_packed_images_stay_with_the_prepared_data(folders, tmp_path, form):
    root = tmp_path / "packed"
    FORMS[form](folders, root)
    found = prepared(root, tmp_path / "prepared")
    shutil.rmtree(root)
    train = open_prepared(tmp_path / "prepared").source("train")
    assert train.paths[:2] == ("bar/0.png", "bar/1.png")
    assert all(train.image(row).size == (7, 6) for row in range(len(train)))
    assert found.manifest["splits"]["train"]["packed"] > 0
    packed = tmp_path / "prepared" / "train" / "packed.bin"
    packed.write_bytes(packed.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="changed after it was prepared"):
        open_prepared(tmp_path / "prepared").source("train").image(len(train) - 1)


def test_one_table_is_divided_like_the_folders(folders, tmp_path):
    flat = tmp_path / "flat"
    for split in NUMBERS:
        for path in (folders / split).rglob("*.png"):
            target = flat / path.parent.name / f"{split}{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    rows = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": label}
        for label, name in enumerate(CLASSES)
        for path in sorted((flat / name).iterdir())
    ]
    parquet.write_table(table(rows), tmp_path / "one.parquet", row_group_size=3)
    data, same = dataset(tmp_path / "one.parquet"), dataset(flat)
    assert data.splits() == same.splits()
    for name in data.splits():
        assert data.split(name).paths == same.split(name).paths
    assert "division" in data.watched()
    # The pictures are read backwards too, through the window.
    train = data.split("train")
    for row in reversed(range(len(train))):
        assert train.content(row) == (flat / train.paths[row]).read_bytes()


def test_every_change_is_noticed(folders, tmp_path):
    root = tmp_path / "packed"
    as_parquet(folders, root)

    def watched():
        data = dataset(root, val_share=0.3)
        config = parse({"root": str(root), "val_share": 0.3}, Config, "datasets.folder")
        return manifest(data, "folder", to_section(config), tmp_path / "known.sqlite")["files"]

    before = watched()
    assert before == watched()
    rows = rows_of(folders, "test")
    parquet.write_table(table(rows[:-1]), root / "data" / "test-00000-of-00002.parquet")
    after = watched()
    assert {key for key in before if before[key] != after[key]} == {"test"}
    where = next((tmp_path / "data" / "splits").iterdir())
    where.write_text(where.read_text().replace(",val,", ",train,", 1))
    assert {key for key in after if after[key] != watched()[key]} == {"division"}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda rows: [{**row, "label": 9} for row in rows], "9"),
        (lambda rows: [{**row, "label": -1} for row in rows], "-1"),
        (lambda rows: [{"pixels": b"", "label": 0} for row in rows], "pixels"),
        (lambda rows: [{"image": row["image"]} for row in rows], "label_column"),
    ],
)
def test_rows_of_no_use_are_named(folders, tmp_path, change, key):
    root = tmp_path / "rows.parquet"
    rows = change(rows_of(folders, "train"))
    parquet.write_table(table(rows), root)
    with pytest.raises(DataError, match=key):
        dataset(root).splits()


def test_images_that_are_paths_alone_are_refused(folders, tmp_path):
    rows = [{"image": {"bytes": None, "path": "a.png"}, "label": 0}] * 2
    rows[0] = rows_of(folders, "train")[0]
    parquet.write_table(table(rows), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="holds no image but at most its path"):
        dataset(tmp_path / "rows.parquet").splits()


def test_one_of_several_columns_of_classes_is_chosen(folders, tmp_path):
    rows = [{**row, "labels": ["x", "y"][row["label"] % 2]} for row in rows_of(folders, "train")]
    found = pa.Table.from_pylist(rows)
    parquet.write_table(found, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="2 columns of classes"):
        dataset(tmp_path / "rows.parquet").splits()
    assert dataset(tmp_path / "rows.parquet", label_column="labels").class_names == ("x", "y")
    numbered = dataset(tmp_path / "rows.parquet", label_column="label")
    assert numbered.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("train.parquet", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("train.parquet", b"PAR1 and nothing else", "train.parquet"),
        ("dataset_dict.json", b'{"splits": ["one", "two"]}', "train"),
        ("dataset_dict.json", b"{", "dataset_dict.json"),
        ("state.json", b'{"_data_files": [{"filename": "../x.arrow"}]}', r"\.\./x\.arrow"),
        ("state.json", b'{"_data_files": [{"filename": "x.arrow"}]}', "x.arrow"),
    ],
)
def test_damaged_folders_are_named(tmp_path, name, content, key):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(content)
    with pytest.raises(Exception, match=key) as raised:
        dataset(tmp_path / "set").splits()
    assert type(raised.value).__module__ == "ltood.core.errors"


def test_several_datasets_in_one_repository_are_told_apart(folders, tmp_path):
    for config in ("small", "large"):
        (tmp_path / "set" / config).mkdir(parents=True)
        rows = table(rows_of(folders, "train"))
        parquet.write_table(rows, tmp_path / "set" / config / "train.parquet")
    with pytest.raises(DataError, match="large, small"):
        dataset(tmp_path / "set").splits()
    assert dataset(tmp_path / "set" / "small").class_names == CLASSES


def test_a_table_beside_class_folders_is_not_the_images(folders):
    parquet.write_table(pa.table({"note": ["x"]}), folders / "notes.parquet")
    (folders / "train" / "metadata.csv").write_text("file_name,author\nbar/0.png,me\n")
    assert dataset(folders).class_names == CLASSES


WRITE = """
import os, sys
from pathlib import Path
os.environ["HF_HUB_OFFLINE"] = "1"
import datasets
folders, out = Path(sys.argv[1]), Path(sys.argv[2])
names = sorted(path.name for path in (folders / "train").iterdir())
features = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
)
parts = {}
for split in ("train", "test"):
    rows = [
        {"image": str(path), "label": label}
        for label, name in enumerate(names)
        for path in sorted((folders / split / name).iterdir())
    ]
    parts[split] = datasets.Dataset.from_list(rows, features=features)
datasets.DatasetDict(parts).save_to_disk(out / "saved")
parts["train"].shuffle(seed=0).select(range(9)).save_to_disk(out / "single")
(out / "hub").mkdir()
for split in parts:
    part = datasets.load_from_disk(out / "saved")[split]  # With the bytes of the images.
    part.to_parquet(out / "hub" / f"{split}.parquet")
"""


@pytest.mark.slow
def test_the_library_itself_writes_these_forms(folders, tmp_path):
    # Its name is that of our folder of tests, so it runs on its own.
    home = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", WRITE, str(folders), str(tmp_path)]
    subprocess.run(command, check=True, env=home, cwd=tmp_path, capture_output=True)
    wanted = prepared(folders, tmp_path / "wanted").manifest["splits"]
    for name in ("saved", "hub"):
        found = prepared(tmp_path / name, tmp_path / f"{name} prepared").manifest["splits"]
        for key in wanted:
            assert found[key]["content"] == wanted[key]["content"]
    single = dataset(tmp_path / "single")
    assert sum(len(single.split(name)) for name in single.splits()) == 9
