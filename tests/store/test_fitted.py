import json

import numpy as np
import pytest

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.store.fitted import FittedEntry, read_fitted, write_fitted


def entry(**state):
    return FittedEntry("react", {"percentile": 90.0}, "abc", {"clip": 1.5}, state)


def test_shapes_and_types_come_back(tmp_path, rng):
    state = {
        "scalar": np.float64(0.25) * np.ones(()),
        "matrix": rng.normal(size=(3, 4)).astype(np.float32).T,
        "rows": np.arange(5),
    }
    write_fitted(tmp_path / "method", entry(**state))
    found = read_fitted(tmp_path / "method")
    assert (found.name, found.settings, found.features_fingerprint) == (
        "react",
        {"percentile": 90.0},
        "abc",
    )
    assert found.derived == {"clip": 1.5}
    assert set(found.state) == set(state)
    for name, values in state.items():
        assert found.state[name].shape == values.shape
        assert found.state[name].dtype == values.dtype
        np.testing.assert_array_equal(found.state[name], values)


def test_what_was_there_is_replaced(tmp_path):
    write_fitted(tmp_path / "method", entry(old=np.zeros(3)))
    write_fitted(tmp_path / "method", entry(new=np.ones(3)))
    assert set(read_fitted(tmp_path / "method").state) == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["method"]


def test_nothing_there(tmp_path):
    with pytest.raises(StoreError, match=r"method has no fitted.json; run the calibrate stage"):
        read_fitted(tmp_path / "method")


def test_a_changed_byte_is_seen(tmp_path):
    write_fitted(tmp_path / "method", entry(values=np.zeros(3)))
    state = tmp_path / "method" / "state.safetensors"
    raw = bytearray(state.read_bytes())
    raw[-1] ^= 1
    state.write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="changed after it was written"):
        read_fitted(tmp_path / "method")


def test_a_half_description_is_unreadable(tmp_path):
    write_fitted(tmp_path / "method", entry(values=np.zeros(3)))
    document = tmp_path / "method" / "fitted.json"
    document.write_text(json.dumps({"name": "react", "schema": 2}))
    with pytest.raises(CorruptStoreError, match="was edited"):
        read_fitted(tmp_path / "method")
