import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from ltood.core.errors import MissingPackageError
from ltood.exports import rows as module
from ltood.exports.parquet import write_parquet
from ltood.exports.paths import PreparedPaths
from ltood.exports.rows import RowTable
from ltood.exports.thresholds import set_thresholds
from ltood.store.exchange import export_head, import_folder
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore


def test_one_store_of_scores(scores, tmp_path):
    table = RowTable([scores["energy"]])
    set_thresholds(table, threshold=None, tpr=0.9, split="val")
    names = write_parquet(table, tmp_path / "r.parquet")
    assert names == ["split", "id", "path", "label", "class", "prediction", "score", "verdict"]
    found = pq.read_table(tmp_path / "r.parquet")
    assert found.column_names == names
    frame = found.to_pydict()
    for split in table.splits:
        at = [row for row, name in enumerate(frame["split"]) if name == split]
        wanted = ScoreStore.open(scores["energy"]).split(split)
        got = {key: [frame[key][row] for row in at] for key in names}
        np.testing.assert_array_equal(np.float32(got["score"]), wanted.scores)
        assert got["id"] == wanted.ids.tolist()
        assert got["label"] == wanted.labels.tolist()
        assert got["class"] == [None if n < 0 else str(n) for n in wanted.labels.tolist()]
        assert got["prediction"] == [str(n) for n in wanted.predictions.tolist()]
        limit = table.thresholds["energy"]
        assert got["verdict"] == ["ID" if s <= limit else "OOD" for s in wanted.scores]
    about = json.loads(found.schema.metadata[b"ltood"])
    assert about["thresholds"] == table.thresholds
    assert about["scores"] == {"energy": table.scores["energy"].attributes["fingerprint"]}


def test_several_stores_features_and_paths(scores, features, images, tmp_path):
    table = RowTable([*scores.values(), features], ["test", "train"], PreparedPaths(images))
    names = write_parquet(table, tmp_path / "r.parquet")
    assert names[5:] == [
        *("prediction_energy", "score_energy", "prediction_msp", "score_msp", "features")
    ]
    frame = pq.read_table(tmp_path / "r.parquet").to_pydict()
    for split, path in zip(frame["split"], frame["path"], strict=True):
        assert (path is None) == (split == "train")
    column = pq.read_table(tmp_path / "r.parquet", columns=["features"]).column(0).combine_chunks()
    back = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    wanted = [
        FeatureStore.open(features).split(split).load(["features"])["features"]
        for split in table.splits
    ]
    np.testing.assert_array_equal(back, np.concatenate(wanted))


def test_an_import_reads_what_an_export_wrote(scores, features, tmp_path):
    original = FeatureStore.open(features)
    folder = tmp_path / "files"
    export_head(features, folder / "head.npz")
    for split in original.splits:
        table = RowTable([scores["energy"], features], [split])
        write_parquet(table, folder / f"{split}.parquet")
    back = import_folder(folder, tmp_path / "back.zarr")
    assert back.splits == original.splits
    for split in original.splits:
        wanted = original.split(split).load(["features", "labels", "ids"])
        for key, values in back.split(split).load(list(wanted)).items():
            np.testing.assert_array_equal(values, wanted[key])


def test_the_same_rows_give_the_same_bytes_in_small_groups(scores, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_ROWS", 16)
    for name in ("a", "b"):
        write_parquet(RowTable([scores["msp"]], ["test"]), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "a.parquet")
    groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert max(groups) == 16
    assert sum(groups) == file.metadata.num_rows


def test_a_missing_package_is_one_command(scores, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"ltood\[arrow\]"):
        write_parquet(RowTable([scores["msp"]]), tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []
