import math

import numpy as np
import pytest

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, StoreError
from ltood.exports.rows import RowTable
from ltood.exports.thresholds import set_thresholds
from ltood.scoring.run import score_store
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore


@pytest.mark.parametrize(("split", "tpr"), [(None, 0.95), ("test", 0.5), ("val", 1.0)])
def test_the_share_of_rows_is_accepted(scores, split, tpr):
    table = RowTable(list(scores.values()))
    set_thresholds(table, threshold=None, tpr=tpr, split=split)
    for name, path in scores.items():
        values = ScoreStore.open(path).split(split or "val").scores
        accepted = values <= table.thresholds[name]
        assert math.ceil(tpr * len(values)) == accepted.sum()
        found = [rows.is_ood[name] for rows in table.batches() if rows.split == (split or "val")]
        np.testing.assert_array_equal(np.concatenate(found), ~accepted)


def test_a_given_threshold(scores):
    table = RowTable([scores["energy"]])
    set_thresholds(table, threshold=1.5, tpr=0.95, split=None)
    assert table.thresholds == {"energy": 1.5}
    largest = float(ScoreStore.open(scores["energy"]).split("test").scores.max())
    table.thresholds["energy"] = np.nextafter(largest, -math.inf)  # No float32 lies between.
    assert any(rows.is_ood["energy"].any() for rows in table.batches() if rows.split == "test")
    with pytest.raises(ConfigError, match="--threshold"):
        set_thresholds(RowTable(list(scores.values())), threshold=1.5, tpr=0.95, split=None)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_a_threshold_is_a_number(scores, threshold):
    table = RowTable([scores["energy"]])
    with pytest.raises(ConfigError, match="--threshold"):
        set_thresholds(table, threshold=threshold, tpr=0.95, split=None)


def test_without_val_there_is_no_verdict(features, tmp_path, capsys):
    path = tmp_path / "s.zarr"
    opened = FeatureStore.open(features)
    score_store(opened, path, EntrySpec("msp"), splits=["test"], device="cpu")
    table = RowTable([path])
    set_thresholds(table, threshold=None, tpr=0.95, split=None)
    assert table.thresholds == {}
    assert "--threshold-split" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["ood_far", "nothing", "aux"])
def test_only_id_rows_set_a_threshold(scores, split):
    with pytest.raises(StoreError, match=split):
        set_thresholds(RowTable([scores["msp"]]), threshold=None, tpr=0.95, split=split)
