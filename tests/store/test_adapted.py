import json
import subprocess
import sys

import numpy as np
import pytest

from ltood.core.building import EntrySpec
from ltood.core.errors import CorruptStoreError, StoreError
from ltood.scoring.run import score_store
from ltood.store.adapted import (
    HISTORY,
    AdaptedHead,
    AdaptedStore,
    read_adapted,
    read_history,
    weights_digest,
    with_adapted_head,
    write_adapted,
)
from ltood.store.features import (
    ArraySpec,
    FeatureSplit,
    FeatureStore,
    FeatureWriter,
    SplitSpec,
    StoreSpec,
)
from ltood.store.scores import ScoreStore

NAMES = ("cat", "dog", "emu")
WEIGHTS = "ab" * 32


@pytest.fixture
def store(tmp_path, rng) -> FeatureStore:
    arrays = {
        "features": ArraySpec("float16", (5,)),
        "logits": ArraySpec("float32", (3,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    spec = StoreSpec({"train": SplitSpec(7, arrays), "test": SplitSpec(6, arrays)}, 4)
    head = {"weight": np.ones((3, 5), np.float32), "bias": np.zeros(3, np.float32)}
    provenance = {"source": "test", "checkpoint": {"weights_sha256": WEIGHTS}}
    path = tmp_path / "features.zarr"
    writer = FeatureWriter.create(path, spec, provenance, head, NAMES, [3, 2, 2])
    for name, split in spec.splits.items():
        for start, stop in writer.missing(name):
            rows = stop - start
            values = {
                "features": rng.normal(size=(rows, 5)).astype(np.float16),
                "logits": np.full((rows, 3), 9, np.float32),
                "labels": np.arange(rows) % 3,
                "ids": np.arange(start, stop),
            }
            assert split.rows >= stop
            writer.write(name, start, values)
    writer.finish()
    return FeatureStore.open(path)


def adapted(rng, **changes):
    arrays = {
        "weight": rng.normal(size=(3, 5)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
        "context": rng.normal(size=(2, 4)).astype(np.float32),
    }
    content = {"class_names": NAMES, "weights_sha256": WEIGHTS, "inputs": {"recipe": "coop"}}
    return AdaptedHead(**{**content, "arrays": arrays, **changes})


def test_what_is_written_is_read_back(tmp_path, rng):
    head = adapted(rng)
    write_adapted(tmp_path / "head", head)
    found = read_adapted(tmp_path / "head")
    assert (found.class_names, found.weights_sha256) == (head.class_names, head.weights_sha256)
    assert found.inputs == head.inputs
    assert found.arrays.keys() == head.arrays.keys()
    for name in head.arrays:
        np.testing.assert_array_equal(found.arrays[name], head.arrays[name])
    assert sorted(found.head) == ["bias", "weight"]


def test_equal_heads_have_equal_bytes_and_leave_nothing_else(tmp_path, rng):
    head = adapted(rng)
    for folder in ("one", "two"):
        write_adapted(tmp_path / folder, head)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_marker_leaves_the_store_as_it_is(tmp_path, store, rng):
    write_adapted(tmp_path / "head", adapted(rng))
    write_adapted(tmp_path / "head", None)
    assert [path.name for path in (tmp_path / "head").iterdir()] == ["head.json"]
    assert with_adapted_head(store, tmp_path / "head") is store


def test_a_head_of_another_width_is_refused(tmp_path, store, rng):
    arrays = {"weight": rng.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    write_adapted(tmp_path / "head", adapted(rng, arrays=arrays))
    with pytest.raises(StoreError, match="4 columns"):
        with_adapted_head(store, tmp_path / "head")


def test_logits_and_head_are_the_adapted_ones(tmp_path, store, rng):
    head = adapted(rng)
    write_adapted(tmp_path / "head", head)
    seen = with_adapted_head(store, tmp_path / "head")
    assert sorted(seen.head_arrays()) == ["bias", "weight"]
    for rows in (1, 3, 7):
        blocks = list(seen.split("train").batches(rows))
        logits = np.concatenate([block["logits"] for block in blocks])
        features = store.split("train").load(["features"])["features"].astype(np.float64)
        expected = features @ head.arrays["weight"].T + head.arrays["bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        assert logits.dtype == np.float32
        labels = np.concatenate([block["labels"] for block in blocks])
        np.testing.assert_array_equal(labels, store.split("train").load(["labels"])["labels"])
    assert seen.split("test").num_outputs == 3


def test_scores_are_those_of_the_adapted_head(tmp_path, store, rng):
    head = adapted(rng)
    seen = AdaptedStore(store, head)
    score_store(seen, tmp_path / "scores.zarr", EntrySpec("maxlogit"))
    scores = ScoreStore.open(tmp_path / "scores.zarr")
    features = store.split("test").load(["features"])["features"].astype(np.float64)
    logits = features @ head.arrays["weight"].T + head.arrays["bias"]
    np.testing.assert_allclose(scores.split("test").scores, -logits.max(1), rtol=1e-4, atol=1e-5)
    assert scores.attributes["features_fingerprint"] == seen.fingerprint
    assert scores.attributes["provenance"]["head"] == {"recipe": "coop"}


def test_the_fingerprint_covers_the_head(store, rng):
    head = adapted(rng)
    one, again = AdaptedStore(store, head), AdaptedStore(store, head)
    other = AdaptedStore(store, adapted(rng))
    assert one.fingerprint == again.fingerprint
    assert len({one.fingerprint, other.fingerprint, store.fingerprint}) == 3


def test_other_names_and_weights_are_refused(store, rng):
    names = ("cat", "dog", "fox", "emu")
    with pytest.raises(StoreError, match=r"classes cat, dog, fox, … \(4\) but .* cat, dog, emu;"):
        AdaptedStore(store, adapted(rng, class_names=names))
    with pytest.raises(
        StoreError, match=r"with weights cdcdcdcdcdcd… but .* made with abababababab"
    ):
        AdaptedStore(store, adapted(rng, weights_sha256="cd" * 32))


def test_a_store_without_weights_has_no_digest(store):
    del store.attributes["provenance"]["checkpoint"]
    assert weights_digest(store) == ""


def test_a_missing_head_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"has no head\.json; run the adapt stage"):
        read_adapted(tmp_path / "head")


def test_changed_and_foreign_heads_are_refused(tmp_path, rng):
    folder = tmp_path / "head"
    write_adapted(folder, adapted(rng))
    document = json.loads((folder / "head.json").read_bytes())
    (folder / "head.json").write_text(json.dumps({**document, "schema": 7}))
    with pytest.raises(StoreError, match="schema 7, this version reads 2"):
        read_adapted(folder)
    (folder / "head.json").write_text("{")
    with pytest.raises(CorruptStoreError, match="does not hold JSON"):
        read_adapted(folder)
    write_adapted(folder, adapted(rng))
    raw = bytearray((folder / "head.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "head.safetensors").write_bytes(raw)
    with pytest.raises(CorruptStoreError, match=r"head\.safetensors changed after it was written"):
        read_adapted(folder)


def test_reading_needs_no_torch(tmp_path, rng):
    write_adapted(tmp_path / "head", adapted(rng))
    code = (
        "import sys, pathlib\n"
        "from ltood.store.adapted import read_adapted, write_adapted\n"
        "write_adapted(pathlib.Path(sys.argv[1]), read_adapted(pathlib.Path(sys.argv[1])))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "head")], check=True)


def test_logits_are_given_where_a_row_has_one_view(store, rng):
    head = adapted(rng).head
    layer, rows = (head["weight"], head["bias"]), store.rows("train")
    kept = {key: rows.spec.arrays[key] for key in ("features", "labels")}
    rows.spec = SplitSpec(7, kept)
    assert FeatureSplit(rows, layer).arrays == ["features", "labels", "logits"]
    rows.spec = SplitSpec(7, {**kept, "features": ArraySpec("float16", (2, 5))})
    several = FeatureSplit(rows, layer)
    assert several.arrays == ["features", "labels"]
    with pytest.raises(StoreError, match="has no array 'logits'"):
        several.read("logits", 0, 1)


def test_losses_by_epoch_are_those_of_the_head_in_use(tmp_path, rng):
    folder, head = tmp_path / "head", adapted(rng)
    write_adapted(folder, head, history_csv="epoch,loss\n1,0.5\n")
    assert read_history(folder, head.inputs) == "epoch,loss\n1,0.5\n"
    with pytest.raises(StoreError, match="another head"):
        read_history(folder, {"recipe": "other"})
    for damage in (
        lambda: (folder / HISTORY).write_text("epoch,loss\n1,0.1\n"),
        (folder / HISTORY).unlink,
    ):
        damage()
        with pytest.raises(CorruptStoreError, match=HISTORY):
            read_history(folder, head.inputs)
    write_adapted(folder, None)
    assert read_history(folder, None) == ""
