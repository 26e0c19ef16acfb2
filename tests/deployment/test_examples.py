"""Training images that a detector brings along."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import DIM
from hypothesis import given
from hypothesis import strategies as st

import ltood
from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError
from ltood.deployment.examples import Examples, choose_examples, gather_examples
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import load_detector, save_detector
from ltood.deployment.predicting import predict_files
from ltood.deployment.verdicts import COLUMNS, IMAGE_COLUMNS, columns_of

counts_of = st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any)


@given(counts_of, st.integers(1, 60), st.randoms())
def test_every_class_gets_its_share(counts, most, random):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = list(range(len(labels)))
    random.shuffle(order)
    labels, ids = labels[order], np.arange(len(labels))[order] * 3
    rows = choose_examples(ids, labels, most)
    kept = np.bincount(labels[rows], minlength=len(counts))
    assert len(set(rows.tolist())) == len(rows) == min(most, len(labels))
    assert sorted(rows.tolist()) == rows.tolist()
    # No class has less than another, unless all of it is kept; by one, what is left over.
    fullest = kept.max()
    assert all(k == c or k >= fullest - 1 for k, c in zip(kept, counts, strict=True))
    # The same images in whatever order they come.
    again = np.argsort(ids)
    chosen = choose_examples(ids[again], labels[again], most)
    assert set(ids[again][chosen].tolist()) == set(ids[rows].tolist())


def brute(queries, bank):
    unit = lambda rows: rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)  # noqa: E731
    return unit(queries.astype(np.float64)) @ unit(bank.astype(np.float64)).T


def made(rows=50, paths=None):
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(rows, DIM)), dtype=torch.float32)
    ids, labels = torch.arange(rows) + 7, torch.arange(rows) % 4
    batches = [(features[s : s + 16], ids[s : s + 16], labels[s : s + 16]) for s in (0, 16, 32, 48)]
    return features, batches


def test_the_nearest_are_those_of_a_loop():
    features, batches = made()
    kept = np.array([0, 3, 15, 16, 40, 49])
    held = gather_examples(batches, kept, lambda ids: [f"{number}.png" for number in ids])
    assert held.ids.tolist() == (kept + 7).tolist()
    assert held.labels.tolist() == (kept % 4).tolist()
    assert held.paths == tuple(f"{number + 7}.png" for number in kept)
    queries = torch.randn(30, DIM, generator=torch.Generator().manual_seed(0)) * 5
    found, cosines = held.nearest(queries)
    wanted = brute(queries.numpy(), features[kept].numpy())
    for row, near, close in zip(wanted, found, cosines, strict=True):
        best = sorted(range(len(kept)), key=lambda n: -row[n])[:3]
        assert near.tolist() == best
        np.testing.assert_allclose(close, row[best], atol=1e-3)


def test_an_image_is_nearest_to_itself():
    features, batches = made()
    held = gather_examples(batches, np.arange(50), None)
    found, cosines = held.nearest(features)
    assert found[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-5)
    assert set(held.paths) == {None}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_images_and_no_direction(rows):
    held = Examples(
        torch.eye(3, DIM)[:rows].half(),
        torch.arange(rows),
        torch.zeros(rows).long(),
        (None,) * rows,
    )
    found, cosines = held.nearest(torch.zeros(2, DIM))
    assert found.shape == cosines.shape == (2, rows)
    assert (cosines == 0).all()


@given(st.lists(st.one_of(st.none(), st.text(min_size=1)), min_size=1, max_size=5))
def test_paths_come_back(paths):
    """All names a file may have: no zero bytes, and bytes that are not UTF-8."""
    paths = [None if path is None else path.replace("\0", "") or None for path in paths]
    paths = [None if p is None else p.encode("utf-8", "ignore").decode() + "\udcff" for p in paths]
    num = len(paths)
    held = Examples(torch.ones(num, 2).half(), torch.arange(num), torch.arange(num), tuple(paths))
    tensors = {name: tensor.clone() for name, tensor in held.tensors().items()}
    again = Examples.restore(tensors)
    assert again.paths == held.paths
    assert torch.equal(again.features, held.features)


def test_verdicts_name_them(detector, rows):
    features, batches = made(40)
    held = gather_examples(batches[:3], np.arange(40), None)
    seen = dataclasses.replace(detector, examples=held)
    found = seen.predict(rows)
    assert found.examples.shape == found.example_similarities.shape == (len(rows), 3)
    wanted = brute(rows, features[:40].numpy()).argmax(axis=1)
    assert found.examples[:, 0].tolist() == wanted.tolist()
    assert torch.equal(found.scores, detector.predict(rows).scores)
    assert detector.predict(rows).examples is None


@pytest.mark.parametrize("calibrator", ["none", "patt"])
def test_a_saved_detector_brings_them_along(calibrator, store, folder, rows, tmp_path):
    found = fit_detector(
        store,
        EntrySpec("knn", {"k": 1}),
        EntrySpec(calibrator),
        examples=20,
        paths=lambda ids: [f"cat/{number}.png" for number in ids],
        device="cpu",
    )
    save_detector(tmp_path / "d.json", found)
    loaded = load_detector(tmp_path / "d.json", "cpu")
    assert loaded.description["examples"] == {
        "rows": 20,
        "of": len(store.split("train")),
        "paths": 20,
    }
    for seen in (found.predict(rows), loaded.predict(rows)):
        assert torch.equal(seen.examples, loaded.predict(rows).examples)
    with np.load(folder / "train.npz") as archive:
        train, labels = archive["features"], archive["labels"]
    held = loaded.examples
    assert torch.equal(held.labels, torch.tensor(labels)[held.ids])
    # Of training rows that it holds, each is nearest to itself, calibrated or not.
    near = loaded.predict(train[held.ids.numpy()])
    np.testing.assert_allclose(near.example_similarities[:, 0], 1, atol=1e-5)
    np.savez(tmp_path / "new.npz", features=train[held.ids.numpy()])
    for row, number in zip(predict_files(loaded, [tmp_path / "new.npz"]), held.ids, strict=True):
        assert row.images[0].path == f"cat/{int(number)}.png"
        assert row.values()["image_1"] == row.record()["images"][0]["path"]
        assert row.images[0].class_name == loaded.class_names[labels[int(number)]]
    named = ltood.load(tmp_path / "d.json", device="cpu").predict(train[held.ids.numpy()])
    assert [row[0] for row in named.nearest_images] == [f"cat/{int(i)}.png" for i in held.ids]
    assert columns_of(loaded) == (*COLUMNS, *IMAGE_COLUMNS)
    with pytest.raises(ConfigError, match="examples is -1"):
        fit_detector(store, EntrySpec("energy"), examples=-1, device="cpu")
