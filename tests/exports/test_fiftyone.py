"""The folder against the description of FiftyOneImageClassificationDataset."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError, StoreError
from ltood.exports.fiftyone import write_fiftyone
from ltood.exports.paths import ListedPaths, PreparedPaths
from ltood.exports.rows import RowTable
from ltood.exports.thresholds import set_thresholds
from ltood.images.prepared import open_prepared
from ltood.store.scores import ScoreStore
from tests.store.store_samples import tree


def read(folder):
    """What FiftyOne's importer makes of a folder: image and label by key.

    As its documentation says: the manifest maps a key to a path, absolute or from the manifest's
    folder on; a target is a label, or a mapping with label, confidence and attributes; without
    `classes` a label is a text.
    """
    data = json.loads((folder / "data.json").read_text())
    content = json.loads((folder / "labels.json").read_text())
    assert content.keys() == {"labels"}
    assert data.keys() == content["labels"].keys()
    for target in content["labels"].values():
        assert target.keys() == {"label", "attributes"}
        assert isinstance(target["label"], str)
        assert not target["attributes"].keys() & {"id", "tags", "label", "confidence", "logits"}
    return {key: (folder / path, content["labels"][key]) for key, path in data.items()}


def test_every_row_has_an_image_and_its_scores(scores, images, tmp_path):
    prepared = PreparedPaths(images)
    table = RowTable([scores["energy"]], ["test", "ood_far"], prepared)
    set_thresholds(table, threshold=None, tpr=0.9, split="val")
    assert write_fiftyone(table, tmp_path / "fo", prepared) == table.num_rows
    found = read(tmp_path / "fo")
    for split in table.splits:
        wanted = ScoreStore.open(scores["energy"]).split(split)
        for row in range(len(wanted)):
            path, target = found[f"{split}/{row:07d}"]
            assert path.is_file()
            label = int(wanted.labels[row])
            limit, score = table.thresholds["energy"], float(wanted.scores[row])
            assert target == {
                "label": str(label) if label >= 0 else "ood_far",
                "attributes": {
                    "row_id": int(wanted.ids[row]),
                    "split": split,
                    "prediction": str(wanted.predictions[row]),
                    "score": score,
                    "verdict": "ID" if score <= limit else "OOD",
                },
            }


def test_arrays_become_their_images(scores, images, tmp_path):
    prepared = PreparedPaths(images)
    table = RowTable([scores["msp"]], ["ood_far"], prepared)
    write_fiftyone(table, tmp_path / "fo", prepared)
    source = open_prepared(images).split("ood_far")
    by_id = {int(number): row for row, number in enumerate(source.ids)}
    for path, target in read(tmp_path / "fo").values():
        pixels = np.asarray(Image.open(path))
        number = target["attributes"]["row_id"]
        np.testing.assert_array_equal(pixels, source.images[by_id[number]])


def test_several_stores_are_told_apart(scores, images, tmp_path):
    prepared = PreparedPaths(images)
    table = RowTable(list(scores.values()), ["test"], prepared)
    write_fiftyone(table, tmp_path / "fo", prepared)
    _, target = next(iter(read(tmp_path / "fo").values()))
    assert target["attributes"].keys() == {
        *("row_id", "split", "prediction_energy", "score_energy", "prediction_msp", "score_msp")
    }


def test_lists_of_paths_do(scores, tmp_path):
    rows = len(ScoreStore.open(scores["msp"]).split("test"))
    (tmp_path / "test.txt").write_text("".join(f"{row}.png\n" for row in range(rows)))
    table = RowTable([scores["msp"]], ["test"], ListedPaths(tmp_path))
    write_fiftyone(table, tmp_path / "fo")
    assert read(tmp_path / "fo")["test/0000003"][0] == tmp_path / "3.png"


def test_an_image_without_a_file(scores, tmp_path):
    with pytest.raises(DataError, match="row 0 of test"):
        write_fiftyone(RowTable([scores["msp"]], ["test"]), tmp_path / "fo")
    assert list(tmp_path.iterdir()) == []


def test_two_rows_of_one_image(scores, tmp_path):
    rows = len(ScoreStore.open(scores["msp"]).split("test"))
    (tmp_path / "test.txt").write_text("same.png\n" * rows)
    table = RowTable([scores["msp"]], ["test"], ListedPaths(tmp_path))
    with pytest.raises(DataError, match=r"same\.png.*test/0000000.*test/0000001"):
        write_fiftyone(table, tmp_path / "fo")
    assert not (tmp_path / "fo").exists()


def test_only_a_folder_of_this_kind_is_replaced(scores, images, tmp_path):
    prepared, out = PreparedPaths(images), tmp_path / "fo"
    table = RowTable([scores["msp"]], ["test"], prepared)
    write_fiftyone(table, out, prepared)
    with pytest.raises(StoreError, match="--overwrite"):
        write_fiftyone(table, out, prepared)
    before = tree(out)
    write_fiftyone(table, out, prepared, overwrite=True)
    assert tree(out) == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.png").write_text("dear")
    with pytest.raises(StoreError, match="mine"):
        write_fiftyone(table, mine, prepared, overwrite=True)
    assert Path(mine / "photo.png").read_text() == "dear"
