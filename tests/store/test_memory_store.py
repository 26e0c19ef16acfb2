import numpy as np
import pytest
import torch

from ltood.core.errors import DataError, StoreError
from ltood.core.head import ClassifierHead
from ltood.core.prior import ClassPrior
from ltood.store.memory import Given, MemoryStore

ROWS, DIM, CLASSES = 20, 6, 3


def given(seed=0, rows=ROWS, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return Given(rng.normal(size=(rows, DIM)).astype(dtype), np.arange(rows) % CLASSES)


def head(seed=1, **extra):
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.normal(size=(CLASSES, DIM)))
    return ClassifierHead(weight, torch.arange(CLASSES).float(), **extra)


def test_rows_are_read_as_from_a_store():
    train, ood = given(), Given(given(2).features)
    store = MemoryStore({"ood_b": ood, "train": train, "aux": ood, "ood_a": ood}, head())
    assert store.splits == ["train", "aux", "ood_a", "ood_b"]
    assert store.image_splits == ["train", "ood_a", "ood_b"]
    assert store.ood_splits == ["ood_a", "ood_b"]
    split = store.split("train")
    assert split.arrays == ["features", "ids", "labels", "logits"]
    assert split.dim == DIM
    blocks = list(split.batches(8, ["features", "logits", "labels", "ids"]))
    assert [len(block["ids"]) for block in blocks] == [8, 8, 4]
    whole = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    assert np.array_equal(whole["features"], train.features)
    assert np.array_equal(whole["labels"], train.labels)
    assert np.array_equal(whole["ids"], np.arange(ROWS))
    expected = train.features @ head().weight.numpy().T + head().bias.numpy()
    np.testing.assert_allclose(whole["logits"], expected, rtol=1e-6)
    (block,) = store.split("ood_a").batches(100, ["labels"])
    assert (block["labels"] == -1).all()
    assert store.prior().counts.tolist() == [7, 7, 6]
    assert store.class_names == ["0", "1", "2"]
    with pytest.raises(StoreError, match="no split 'val'"):
        store.split("val")


def test_logits_hold_auxiliary_outputs():
    one = head(extra_weight=torch.ones(1, DIM), extra_bias=torch.zeros(1))
    split = MemoryStore({"train": given()}, one).split("train")
    (block,) = split.batches(100, ["logits"])
    assert block["logits"].shape == (ROWS, CLASSES + 1)
    np.testing.assert_allclose(block["logits"][:, -1], given().features.sum(1), rtol=1e-5)


def test_without_a_head_there_are_no_logits():
    store = MemoryStore({"train": given()})
    assert store.head_arrays() == {}
    assert store.split("train").arrays == ["features", "ids", "labels"]
    with pytest.raises(StoreError, match="no logits"):
        next(store.split("train").batches(8, ["logits"]))


def test_nothing_is_copied(tmp_path):
    features = given().features
    features.flags.writeable = False
    split = MemoryStore({"train": Given(features, given().labels)}).split("train")
    (block,) = split.batches(100, ["features"])
    assert np.shares_memory(block["features"], features)
    np.save(tmp_path / "x.npy", features)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    split = MemoryStore({"train": Given(mapped, given().labels)}).split("train")
    (block,) = split.batches(100, ["features"])
    assert np.shares_memory(block["features"], mapped)
    tensor = torch.tensor(features)
    (block,) = (
        MemoryStore({"train": Given(tensor, given().labels)})
        .split("train")
        .batches(100, ["features"])
    )
    assert block["features"].ctypes.data == tensor.data_ptr()


def test_the_fingerprint_is_that_of_the_content():
    def fingerprint(train=None, outliers=2, **others):
        splits = {"train": train or given(), "ood_a": Given(given(outliers).features)}
        return MemoryStore(splits, others.pop("head", head()), **others).fingerprint

    base = fingerprint()
    assert fingerprint() == base
    strided = np.zeros((2 * ROWS, DIM), np.float32)
    strided[::2] = given().features
    assert fingerprint(Given(strided[::2], given().labels.tolist())) == base
    assert fingerprint(Given(torch.tensor(given().features), given().labels)) == base
    changed = given().features.copy()
    changed[3, 2] += 1e-6
    others = [
        fingerprint(Given(changed, given().labels)),
        fingerprint(given(dtype=np.float64)),
        fingerprint(Given(given().features, given().labels[::-1].copy())),
        fingerprint(outliers=3),
        fingerprint(head=head(2)),
        fingerprint(head=None),
        fingerprint(prior=ClassPrior(np.array([7, 7, 5]))),
        fingerprint(class_names=["a", "b", "c"]),
    ]
    assert len({base, *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("splits", "settings", "match"),
    [
        ({"train": Given(np.zeros((3, DIM)), None)}, {}, "train has no labels"),
        ({"train": Given(np.zeros((3, DIM)), [0, 1])}, {}, "2 rows of labels and 3 of features"),
        ({"train": Given(np.zeros((3, DIM)), [0, 1, 3])}, {"head": head()}, "label 3.*0 to 2"),
        ({"train": Given(np.zeros((3, DIM)), [0, -1, 1])}, {}, "label -1"),
        ({"train": Given(np.zeros((3, 5)), [0, 1, 2])}, {"head": head()}, f"5 columns but {DIM}"),
        ({"train": Given(np.full((3, DIM), 1e39), [0, 1, 2])}, {}, "NaN or infinity in row 0"),
        ({"train": Given([["a"] * DIM], [0])}, {}, "array of real numbers"),
        ({"train": given(), "aux": Given(np.zeros((2, 5)))}, {}, "aux features have 5"),
        ({"train": given(), "test": Given(np.zeros((2, DIM)), [0, 9])}, {}, "row 1 of test"),
        ({"train": given()}, {"class_names": ["a", "b"]}, "label 2"),
        (
            {"train": Given(np.zeros((3, DIM)), [0, 1, 2], np.zeros((3, 4, 5)))},
            {},
            "local features have 5",
        ),
    ],
)
def test_what_is_refused(splits, settings, match):
    with pytest.raises(DataError, match=match):
        MemoryStore(splits, **settings)


def test_numbers_in_a_late_block_are_checked():
    features = np.zeros((20_000, DIM), np.float16)
    features[19_000, 1] = np.nan
    labels = np.zeros(20_000, int)
    with pytest.raises(DataError, match="infinity in row 19000"):
        MemoryStore({"train": Given(features, labels)})
    features[19_000, 1] = 0
    features[8192:, 0] = 60_000  # The sum of a block overflows float16, no number does.
    assert len(MemoryStore({"train": Given(features, labels)}).split("train")) == 20_000
