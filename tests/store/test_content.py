"""Stores without a head, and splits of several views."""

import numpy as np
import pytest

from ltood.core.errors import DataError, MissingNeedError
from ltood.store.content import check_content
from ltood.store.features import ArraySpec, FeatureStore, FeatureWriter, SplitSpec, StoreSpec
from ltood.store.reading import required_head

NAMES, COUNTS = ("cat", "dog"), (3, 1)
HEAD = {"weight": np.ones((2, 4), np.float32), "bias": np.zeros(2, np.float32)}
COLUMNS = {"labels": ArraySpec("int64"), "ids": ArraySpec("int64")}


def arrays(*shape, **others):
    return {"features": ArraySpec("float32", shape), **COLUMNS, **others}


def check(head=None, names=NAMES, counts=COUNTS, **splits):
    spec = StoreSpec({name: SplitSpec(3, held) for name, held in splits.items()})
    check_content(spec, head or {}, names, counts)


LOGITS = {"logits": ArraySpec("float32", (2,))}


def test_rows_with_and_without_a_head_and_in_views():
    check(train=arrays(4), test=arrays(4, local=ArraySpec("float16", (9, 4))))
    check(HEAD, train=arrays(4, **LOGITS), train_views=arrays(5, 4))
    check(HEAD, train=arrays(4))
    check(train_views=arrays(5, 4), train=arrays(4))
    check(train_views=arrays(5, 4), train=arrays(4, **LOGITS), test=arrays(4, **LOGITS))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"train": arrays(4, **LOGITS), "test": arrays(4)},
            r"train has logits but .* test has none",
        ),
        ({"train": arrays(4, logits=ArraySpec("float32", (3,)))}, r"logits of .* train .*\(3,\)"),
        ({"head": HEAD, "train_views": arrays(5, 4, **LOGITS)}, r"train_views has logits, which"),
        ({"train": arrays(4), "test": arrays(5)}, r"rows of shape \(5,\); with the others they"),
        ({"train": arrays(3, 4)}, r"rows of shape \(3, 4\); with the others they must be \(4,\)"),
        ({"train_views": arrays(4)}, r"shape \(4,\); with the others they must be \(1, 4\)"),
        ({"head": HEAD, "train_views": arrays(5, 3)}, r"with this head they must be \(5, 4\)"),
        ({"train": COLUMNS}, r"split train lacks the array features"),
        ({"counts": (1,), "train": arrays(4)}, r"there are 1 class counts but 2 class names"),
    ],
)
def test_what_does_not_fit_is_refused(content, sentence):
    with pytest.raises(DataError, match=sentence):
        check(**content)


def test_a_store_without_a_head_says_where_to_get_one(tmp_path, rng):
    splits = {"train": SplitSpec(3, arrays(4)), "train_views": SplitSpec(3, arrays(5, 4))}
    inputs = (StoreSpec(splits), {"source": "test"}, {}, NAMES, COUNTS)
    writer = FeatureWriter.create(tmp_path / "store", *inputs)
    columns = {"labels": np.zeros(3, np.int64), "ids": np.arange(3)}
    written = {"train": rng.normal(size=(3, 4)), "train_views": rng.normal(size=(3, 5, 4))}
    for name, features in written.items():
        writer.write(name, 0, {"features": features.astype(np.float32), **columns})
    writer.finish()
    assert FeatureWriter.resume(tmp_path / "store", *inputs).missing("train") == []
    store = FeatureStore.open(tmp_path / "store")
    assert store.splits == ["train", "train_views"]
    assert store.image_splits == ["train"]
    assert [store.split(name).dim for name in store.splits] == [4, 4]
    np.testing.assert_array_equal(
        store.split("train_views").read("features", 1, 2),
        written["train_views"][1:2].astype(np.float32),
    )
    assert store.head_arrays() == {}
    with pytest.raises(
        MissingNeedError,
        match=r"this needs the classifier head; .* in .*store: .*head=.*linear_probe.*--head",
    ):
        required_head(store, "this")
