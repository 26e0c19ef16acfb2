"""Deployed detectors: the same scores as the pipeline, through files, archives and images."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COUNTS, DIM, make_toy
from PIL import Image
from torch.nn.functional import normalize

import ltood
from ltood.core.errors import (
    ConfigError,
    CorruptStoreError,
    DataError,
    LtoodError,
    MissingNeedError,
    StoreError,
    UnknownNameError,
)
from ltood.core.head import ClassifierHead
from ltood.core.registry import available
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.exporting import choose_threshold_split, fit_detector, threshold_at
from ltood.deployment.files import load_detector, save_detector
from ltood.deployment.images import Embedder, fit_image, fit_pixels, read_image
from ltood.deployment.output import write_file, write_rows
from ltood.deployment.predicting import predict_files
from ltood.deployment.verdicts import COLUMNS, BadInputs
from ltood.images.decoding import decode_image
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.runtime.provenance import digest
from ltood.scoring.run import score_store
from ltood.scoring.slots import EntrySpec
from ltood.store.exchange import import_folder

#: Methods steeper than one, whose scores amplify the rounding of logits that are computed for
#: other numbers of rows at once: here a Weibull distribution of shape 66.
STEEP = {"openmax": 5e-4}

NAMES = [str(number) for number in range(len(COUNTS))]


def write_folder(folder: Path, *, val: bool = True) -> None:
    """The toy data of all tests as archives to import."""
    toy = make_toy()
    head = {
        field.name: value.numpy()
        for field in dataclasses.fields(toy.head)
        if (value := getattr(toy.head, field.name)) is not None
    }
    np.savez(folder / "head.npz", **head, class_counts=np.array(COUNTS))
    (train,) = toy.inputs.require_train().batches()
    (aux,) = toy.inputs.require_aux().batches()
    parts = {"train": train, "aux": aux, "test": toy.id_batch, "ood_far": toy.ood_batch}
    if val:
        parts["val"] = toy.id_batch
    for name, batch in parts.items():
        arrays = {"features": batch.features.numpy(), "local": batch.local.numpy()}
        if name in ("train", "val", "test"):
            arrays["labels"] = batch.labels.numpy()
        np.savez(folder / f"{name}.npz", **arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays")
    write_folder(path)
    return path


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    return import_folder(folder, tmp_path_factory.mktemp("store") / "features.zarr")


@pytest.fixture(scope="module")
def detector(store):
    return fit_detector(store, EntrySpec("energy"), tpr=0.9, device="cpu")


@pytest.fixture
def saved(detector, tmp_path):
    save_detector(tmp_path / "d.safetensors", detector)
    return tmp_path / "d.safetensors"


@pytest.fixture
def rows(folder):
    with np.load(folder / "test.npz") as archive:
        return archive["features"]


def edit(saved: Path, **changes: object) -> Path:
    sidecar = saved.with_suffix(".json")
    content = {**json.loads(sidecar.read_text()), **changes}
    content.pop("description_sha256")
    sidecar.write_text(json.dumps({**content, "description_sha256": digest(content)}))
    return saved


# --- the same scores as the pipeline -----------------------------------------------------------


def check_against_pipeline(store, folder, tmp_path, method, calibrator, normaliser):
    slots = (EntrySpec(method), EntrySpec(calibrator), normaliser)
    wanted = score_store(store, tmp_path / "scores", *slots, device="cpu")
    save_detector(tmp_path / "d.safetensors", fit_detector(store, *slots, device="cpu"))
    loaded = load_detector(tmp_path / "d.json", "cpu")
    assert loaded.description["method"] == wanted.attributes["method"]
    assert loaded.description["normaliser"] == wanted.attributes["normaliser"]
    for split in ("test", "ood_far"):
        with np.load(folder / f"{split}.npz") as archive:
            found = loaded.predict(archive["features"], local=archive["local"])
        expected = wanted.split(split)
        close = STEEP.get(method, 2e-5)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=close, atol=close)
        assert found.classes.tolist() == list(expected.predictions)


@pytest.mark.parametrize("method", available("methods"))
def test_every_method_scores_as_in_the_pipeline(method, store, folder, tmp_path):
    check_against_pipeline(store, folder, tmp_path, method, "none", EntrySpec("none"))


@pytest.mark.parametrize("calibrator", available("calibrators"))
@pytest.mark.parametrize("normaliser", available("normalisers"))
def test_every_slot_scores_as_in_the_pipeline(calibrator, normaliser, store, folder, tmp_path):
    settings = {"scale": 0.5} if normaliser == "imood" else {}
    check_against_pipeline(
        store, folder, tmp_path, "react", calibrator, EntrySpec(normaliser, settings)
    )


def test_patches_are_calibrated_as_in_the_pipeline(store, folder, tmp_path):
    check_against_pipeline(store, folder, tmp_path, "l_mcm", "patt", EntrySpec("none"))


def test_batch_and_single_rows_agree(detector, rows):
    whole = detector.score(rows)
    assert whole.dtype == torch.float32
    single = torch.cat([detector.score(row) for row in torch.tensor(rows)])
    torch.testing.assert_close(single, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(detector.score(rows.astype(np.float16)), whole, rtol=1e-2, atol=2e-2)
    torch.testing.assert_close(detector.score(rows.astype(">f8")), whole)
    assert len(detector.predict(rows[:0])) == 0


def test_many_rows_pass_in_batches(detector, rows, monkeypatch):
    whole = detector.predict(rows)
    monkeypatch.setattr("ltood.deployment.detector.BATCH_ROWS", 7)
    parts = detector.predict(rows)
    torch.testing.assert_close(parts.scores, whole.scores)
    assert torch.equal(parts.nearest, whole.nearest)


def test_scoring_only_scores(detector, rows, monkeypatch):
    wanted = detector.predict(rows).scores
    monkeypatch.setattr(DeployedDetector, "_nearest", lambda *given: pytest.fail("called"))
    assert torch.equal(detector.score(rows), wanted)


def test_logits_are_made_for_who_reads_them(store, rows, monkeypatch):
    knn = fit_detector(store, EntrySpec("knn", {"k": 3}), device="cpu")
    wanted = knn.predict(rows)
    monkeypatch.setattr(ClassifierHead, "logits", lambda *given: pytest.fail("called"))
    assert torch.equal(knn.score(rows), wanted.scores)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_nearest_classes_are_in_class_order_where_they_are_equal(detector, rng, classes):
    # Cosines of few values: equal ones stand among the nearest and at their end.
    means = torch.eye(4)[torch.tensor(rng.integers(0, 4, classes))]
    counts = torch.ones(classes, dtype=torch.int64)
    counts[1] = 0
    seen = dataclasses.replace(detector, class_means=means, class_rows=counts)
    features = torch.tensor(rng.integers(0, 3, (200, 4))).float()
    found, similarities = seen._nearest(features)
    cosines = normalize(features, dim=1) @ normalize(means, dim=1).T
    for row, values in enumerate(cosines.tolist()):
        order = sorted((-value, place) for place, value in enumerate(values) if counts[place])[:3]
        assert found[row].tolist() == [place for _, place in order]
        assert similarities[row].tolist() == pytest.approx([-value for value, _ in order])


def test_input_is_left_unchanged(detector, rows):
    before = rows.copy()
    detector.predict(rows)
    np.testing.assert_array_equal(rows, before)


def test_nearest_classes_against_a_loop(detector, folder, rows):
    with np.load(folder / "train.npz") as train:
        features, labels = train["features"].astype(np.float64), train["labels"]
    found = detector.predict(rows)
    for row, nearest, cosines in zip(rows, found.nearest, found.similarities, strict=True):
        ranked = []
        for label in range(len(COUNTS)):
            mean = sum(features[labels == label]) / (labels == label).sum()
            cosine = sum(mean * row) / math.sqrt(sum(mean * mean)) / math.sqrt(sum(row * row))
            ranked.append((-cosine, label))
        ranked.sort()
        assert nearest.tolist() == [label for _, label in ranked[:3]]
        np.testing.assert_allclose(cosines, [-cosine for cosine, _ in ranked[:3]], atol=1e-6)


def test_a_class_without_rows_is_nobodys_neighbour(detector, rows):
    counts = torch.tensor([60, 0, 15, 0])
    found = dataclasses.replace(detector, class_rows=counts).predict(rows)
    assert found.nearest.shape == (len(rows), 2)
    assert set(found.nearest.flatten().tolist()) == {0, 2}


def test_zero_features_have_neighbours_in_class_order(detector):
    found = detector.predict(torch.zeros(2, DIM))
    assert found.nearest.tolist() == [[0, 1, 2]] * 2
    assert torch.isfinite(found.scores).all()


# --- threshold ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tpr", "wanted"), [(0.95, 18.0), (0.951, 19.0), (1.0, 19.0), (0.05, 0.0), (1e-6, 0.0)]
)
def test_threshold_accepts_at_least_the_share(tpr, wanted):
    scores = np.random.default_rng(0).permutation(np.arange(20.0))
    assert threshold_at(scores, tpr) == wanted


def test_threshold_against_a_loop(rng):
    scores = rng.integers(0, 30, size=137).astype(np.float32)
    for percent in range(1, 101):
        fine = [s for s in scores if sum(scores <= s) * 100 >= percent * len(scores)]
        assert threshold_at(scores, percent / 100) == min(fine)


def test_threshold_and_verdict(detector, rows):
    recorded = detector.description["threshold"]
    found = detector.predict(rows)
    # Split val holds the rows of split test here.
    assert recorded["split"] == "val"
    assert recorded["accepted"] == float((~found.is_ood).double().mean())
    assert recorded["accepted"] >= recorded["tpr"] == 0.9
    assert detector.threshold in found.scores.tolist()
    assert torch.equal(found.is_ood, found.scores > detector.threshold)


@pytest.mark.parametrize("tpr", [0.0, -1.0, 1.01, math.nan])
def test_tpr_out_of_range(tpr, store):
    with pytest.raises(ConfigError, match="it is the share of ID rows to accept"):
        fit_detector(store, EntrySpec("energy"), tpr=tpr, device="cpu")


@pytest.mark.parametrize("scores", [[], [1.0, math.nan]])
def test_threshold_needs_scores(scores):
    with pytest.raises(DataError, match="a threshold needs finite scores of ID rows"):
        threshold_at(scores, 0.95)


def test_split_of_the_threshold(store, tmp_path):
    assert choose_threshold_split(store, None) == "val"
    assert choose_threshold_split(store, "test") == "test"
    for wrong in ("ood_far", "aux", "valid"):
        with pytest.raises(StoreError, match="ID splits are train, val, test"):
            choose_threshold_split(store, wrong)
    (tmp_path / "arrays").mkdir()
    write_folder(tmp_path / "arrays", val=False)
    without = import_folder(tmp_path / "arrays", tmp_path / "without.zarr")
    with pytest.raises(StoreError, match=r"no split val .* --threshold-split test"):
        fit_detector(without, EntrySpec("energy"), device="cpu")
    named = fit_detector(without, EntrySpec("energy"), threshold_split="test", device="cpu")
    assert named.description["threshold"]["split"] == "test"


def test_training_rows_are_needed(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train.npz").unlink()
    store = import_folder(tmp_path, tmp_path / "f.zarr")
    with pytest.raises(StoreError, match="has no split train"):
        fit_detector(store, EntrySpec("energy"), device="cpu")


# --- wrong rows --------------------------------------------------------------------------------


def test_wrong_rows(detector, rows):
    with pytest.raises(DataError, match=f"5 columns but the detector was fitted on {DIM}"):
        detector.score(rows[:, :5])
    with pytest.raises(DataError, match=r"shape \[2, 3, 4\]; they must be \[N, D\]"):
        detector.score(torch.zeros(2, 3, 4))
    with pytest.raises(DataError, match="features are object; they must be numbers"):
        detector.score(np.array([[None] * DIM]))
    bad = rows.copy()
    bad[[3, 5, 6, 7, 8, 9], 2] = np.nan
    with pytest.raises(DataError, match=r"rows 3, 5, 6, 7, 8, … hold NaN .*\(6 such rows\)"):
        detector.score(bad)


def test_scores_that_overflow(detector):
    with pytest.raises(LtoodError, match="method energy gave 1 scores that are not finite"):
        detector.score(torch.full((1, DIM), 3e38))


@pytest.fixture
def local_detector(detector, monkeypatch):
    """A detector whose method reads local features."""

    class Reader(type(detector.method)):
        arrays = ("local",)

        def _score(self, batch):
            return batch.local.mean(dim=(1, 2))

    return dataclasses.replace(detector, method=Reader())


def test_local_features(local_detector, rows):
    local = np.stack([rows, rows], axis=1)
    torch.testing.assert_close(
        local_detector.score(rows, local=local), torch.tensor(rows.mean(axis=1))
    )
    torch.testing.assert_close(
        local_detector.score(rows[0], local=local[0]), torch.tensor(rows[:1].mean(axis=1))
    )
    with pytest.raises(MissingNeedError, match="reads local features, and none were given"):
        local_detector.score(rows)
    with pytest.raises(DataError, match=r"local features have shape .* for 40 rows"):
        local_detector.score(rows, local=local[:3])


# --- files -------------------------------------------------------------------------------------


def test_saving_twice_gives_equal_bytes(detector, saved, tmp_path):
    save_detector(tmp_path / "twin.json", load_detector(saved, "cpu"))
    for suffix in (".safetensors", ".json"):
        assert saved.with_suffix(suffix).read_bytes() == (tmp_path / f"twin{suffix}").read_bytes()


def test_public_loader(saved, detector, rows):
    assert torch.equal(ltood.load_detector(saved, "cpu").score(rows), detector.score(rows))


def test_import_is_quick():
    code = (
        "import ltood, sys; assert not {'torch', 'numpy'} & sys.modules.keys(); ltood.load_detector"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sidecar_says_everything(saved, store):
    said = json.loads(saved.with_suffix(".json").read_text())
    assert said["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert said["provenance"] == store.provenance
    assert said["features_fingerprint"] == store.fingerprint
    assert said["class_counts"] == list(COUNTS)
    assert said["versions"]["ltood"] == ltood.__version__
    assert said["threshold"]["rule"] == "a row is ID where score <= value, else OOD"
    assert said["preprocessing"] is None


def test_existing_files(saved, detector):
    with pytest.raises(StoreError, match="exists already; pass --overwrite"):
        save_detector(saved, detector)
    save_detector(saved, detector, overwrite=True)


def test_other_endings(detector, tmp_path):
    with pytest.raises(StoreError, match=r"name it <name>.safetensors"):
        save_detector(tmp_path / "d.pt", detector)


def test_unwritable_path(detector, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*choose another path"):
        save_detector(tmp_path / "file" / "d.safetensors", detector)


def test_missing_files(saved, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.json does not exist; a detector is"):
        load_detector(tmp_path / "nowhere.safetensors")
    saved.unlink()
    with pytest.raises(StoreError, match="does not exist; copy it next to its description"):
        load_detector(saved)


def test_changed_tensors(saved):
    raw = bytearray(saved.read_bytes())
    raw[-1] ^= 1
    saved.write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="one of the two files was changed or replaced"):
        load_detector(saved, "cpu")


def test_tensors_that_are_none(saved):
    saved.write_bytes(b"x" * 40)
    edit(saved, sha256=hashlib.sha256(b"x" * 40).hexdigest())
    with pytest.raises(CorruptStoreError, match=r"d.safetensors is unreadable"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize("value", ["0.25", "1e999"])
def test_a_threshold_changed_by_hand_is_refused(value, saved):
    sidecar = saved.with_suffix(".json")
    written = json.dumps(json.loads(sidecar.read_text())["threshold"]["value"])
    sidecar.write_text(sidecar.read_text().replace(written, value))
    with pytest.raises(CorruptStoreError, match=r"was changed after it was written .*--threshold"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "ltood detector", "schema": 1}'])
def test_unreadable_description(text, saved):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(CorruptStoreError, match="not a readable description"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "zoo"}, StoreError, "describes a 'zoo', not a detector"),
        ({"schema": 99}, StoreError, "has schema 99, this version reads 1; .* use ltood 0"),
        ({"threshold": {"value": "high"}}, CorruptStoreError, "must be a finite number"),
        ({"threshold": {}}, CorruptStoreError, "lacks an entry"),
        ({"method": None}, CorruptStoreError, "lacks an entry"),
        ({"class_names": ["cat"]}, CorruptStoreError, "names 1 classes but the head has 4"),
        ({"method": {"name": "enrgy", "settings": {}}}, UnknownNameError, "No method 'enrgy'"),
        ({"method": {"name": "energy", "settings": {"t": 1}}}, ConfigError, "has no key 't'"),
    ],
)
def test_descriptions_that_do_not_fit(changes, error, message, saved):
    with pytest.raises(error, match=message):
        load_detector(edit(saved, **changes), "cpu")


# --- archives ----------------------------------------------------------------------------------


def test_archive_of_features(detector, folder, rows, tmp_path):
    found = list(predict_files(detector, [folder / "test.npz"]))
    whole = detector.predict(rows)
    assert [row.score for row in found] == whole.scores.tolist()
    assert [row.verdict == "OOD" for row in found] == whole.is_ood.tolist()
    assert [row.class_name for row in found] == [NAMES[label] for label in whole.classes]
    assert [row.nearest[0][0] for row in found] == [NAMES[label] for label in whole.nearest[:, 0]]
    assert [row.id for row in found] == list(range(40))
    np.savez(tmp_path / "two.npz", features=rows[:2], ids=np.array([7, 5]))
    twice = list(predict_files(detector, [tmp_path / "two.npz"] * 2))
    assert [row.id for row in twice] == [7, 5, 7, 5]


def test_bad_rows_of_an_archive(detector, rows, tmp_path, capsys):
    bad = rows.astype(np.float64)
    bad[1], bad[4] = np.inf, 1e39  # The latter is beyond float32.
    np.savez(tmp_path / "bad.npz", features=bad)
    with pytest.raises(DataError, match=r"bad.npz: features of rows 1, 4 hold NaN"):
        list(predict_files(detector, [tmp_path / "bad.npz"]))
    skipping = BadInputs(skip=True)
    found = list(predict_files(detector, [tmp_path / "bad.npz"], bad=skipping))
    assert [row.id for row in found] == [n for n in range(40) if n not in (1, 4)]
    assert skipping.count == 2
    assert "skipped: " in capsys.readouterr().err
    np.savez(tmp_path / "all.npz", features=np.full((3, DIM), np.nan))
    assert list(predict_files(detector, [tmp_path / "all.npz"], bad=skipping)) == []


def test_rows_whose_score_overflows(detector, rows, tmp_path, capsys):
    huge = rows.copy()
    huge[[2, 7]] = 3e38
    np.savez(tmp_path / "huge.npz", features=huge, ids=np.arange(40) + 100)
    with pytest.raises(DataError, match=r"huge.npz id 102, .*huge.npz id 107: method energy gave"):
        list(predict_files(detector, [tmp_path / "huge.npz"]))
    bad = BadInputs(skip=True)
    found = list(predict_files(detector, [tmp_path / "huge.npz"], bad=bad))
    assert bad.count == 2
    assert [row.id for row in found] == [n for n in range(100, 140) if n not in (102, 107)]
    kept = np.delete(rows, [2, 7], axis=0)
    np.testing.assert_allclose([row.score for row in found], detector.score(kept), rtol=1e-6)
    assert "skipped: " in capsys.readouterr().err
    np.savez(tmp_path / "none.npz", features=huge[[2, 7]])
    assert list(predict_files(detector, [tmp_path / "none.npz"], bad=bad)) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.zeros((2, 3))}, rf"shape \[2, 3\] but the detector was fitted on {DIM}"),
        ({"features": np.zeros((2, DIM), bool)}, "features are bool; they must be numbers"),
        ({"features": np.zeros((2, DIM)), "ids": np.zeros(3, int)}, "ids are int64 of shape"),
        ({"weights": np.zeros(2)}, "holds weights; it needs an array features"),
        ({"images": np.zeros((2, 4, 4))}, r"images are float64 of shape \[2, 4, 4\]"),
    ],
)
def test_archives_that_do_not_fit(arrays, message, detector, tmp_path):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(predict_files(detector, [tmp_path / "odd.npz"]))


def test_archived_local_features(local_detector, rows, tmp_path):
    local = np.stack([rows, rows], axis=1)
    np.savez(tmp_path / "fine.npz", features=rows, local=local)
    found = [row.score for row in predict_files(local_detector, [tmp_path / "fine.npz"])]
    np.testing.assert_allclose(found, rows.mean(axis=1), rtol=1e-5)
    np.savez(tmp_path / "short.npz", features=rows, local=local[:3])
    with pytest.raises(DataError, match=r"local has shape .* for 40 rows"):
        list(predict_files(local_detector, [tmp_path / "short.npz"]))
    np.savez(tmp_path / "none.npz", features=rows)
    with pytest.raises(MissingNeedError, match="reads local features"):
        list(predict_files(local_detector, [tmp_path / "none.npz"]))


# --- images ------------------------------------------------------------------------------------

SPEC = ImageSpec(3, 8, 8, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), num_classes=3)
BACKBONE = {"variant": "small", "mean": None, "std": None}


@dataclasses.dataclass
class ImageSamples:
    folder: Path
    images: np.ndarray
    checkpoint: Path
    detector: object
    weights_sha256: str

    def recorded(self, **provenance: object) -> object:
        """The detector as if its features had been extracted, not imported."""
        description = self.detector.description
        merged = {**description["provenance"], **provenance}
        return dataclasses.replace(self.detector, description={**description, "provenance": merged})


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> ImageSamples:
    """A backbone with random weights, a detector on its features, and images as files."""
    root = tmp_path_factory.mktemp("images")
    torch.manual_seed(0)
    backbone = build_backbone("cifar_resnet", BACKBONE, SPEC).eval()
    (root / "checkpoint").mkdir()
    content = {"backbone": {"name": "cifar_resnet", "settings": BACKBONE}}
    write_checkpoint(root / "checkpoint", backbone, content)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        features = backbone(pixels).pooled.numpy()
    (root / "arrays").mkdir()
    head = backbone.head_arrays()
    np.savez(root / "arrays" / "head.npz", weight=head["weight"], bias=head["bias"])
    labels = np.arange(24) % 3
    for split in ("train", "val"):
        np.savez(root / "arrays" / f"{split}.npz", features=features, labels=labels)
    store = import_folder(root / "arrays", root / "features.zarr")
    (root / "images" / "b").mkdir(parents=True)
    for number, image in enumerate(images[:3]):
        Image.fromarray(image).save(root / "images" / ("b" if number else "") / f"{number}.png")
    np.savez(root / "images.npz", images=images)
    meta = json.loads((root / "checkpoint" / "checkpoint.json").read_text())
    detector = fit_detector(store, EntrySpec("energy"), device="cpu")
    return ImageSamples(
        root / "images", images, root / "checkpoint", detector, meta["weights_sha256"]
    )


def test_images_score_as_their_features(samples):
    with np.load(samples.folder.parent / "arrays" / "val.npz") as archive:
        wanted = samples.detector.score(archive["features"])
    found = list(
        predict_files(
            samples.detector,
            [samples.folder.parent / "images.npz"],
            checkpoint=samples.checkpoint,
            batch_size=5,
        )
    )
    np.testing.assert_allclose([row.score for row in found], wanted, rtol=1e-4, atol=1e-5)
    assert [row.id for row in found] == list(range(24))
    files = list(predict_files(samples.detector, [samples.folder], checkpoint=samples.checkpoint))
    assert [Path(row.path).name for row in files] == ["0.png", "1.png", "2.png"]
    assert [row.id for row in files] == [None] * 3
    np.testing.assert_allclose([row.score for row in files], wanted[:3], rtol=1e-4, atol=1e-5)


def test_features_are_rounded_as_stored(samples):
    half = samples.recorded(extraction={"dtype": "float16"})
    features, local = Embedder.open(samples.checkpoint, half).features(samples.images)
    exact, _ = Embedder.open(samples.checkpoint, samples.detector).features(samples.images)
    assert local is None
    assert torch.equal(features, exact.half().float())
    assert not torch.equal(features, exact)


def test_images_need_a_backbone(samples):
    named = samples.recorded(
        checkpoint={"weights_sha256": samples.weights_sha256}, backbone={"name": "cifar_resnet"}
    )
    wanted = rf"cifar_resnet \(weights {samples.weights_sha256[:12]}…\): pass .* --checkpoint"
    with pytest.raises(MissingNeedError, match=wanted):
        list(predict_files(named, [samples.folder]))
    with pytest.raises(StoreError, match="holds no checkpoint"):
        list(predict_files(named, [samples.folder], checkpoint=samples.folder))
    assert len(list(predict_files(named, [samples.folder], checkpoint=samples.checkpoint))) == 3


def test_another_backbone_is_refused(samples, detector):
    other = samples.recorded(checkpoint={"weights_sha256": "0" * 64})
    with pytest.raises(DataError, match="was fitted on features of 000000000000…"):
        Embedder.open(samples.checkpoint, other)
    with pytest.raises(DataError, match=r"is not the detector's \(weight differs\)"):
        Embedder.open(samples.checkpoint, detector)
    description = {**samples.detector.description, "preprocessing": {"scale": "none"}}
    with pytest.raises(DataError, match=r"preprocesses images as .*'uint8 / 255'"):
        Embedder.open(
            samples.checkpoint, dataclasses.replace(samples.detector, description=description)
        )


def test_bad_images(samples, tmp_path, capsys):
    Image.fromarray(samples.images[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.jpg").write_text("no image")
    (tmp_path / "notes.txt").write_text("not looked at")
    for name in ("b.png", "c.jpg"):
        with pytest.raises(DataError, match=rf"{name} cannot be decoded as an image"):
            read_image(tmp_path / name, SPEC)
    with pytest.raises(DataError, match=r"b.png cannot be decoded"):
        list(predict_files(samples.detector, [tmp_path], checkpoint=samples.checkpoint))
    bad = BadInputs(skip=True)
    found = predict_files(samples.detector, [tmp_path], checkpoint=samples.checkpoint, bad=bad)
    assert [Path(row.path).name for row in found] == ["a.png"]
    assert bad.count == 2
    assert "c.jpg cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "is_taken"), [(40, True), (20, False)])
def test_huge_images_have_one_limit_for_preparing_and_judging(
    samples, monkeypatch, limit, is_taken
):
    # Pillow warns of more pixels than this and refuses twice as many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = samples.folder / "0.png"
    for read in (
        lambda: decode_image(path.read_bytes(), str(path)),
        lambda: read_image(path, SPEC),
    ):
        if is_taken:
            read()
        else:
            with pytest.raises(DataError, match=r"0.png cannot be decoded .*exceeds limit"):
                read()


def test_messages_hold_no_address(tmp_path):
    for name, content in (("empty.png", b""), ("cut.jpg", b"\xff\xd8\xff\xe0"), ("text.gif", b"x")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name) as caught:
            read_image(tmp_path / name, SPEC)
        assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("folder", ["/", "/proc/self", "/sys"])
def test_folders_of_the_system_are_not_walked(samples, folder, monkeypatch):
    monkeypatch.setattr(
        "ltood.deployment.predicting.images_below", lambda path: pytest.fail("called")
    )
    with pytest.raises(DataError, match="folder of the system"):
        list(predict_files(samples.detector, [Path(folder)], checkpoint=samples.checkpoint))


def test_linked_folders_are_read_and_what_is_not_is_said(samples, tmp_path, capsys):
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    Image.fromarray(samples.images[0]).save(elsewhere / "a.png")
    (here / "linked").symlink_to(elsewhere)
    (here / "dangling.png").symlink_to(tmp_path / "gone.png")
    (here / "notes.txt").write_text("x")
    found = predict_files(samples.detector, [here], checkpoint=samples.checkpoint)
    assert [row.path for row in found] == [str(here / "linked" / "a.png")]
    said = capsys.readouterr().err
    assert "dangling.png" in said
    assert ".txt 1" in said


def test_missing_inputs(samples, tmp_path):
    for path, message in ((tmp_path / "gone", "gone does not exist; give"), (tmp_path, "no image")):
        with pytest.raises(DataError, match=message):
            list(predict_files(samples.detector, [path], checkpoint=samples.checkpoint))
    with pytest.raises(DataError, match=r"gone.npz does not exist"):
        list(predict_files(samples.detector, [tmp_path / "gone.npz"]))
    with pytest.raises(ConfigError, match="batch size is 0"):
        list(predict_files(samples.detector, [], batch_size=0))


def test_images_are_fitted(tmp_path):
    grey = ImageSpec(1, 4, 4, (0.5,), (0.2,), num_classes=3)
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 200
    # The centre is what remains: the dark sides are cropped, not squeezed in.
    assert (fit_pixels(wide, grey) == 200).all()
    assert fit_pixels(wide, grey).shape == (4, 4, 1)
    same = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    square = dataclasses.replace(SPEC, height=4, width=4)
    assert fit_pixels(same, square) is same
    np.testing.assert_array_equal(fit_image(Image.fromarray(same), square), same)
    assert fit_pixels(same[..., :1], square).shape == (4, 4, 3)


def test_images_are_turned_upright(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # Turned by half a turn.
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    square = dataclasses.replace(SPEC, height=4, width=4)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", square), pixels[::-1])


def test_unusual_modes(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: the image has mode I;16; only 8 bits"):
        read_image(tmp_path / "deep.png", SPEC)
    palette = Image.new("P", (8, 8))
    palette.save(tmp_path / "clear.png", transparency=bytes([0, 9]))
    assert read_image(tmp_path / "clear.png", SPEC).shape == (8, 8, 3)


# --- output ------------------------------------------------------------------------------------


def test_csv_and_json_lines_say_the_same(detector, folder, tmp_path):
    verdicts = list(predict_files(detector, [folder / "ood_far.npz"]))
    write_file(tmp_path / "new" / "rows.csv", verdicts, "csv")
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = io.StringIO()
    write_rows(lines, verdicts, "jsonl")
    records = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert list(table[0]) == list(COLUMNS)
    assert len(table) == len(records) == 40
    for row, record, verdict in zip(table, records, verdicts, strict=True):
        assert float(row["score"]) == record["score"] == verdict.score
        assert (record["score"] > record["threshold"]) == (row["verdict"] == "OOD")
        assert row["class"] == record["class"]
        assert row["id"] == str(record["id"])
        assert row["nearest_2"] == record["nearest"][1]["class"]
        assert float(row["cosine_3"]) == pytest.approx(record["nearest"][2]["cosine"], abs=1e-4)


def test_cells_without_id_and_third_class(detector, folder):
    (verdict, *_) = predict_files(detector, [folder / "test.npz"])
    short = dataclasses.replace(verdict, id=None, nearest=verdict.nearest[:1]).cells()
    assert len(short) == len(COLUMNS)
    assert short[1] == short[-1] == short[-4] == ""


def test_failed_output_leaves_nothing(detector, tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_file(tmp_path / "file" / "rows.csv", [], "csv")
    gone = predict_files(detector, [folder / "test.npz", tmp_path / "gone.npz"])
    with pytest.raises(DataError, match="does not exist"):
        write_file(tmp_path / "rows.csv", gone, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- commands ----------------------------------------------------------------------------------


def run_ltood(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ltood.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_commands(store, folder, samples, tmp_path):
    out = tmp_path / "d.safetensors"
    export = ("export-detector", "--store", store.path, "--out", out, "--device", "cpu")
    said = run_ltood(*export, "--method", "energy", "--set", "temperature=2").stdout
    assert "of the 40 rows of val (score <= threshold is ID)" in said
    assert load_detector(out, "cpu").description["method"]["settings"] == {"temperature": 2.0}
    assert "exists already" in run_ltood(*export, "--method", "energy", code=1).stderr
    assert "No method 'enrgy'" in run_ltood(*export, "--method", "enrgy", code=1).stderr
    shown = run_ltood("predict", out, folder / "ood_far.npz", "--device", "cpu").stdout
    assert shown.splitlines()[0] == ",".join(COLUMNS)
    assert len(shown.splitlines()) == 41
    stern = run_ltood("predict", out, folder / "ood_far.npz", "--threshold", "-1e9").stdout
    assert {row["verdict"] for row in csv.DictReader(io.StringIO(stern))} == {"OOD"}
    no_number = run_ltood("predict", out, folder / "ood_far.npz", "--threshold", "nan", code=1)
    assert "--threshold is nan; give a finite score" in no_number.stderr
    table = tmp_path / "rows.jsonl"
    save_detector(tmp_path / "p.safetensors", samples.detector)
    (samples.folder / "z.png").write_text("broken")
    judge = ("predict", tmp_path / "p.json", samples.folder, "--format", "jsonl", "--out", table)
    judge += ("--checkpoint", samples.checkpoint, "--device", "cpu")
    assert "z.png cannot be decoded" in run_ltood(*judge, code=1).stderr
    assert not table.exists()
    done = run_ltood(*judge, "--on-error", "skip")
    (samples.folder / "z.png").unlink()
    assert "skipped 1 image or row." in done.stderr
    assert [json.loads(line)["id"] for line in table.read_text().splitlines()] == [None] * 3
