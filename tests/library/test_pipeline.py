import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from conftest import COUNTS, DIM, make_toy
from sklearn.base import clone

import ltood
from ltood.core.batches import BATCH_ROWS
from ltood.core.building import EntrySpec
from ltood.core.errors import (
    ConfigError,
    DataError,
    MissingNeedError,
    NotFittedError,
    StoreError,
)
from ltood.core.inputs import Need
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import save_detector
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def data():
    toy = make_toy()
    train = next(iter(toy.inputs.train.batches()))
    aux = next(iter(toy.inputs.aux.batches()))
    arrays = {
        "x": train.features.numpy(),
        "y": train.labels.numpy(),
        "aux": aux.features.numpy(),
        "val": make_toy(seed=3).id_batch.features.numpy(),
        "val_y": make_toy(seed=3).id_batch.labels.numpy(),
        "ood": toy.ood_batch.features.numpy(),
    }
    return arrays, toy.head


def fitted(data, *slots, **settings):
    arrays, head = data
    pipe = ltood.Pipeline(*slots, head=head, class_names=NAMES, device="cpu", **settings)
    pipe.fit(arrays["x"], arrays["y"], aux=arrays["aux"])
    return pipe.set_threshold(arrays["val"], arrays["val_y"], tpr=0.9)


SLOTS = [
    ("energy",),
    (ltood.KNN(k=5), "patt"),
    ("himplos", "patt", "none"),
    (ltood.MSP(temperature=2.0), "logit_adjustment", ltood.ImOOD(base="msp", tau=0.5)),
    ("bin_disc", None, "imood"),
]


@pytest.mark.parametrize("slots", SLOTS, ids=str)
def test_it_is_the_detector_of_the_command_line(slots, data, tmp_path):
    arrays, head = data
    pipe = fitted(data, *slots)
    out, tmp_path = tmp_path / "detectors", tmp_path / "arrays"
    tmp_path.mkdir()
    pipe.save(out / "own.safetensors")

    kept = {key: value.numpy() for key, value in head.arrays().items()}
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.savez(folder / "head.npz", **kept)
    np.savez(folder / "train.npz", features=arrays["x"], labels=arrays["y"])
    np.savez(folder / "val.npz", features=arrays["val"], labels=arrays["val_y"])
    np.savez(folder / "aux.npz", features=arrays["aux"])
    import_folder(folder, tmp_path / "features.zarr")
    specs = []
    for given in (*slots, None, None)[:3]:
        name = given or "none"
        settings = {}
        if not isinstance(name, str):
            settings = {k: v for k, v in given.get_params().items() if k != "base"}
            name = type(given).__module__.rpartition(".")[2]
        specs.append(EntrySpec(name, settings))
    store = FeatureStore.open(tmp_path / "features.zarr")
    detector = fit_detector(store, *specs, tpr=0.9, device="cpu")
    save_detector(out / "theirs.safetensors", detector)
    own, theirs = (out / f"{name}.safetensors" for name in ("own", "theirs"))
    assert own.read_bytes() == theirs.read_bytes()
    assert pipe.threshold == detector.threshold
    for features in (store, store.path, str(store.path), ltood.open_features(store.path)):
        again = ltood.Pipeline(*slots, device="cpu").fit(features)
        assert np.array_equal(again.score(arrays["ood"]), pipe.score(arrays["ood"]))


@pytest.mark.parametrize("slots", SLOTS, ids=str)
def test_a_loaded_pipeline_scores_to_the_bit(slots, data, tmp_path):
    arrays, _ = data
    pipe = fitted(data, *slots)
    pipe.save(str(tmp_path / "d.safetensors"))
    loaded = ltood.load(tmp_path / "d.json", device="cpu")
    assert np.array_equal(loaded.score(arrays["ood"]), pipe.score(arrays["ood"]))
    assert loaded.threshold == pipe.threshold
    assert loaded.predict(arrays["ood"]).records() == pipe.predict(arrays["ood"]).records()
    with pytest.raises(StoreError, match="exists already"):
        loaded.save(tmp_path / "d.safetensors")
    loaded.save(tmp_path / "twin.safetensors")
    for suffix in (".safetensors", ".json"):
        twin = tmp_path / f"twin{suffix}"
        assert twin.read_bytes() == (tmp_path / f"d{suffix}").read_bytes()


def test_predictions(data):
    arrays, head = data
    pipe = fitted(data, "energy")
    rows = np.concatenate([arrays["val"], arrays["ood"]])
    found = pipe.predict(rows)
    assert len(found) == len(rows)
    assert np.array_equal(found.scores, pipe.score(rows))
    assert np.array_equal(found.is_ood, found.scores > pipe.threshold)
    assert (~found.is_ood[: len(arrays["val"])]).mean() >= 0.9
    assert found.is_ood[len(arrays["val"]) :].mean() > 0.8
    classes = head.logits(torch.tensor(rows)).argmax(1).numpy()
    assert np.array_equal(found.classes, classes)
    assert found.names == [NAMES[number] for number in classes]
    assert found.nearest_names[0][0] == NAMES[found.nearest[0, 0]]
    record = found.records()[0]
    assert list(record)[:4] == ["verdict", "score", "class", "nearest_1"]
    text, page = repr(found), found._repr_html_()
    assert f"{int(found.is_ood.sum())} of {len(rows)} rows are OOD" in text
    assert f"… {len(rows) - 10} more rows" in text
    assert page.count("<tr>") == 11
    assert len(repr(pipe.predict(rows[:2])).splitlines()) == 4
    none = pipe.predict(np.zeros((0, DIM), np.float32))
    assert len(none) == 0
    assert "0 of 0 rows are OOD" in repr(none)


def test_same_kind_out(data):
    arrays, _ = data
    pipe = fitted(data, "energy")
    tensor = pipe.score(torch.tensor(arrays["ood"]))
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(pipe.predict(torch.tensor(arrays["ood"])).is_ood, torch.Tensor)
    assert np.array_equal(tensor, pipe.score(arrays["ood"]))
    assert np.array_equal(pipe.score(arrays["ood"].tolist()), pipe.score(arrays["ood"]))
    assert np.array_equal(pipe.score(arrays["ood"].astype(">f8")), pipe.score(arrays["ood"]))


def test_names_of_html_are_escaped(data):
    arrays, head = data
    pipe = ltood.Pipeline("energy", head=head, class_names=["<b>", "c", "d", "e"], device="cpu")
    pipe.fit(arrays["x"], arrays["y"]).set_threshold(arrays["val"])
    assert "<b>" not in pipe.predict(arrays["x"][:3])._repr_html_()


def test_without_a_head(data, tmp_path):
    arrays, head = data
    pipe = ltood.Pipeline(ltood.KNN(k=5), device="cpu").fit(arrays["x"], arrays["y"])
    expected = ltood.KNN(k=5).fit(arrays["x"], arrays["y"]).score(arrays["ood"])
    assert np.array_equal(pipe.score(arrays["ood"]), expected)
    means = np.stack([arrays["x"][arrays["y"] == c].mean(0) for c in range(len(COUNTS))])
    nearest = ((arrays["val"][:, None] - means) ** 2).sum(2).argmin(1)
    assert np.array_equal(pipe.set_threshold(arrays["val"]).predict(arrays["val"]).classes, nearest)
    assert pipe.predict(arrays["val"]).names[0] == str(nearest[0])
    pipe.save(tmp_path / "d.safetensors")
    assert np.array_equal(
        ltood.load(tmp_path / "d.safetensors").predict(arrays["val"]).classes, nearest
    )
    for name in ("msp", "react", "bin_disc", "himplos", "maxlogit"):
        with pytest.raises(MissingNeedError, match=rf"{name} needs .*head="):
            ltood.Pipeline(name, device="cpu").fit(arrays["x"], arrays["y"])
    imood = ltood.ImOOD(base="knn", scale=1.0)
    pipe = ltood.Pipeline(ltood.KNN(k=5), None, imood)
    with pytest.raises(MissingNeedError, match=r"normaliser imood needs .*head="):
        pipe.fit(arrays["x"], arrays["y"])
    with pytest.raises(MissingNeedError, match=r"logit_adjustment needs .*head="):
        ltood.Pipeline(ltood.KNN(k=5), "logit_adjustment").fit(arrays["x"], arrays["y"])
    with pytest.raises(MissingNeedError, match=r"calibrator patt needs .*aux="):
        ltood.Pipeline(ltood.KNN(k=5), "patt", head=head).fit(arrays["x"], arrays["y"])


def test_local_features():
    toy = make_toy()
    train = next(iter(toy.inputs.train.batches()))
    pipe = ltood.Pipeline("gl_mcm", head=toy.head, device="cpu")
    with pytest.raises(MissingNeedError, match="needs local features; give local="):
        pipe.fit(train.features, train.labels)
    pipe.fit(train.features, train.labels, local=train.local, aux=toy.ood_batch.features)
    batch = toy.id_batch
    expected = ltood.GLMCM().fit(toy.inputs).score(batch)
    torch.testing.assert_close(pipe.score(batch.features, local=batch.local), expected)
    with pytest.raises(MissingNeedError, match="local"):
        pipe.score(batch.features)


def test_memory_mapped_rows_of_any_length(data, tmp_path):
    arrays, _ = data
    pipe = fitted(data, "energy")
    rows = np.tile(arrays["ood"], (BATCH_ROWS // len(arrays["ood"]) + 3, 1))
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.array_equal(pipe.score(mapped), pipe.score(rows))
    rows[BATCH_ROWS + 5, 2] = np.nan
    with pytest.raises(DataError, match=f"rows {BATCH_ROWS + 5} hold NaN"):
        pipe.score(rows)
    fit_on_map = ltood.Pipeline("knn", device="cpu").fit(mapped, np.arange(len(mapped)) % 3)
    assert len(fit_on_map.detector.class_means) == 3


def test_rows_are_read_slice_by_slice(data):
    arrays, _ = data

    class OnDisk:
        shape, ndim, dtype = (3 * BATCH_ROWS, DIM), 2, np.dtype("float32")

        def __init__(self):
            self.asked = []

        def __len__(self):
            return self.shape[0]

        def __getitem__(self, part):
            self.asked.append((part.start, part.stop))
            return np.resize(arrays["ood"], (part.stop - part.start, DIM))

    rows = OnDisk()
    scores = fitted(data, "energy").score(rows)
    assert len(scores) == 3 * BATCH_ROWS
    assert rows.asked == [(i * BATCH_ROWS, (i + 1) * BATCH_ROWS) for i in range(3)]


def test_order_of_calls(data):
    arrays, head = data
    pipe = ltood.Pipeline("energy", head=head, device="cpu")
    with pytest.raises(NotFittedError, match=r"call fit\(features, labels\)"):
        pipe.score(arrays["ood"])
    pipe.fit(arrays["x"], arrays["y"])
    assert pipe.threshold is None
    for call in (lambda: pipe.predict(arrays["ood"]), lambda: pipe.save("d.safetensors")):
        with pytest.raises(NotFittedError, match="call set_threshold"):
            call()
    with pytest.raises(ConfigError, match="tpr is 95"):
        pipe.set_threshold(arrays["val"], tpr=95)
    pipe.set_threshold(arrays["val"])
    assert pipe.fit(arrays["x"], arrays["y"]).threshold is None


def test_given_objects_stay_as_they_are(data):
    arrays, _ = data
    method = ltood.KNN(k=5)
    pipe = fitted(data, method)
    assert not method.state()
    assert pipe.method is method
    expected = pipe.score(arrays["ood"])
    method.fit(arrays["ood"], np.zeros(len(arrays["ood"]), int))
    assert np.array_equal(pipe.score(arrays["ood"]), expected)


@pytest.mark.parametrize(
    ("slots", "match"),
    [
        (("ract",), "Did you mean react"),
        (("knn", "pat"), "No calibrator 'pat'"),
        (("knn", None, "imod"), "No normaliser 'imod'"),
        ((3,), "method is 3"),
        (("knn", 3), "calibrator is 3"),
        (("knn", None, 3), "normaliser is 3"),
        ((ltood.PATT(),), "give a method"),
        (("knn", None, "imood"), "^ImOOD: scale is auto"),
        (("knn", None, ltood.ImOOD(base="energy")), "base='knn'"),
    ],
)
def test_slots_that_do_not_fit(slots, match):
    with pytest.raises(ConfigError, match=match):
        ltood.Pipeline(*slots)


def test_bad_arrays(data):
    arrays, head = data
    x, y = arrays["x"], arrays["y"]
    pipe = ltood.Pipeline("energy", head=head, device="cpu")
    bad = x.copy()
    bad[7, 3] = np.inf
    for rows, labels, match in [
        (bad, y, "train features hold NaN or infinity in row 7"),
        (x.astype(np.float64) * 1e200, y, "NaN or infinity in row 0"),
        (x[:, :5], y, f"5 columns but {DIM}"),
        (x, y[:-1], "one per row"),
        (x, y + 1, "labels of ID rows are 0 to 3"),
        (x, None, "train has no labels"),
        (x, y.astype(float), "whole numbers"),
        (x[0], y, r"must be \[N, D\]"),
        (x[:0], y[:0], "no rows"),
    ]:
        with pytest.raises(DataError, match=match):
            pipe.fit(rows, labels)
    with pytest.raises(DataError, match="aux features have 5 columns"):
        pipe.fit(x, y, aux=x[:, :5])
    with pytest.raises(DataError, match="3 class names but 4 classes"):
        ltood.Pipeline("energy", head=head, class_names=["a", "b", "c"]).fit(x, y)
    with pytest.raises(DataError, match="class names are 'abcd'"):
        ltood.Pipeline("energy", head=head, class_names="abcd").fit(x, y)
    with pytest.raises(ConfigError, match=r"^KNN: k is 50 but there are only 9"):
        ltood.Pipeline("knn").fit(x[:9], y[:9])
    with pytest.raises(DataError, match="2 class counts but 4 classes"):
        pipe.fit(x, y, prior=[3, 4])
    assert fitted(data, "energy").detector.description["class_counts"] == list(COUNTS)


def test_params_clone_and_copies(data, tmp_path):
    arrays, _ = data
    pipe = fitted(data, ltood.KNN(k=5), "patt")
    expected = pipe.score(arrays["ood"])
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    twins = (
        copy.deepcopy(pipe),
        pickle.loads(pickle.dumps(pipe)),
        joblib.load(tmp_path / "pipe.joblib"),
    )
    for twin in twins:
        assert np.array_equal(twin.score(arrays["ood"]), expected)
        assert twin.threshold == pipe.threshold
    twin = clone(pipe)
    with pytest.raises(NotFittedError):
        twin.score(arrays["ood"])
    assert twin.get_params()["method__k"] == 5
    twin.fit(arrays["x"], arrays["y"], aux=arrays["aux"])
    assert np.array_equal(twin.score(arrays["ood"]), expected)
    twin.set_params(method__k=9, calibrator=None)
    assert repr(twin.method).startswith("KNN(k=9, normalise=True, ")
    assert pipe.method.config.k == 5
    with pytest.raises(NotFittedError):
        twin.score(arrays["ood"])
    assert ltood.Pipeline("knn").set_params(method__k=3).method.config.k == 3
    with pytest.raises(ConfigError, match="normaliser is None"):
        pipe.set_params(normaliser__tau=1)
    with pytest.raises(ConfigError, match="has no 'methods'"):
        pipe.set_params(methods="knn")
    assert repr(pipe).startswith("Pipeline(KNN(k=5, normalise=True, ")
    assert ", calibrator='patt', threshold=" in repr(pipe)


def test_own_methods_work_but_are_not_saved(data, tmp_path):
    class Config(ltood.MSP.Config):
        pass

    class Norm(ltood.core.slots.Method[Config]):
        arrays = ("features",)

        def _score(self, batch):
            return batch.features.norm(dim=1)

    arrays, _ = data
    pipe = ltood.Pipeline(Norm(), device="cpu").fit(arrays["x"], arrays["y"])
    np.testing.assert_allclose(
        pipe.score(arrays["ood"]), np.linalg.norm(arrays["ood"], axis=1), rtol=1e-6
    )
    pipe.set_threshold(arrays["val"])
    with pytest.raises(ConfigError, match="not an entry of ltood"):
        pipe.save(tmp_path / "d.safetensors")


def test_opened_features_in_memory(data):
    from ltood.library.columns import Column
    from ltood.library.features import Features, Split

    arrays, head = data
    columns = {
        "features": Column.of("features of train", arrays["x"]),
        "labels": Column.of("labels of train", arrays["y"]),
    }
    kept = {key: value.numpy() for key, value in head.arrays().items()}
    opened = Features({"train": Split("train", columns)}, kept, NAMES, np.array(COUNTS))
    pipe = ltood.Pipeline("energy", device="cpu").fit(opened)
    assert pipe.detector.class_names == NAMES
    assert np.array_equal(pipe.score(arrays["ood"]), fitted(data, "energy").score(arrays["ood"]))
    column = Column.of("features of ood", arrays["ood"])
    assert np.array_equal(pipe.score(column), pipe.score(arrays["ood"]))
    with pytest.raises(DataError, match="give nothing else"):
        ltood.Pipeline("energy", head=head).fit(opened)


class Watching(ltood.Energy):
    """Needs held-out rows, and keeps what it was given of them."""

    needs = frozenset({Need.VAL})
    seen: tuple[torch.Tensor, ...] = ()

    def _fit(self, inputs):
        rows = list(inputs.require_val().batches(arrays=("features", "logits", "labels", "local")))
        names = ("features", "labels", "local", "logits")
        type(self).seen = tuple(torch.cat([row.arrays[name] for row in rows]) for name in names)
        return self


def test_held_out_rows_reach_the_method_that_needs_them(data, toy):
    arrays, head = data
    pipe = ltood.Pipeline(Watching(), head=head, device="cpu")
    with pytest.raises(MissingNeedError, match="give val="):
        pipe.fit(arrays["x"], arrays["y"])
    with pytest.raises(DataError, match="val=, which is missing"):
        pipe.fit(arrays["x"], arrays["y"], val_labels=arrays["val_y"])
    val, local = toy.id_batch.features, toy.id_batch.local
    train = next(iter(toy.inputs.train.batches()))
    pipe.fit(
        *(train.features, train.labels),
        **{"local": train.local, "val": val, "val_labels": arrays["val_y"], "val_local": local},
    )
    given = (val, torch.tensor(arrays["val_y"]), local, head.logits(val))
    for seen, expected in zip(Watching.seen, given, strict=True):
        torch.testing.assert_close(seen, expected)
    with pytest.raises(DataError, match="val holds the label 4"):
        pipe.fit(arrays["x"], arrays["y"], val=val[:1], val_labels=[4])
