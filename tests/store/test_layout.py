import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import array_specs

from ltood.core.errors import StoreError
from ltood.store.layout import CHUNK_BYTES, ArraySpec, SplitSpec, StoreSpec, check_split_name


@pytest.mark.parametrize("name", ["train", "val", "test", "aux", "ood_svhn", "ood_near-1_b"])
def test_split_names_of_the_house_are_accepted(name):
    check_split_name(name)


@pytest.mark.parametrize(
    "name", ["head", "Train", "train\n", "ood_", "ood_../x", "svhn", "", "ood_a b", "ood_.a"]
)
def test_other_split_names_are_refused(name):
    with pytest.raises(
        StoreError,
        match=r"is not a valid split name: a split is train, val, test, aux, ood_<name>, csid_",
    ):
        StoreSpec({name: SplitSpec(1, array_specs())})


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20_000), st.integers(1, 2**20), st.sampled_from(["float16", "float32"]))
def test_chunks_are_8_to_16_mib_and_cover_all_rows(rows, dim, dtype):
    arrays = {"features": ArraySpec(dtype, (dim,)), "labels": ArraySpec("int64")}
    spec = StoreSpec({"train": SplitSpec(rows, arrays)})
    step, ranges = spec.chunk_rows("train"), spec.ranges("train")
    widest = max(arrays["features"].row_bytes, 8)
    assert step * widest <= CHUNK_BYTES
    assert step * widest > CHUNK_BYTES // 2 or step >= rows
    assert step & (step - 1) == 0
    assert ranges[0][0] == 0
    assert ranges[-1][1] == rows
    assert all(stop - start == step for start, stop in ranges[:-1])
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))


def test_a_row_wider_than_a_chunk_is_a_chunk_of_its_own():
    arrays = {"local": ArraySpec("float32", (CHUNK_BYTES,))}
    assert StoreSpec({"train": SplitSpec(3, arrays)}).ranges("train") == [(0, 1), (1, 2), (2, 3)]


def test_given_rows_per_chunk_are_taken_up_to_the_rows():
    spec = StoreSpec({"train": SplitSpec(5, array_specs()), "test": SplitSpec(2, array_specs())}, 3)
    assert spec.ranges("train") == [(0, 3), (3, 5)]
    assert spec.chunk_rows("test") == 2


def test_empty_splits_are_refused():
    with pytest.raises(StoreError, match=r"split val has no rows; leave it out or give it rows\."):
        StoreSpec({"val": SplitSpec(0, array_specs())})


@pytest.mark.parametrize("rows", [0, -1])
def test_empty_chunks_are_refused(rows):
    with pytest.raises(StoreError, match=rf"rows_per_chunk is {rows}; it must be 1 or more\."):
        StoreSpec({"val": SplitSpec(1, array_specs())}, rows)


@pytest.mark.parametrize(
    "array", [ArraySpec("float32", (0,)), ArraySpec("uint8"), ArraySpec("bool"), ArraySpec("U3")]
)
def test_arrays_that_hold_nothing_or_no_numbers_are_refused(array):
    with pytest.raises(StoreError, match=r"a row holds at least one float or signed integer\."):
        StoreSpec({"val": SplitSpec(1, {"features": array})})
