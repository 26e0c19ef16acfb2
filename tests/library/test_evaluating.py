import numpy as np
import pytest
import torch

import ltood
from ltood.core.errors import DataError
from ltood.metrics import METRICS, rank


def scores(seed, shift, rows):
    return np.random.default_rng(seed).normal(shift, size=rows).astype(np.float32)


def test_one_set():
    known, unknown = scores(0, 0, 200), scores(1, 1, 150)
    found = ltood.evaluate(known, unknown)
    ranking = rank(known, unknown)
    assert dict(found) == {key: metric.function(ranking) for key, metric in METRICS.items()}
    assert list(found) == list(METRICS)
    assert found.per_set == {}
    lines = repr(found).splitlines()
    assert lines[0].split() == ["auroc", f"{found['auroc']:.4f}"]
    assert len(lines) == len(METRICS)


def test_several_sets():
    known = scores(0, 0, 200)
    sets = {"near": scores(1, 0.5, 100), "far": scores(2, 2, 50)}
    found = ltood.evaluate(known, sets)
    for name, rows in sets.items():
        assert found.per_set[name] == dict(ltood.evaluate(known, rows))
    for key in METRICS:
        assert found[key] == np.mean([found.per_set[name][key] for name in sets])
    assert repr(found).splitlines()[0].split() == ["mean", "near", "far"]
    assert len(found) == len(METRICS)


def test_arrays_of_any_kind():
    known, unknown = scores(0, 0, 20), scores(1, 1, 15)
    expected = dict(ltood.evaluate(known, unknown))
    assert dict(ltood.evaluate(torch.tensor(known), torch.tensor(unknown))) == expected
    assert dict(ltood.evaluate(known.tolist(), unknown.tolist())) == expected


@pytest.mark.parametrize(
    ("known", "unknown", "match"),
    [
        ([], [1.0], "id_scores is empty"),
        ([1.0], {"svhn": []}, "svhn|empty"),
        ([1.0], {}, "no OOD set"),
        ([1, 2], [1.0], "id_scores is int"),
        ([1.0, np.nan], [1.0], "id_scores has 1 of 2 rows"),
        ([[1.0]], [1.0], "id_scores has shape"),
        (["a"], [1.0], "id_scores"),
    ],
)
def test_what_is_refused(known, unknown, match):
    with pytest.raises(DataError, match=match):
        ltood.evaluate(known, unknown)
