"""What scientific Python expects of every method, calibrator and normaliser."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from conftest import make_toy
from sklearn.base import clone

import ltood
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError, NotFittedError
from ltood.core.extras import EXTRAS
from ltood.core.inputs import Need
from ltood.core.registry import available, constant, load
from ltood.core.settings import to_section

ENTRIES = [
    (package, name)
    for package in ("methods", "calibrators", "normalisers")
    for name in available(package)
]


def build(package: str, name: str) -> Entry:
    base = {"base": "energy"} if package == "normalisers" else {}
    return load(package, name).Entry(**base)


@pytest.mark.parametrize(("package", "name"), ENTRIES)
def test_params_and_clones(package, name):
    entry = build(package, name)
    params = entry.get_params()
    assert params.keys() - {"base"} == {*to_section(entry.config)}
    twin = clone(entry)
    assert type(twin) is type(entry)
    assert twin is not entry
    assert twin.get_params() == params
    assert entry.set_params() is entry
    assert entry.set_params(**params).get_params() == params
    with pytest.raises(ConfigError, match="has no key 'kk'"):
        entry.set_params(kk=1)
    assert entry.get_params() == params


#: Settings that suit a small toy and little time.
SETTINGS = {"knn": {"k": 5}, "auto": {"candidates": ("energy", "mahalanobis"), "draws": 2}}


def forms(rows: np.ndarray) -> dict[str, object]:
    """The same numbers in every form; all are exact in float16."""
    wide = np.zeros((2 * len(rows), rows.shape[1] + 3), rows.dtype)
    wide[::2, 1:-2] = rows
    frozen = rows.copy()
    frozen.flags.writeable = False
    return {
        "float16": rows.astype(np.float16),
        "float64": rows.astype(np.float64),
        "big endian": rows.astype(">f4"),
        "list": rows.tolist(),
        "list of tensors": list(torch.tensor(rows)),
        "not contiguous": wide[::2, 1:-2],
        "backwards": rows[::-1].copy()[::-1],
        "Fortran": np.asfortranarray(rows),
        "read-only": frozen,
        "tensor": torch.tensor(rows),
        "half tensor": torch.tensor(rows).half(),
        "with gradients": torch.tensor(rows, requires_grad=True),
    }


#: Extra arrays of every kind are given in tests/methods/test_contract.py.
PLAIN = [name for name in available("methods") if not constant("methods", name, EXTRAS)]


@pytest.mark.parametrize("name", PLAIN)
def test_arrays_of_every_form(name):
    toy = make_toy()
    train, batch = next(iter(toy.inputs.train.batches())), toy.id_batch

    def exact(rows):
        return (rows * 64).round().div(64).numpy()

    learned, rows = exact(train.features), exact(batch.features)
    local = {}
    method = load("methods", name).Entry(**SETTINGS.get(name, {}))
    if "local" in method.arrays:
        local = {"local": exact(batch.local)}
    labels, outliers = train.labels.numpy(), exact(toy.ood_batch.features)
    held_out, val_labels = {}, {}
    if Need.VAL in method.needs:
        val = next(iter(toy.inputs.val.batches()))
        held_out, val_labels = {"val": exact(val.features)}, {"val_labels": val.labels.tolist()}
    method.fit(learned, labels, head=toy.head, aux=outliers, **held_out, **val_labels)
    expected = method.score(rows, **local)
    for form in forms(rows):
        twin = clone(method)
        aux = forms(outliers)[form]
        val = {key: forms(held)[form] for key, held in held_out.items()}
        twin.fit(forms(learned)[form], labels.tolist(), head=toy.head, aux=aux, **val, **val_labels)
        scores = twin.score(forms(rows)[form], **local)
        assert isinstance(scores, torch.Tensor if "tensor" in form[-6:] else object)
        np.testing.assert_array_equal(np.asarray(scores), expected, err_msg=form)


@pytest.mark.parametrize("name", available("methods"))
def test_copies_of_fitted_methods(name, tmp_path):
    toy = make_toy()
    method = load("methods", name).Entry(**SETTINGS.get(name, {})).fit(toy.inputs)
    expected = method.score(toy.id_batch)
    joblib.dump(method, tmp_path / "method.joblib")
    twins = (
        copy.deepcopy(method),
        pickle.loads(pickle.dumps(method)),
        joblib.load(tmp_path / "method.joblib"),
    )
    for twin in twins:
        assert torch.equal(twin.score(toy.id_batch), expected)
        assert repr(twin) == repr(method)
    assert not clone(method).state()
    if method.state():
        with pytest.raises(NotFittedError):
            method.set_params(**method.get_params()).score(toy.id_batch)


def test_changed_settings_count(toy):
    knn = ltood.KNN(k=3).fit(toy.inputs)
    knn.set_params(k=7).fit(toy.inputs)
    assert torch.equal(knn.score(toy.id_batch), ltood.KNN(k=7).fit(toy.inputs).score(toy.id_batch))


def test_what_settings_narrow_is_derived_anew():
    imood = ltood.ImOOD(base="energy", detector="stored")
    assert imood.set_params(detector="score").needs == ltood.ImOOD(base="energy").needs
    assert ltood.ImOOD(base="energy", gamma=(1.0, 2.0)).get_params()["gamma"] == (1.0, 2.0)
    assert clone(ltood.ImOOD(base="energy", gamma=(1.0, 2.0))).config.gamma == (1.0, 2.0)


def test_messages_speak_of_the_class():
    x, y = np.eye(6, 4, dtype=np.float32), [0, 1, 0, 1, 0, 1]
    with pytest.raises(ConfigError, match=r"^KNN: k is 50 but there are only 6 training rows"):
        ltood.KNN().fit(x, y)
    with pytest.raises(ConfigError, match=r"^NNGuide: k is .* raise fraction|^NNGuide: k is"):
        ltood.NNGuide(k=10, fraction=1.0).fit(x, y, head=(np.eye(2, 4), None))
    with pytest.raises(ConfigError, match=r"^ImOOD: scale is auto"):
        ltood.ImOOD(base="knn")
    with pytest.raises(ConfigError, match=r"^ImOOD: gamma has 3 values for 2 classes"):
        ltood.ImOOD(base="energy", gamma=(1.0, 1.0, 1.0)).fit(x, y)
