import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ltood.core.errors import DataError
from ltood.serving.reading import count_pixels, decode, read_features
from ltood.serving.refusals import RefusalError
from tests.serving.clients import image_file

KINDS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
NESTED = LEAVES | st.lists(LEAVES, max_size=3) | st.lists(st.lists(LEAVES, max_size=3), max_size=3)
JSON = NESTED | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("features", "local", "ids", "x"), NESTED)
)


def read(most=10, **body):
    return read_features(json.dumps(body).encode(), most)


def test_rows_keep_their_numbers():
    found = read(features=[[1, 2.5], [0.1, 1e-3]], local=[[[1, 2]], [[3, 4]]], ids=[7, -1])
    np.testing.assert_array_equal(found.features, [[1, 2.5], [0.1, 1e-3]])
    np.testing.assert_array_equal(found.local, [[[1, 2]], [[3, 4]]])
    np.testing.assert_array_equal(found.ids, [7, -1])
    assert found.ids.dtype == np.int64


def test_one_row_needs_no_list_around_it():
    found = read(features=[1, 2], local=[[3, 4]], ids=None)
    assert (found.features.shape, found.local.shape) == ((1, 2), (1, 1, 2))
    assert found.ids.tolist() == [0]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "features"),
        ({"features": []}, "features"),
        ({"features": [[]]}, "features"),
        ({"features": 3}, "features"),
        ({"features": [[1, 2], [3]]}, "features"),
        ({"features": [["1", "2"]]}, "features"),
        ({"features": [[True, False]]}, "features"),
        ({"features": [[1, None]]}, "features"),
        ({"features": [[10**400]]}, "features"),
        ({"features": [[{}]]}, "features"),
        ({"features": [[1]], "local": "x"}, "local"),
        ({"features": [[1]], "ids": [1, 2]}, "ids"),
        ({"features": [[1]], "ids": [1.5]}, "ids"),
        ({"features": [[1]], "ids": [2**63]}, "ids"),
        ({"feature": [[1]]}, "'feature'"),
    ],
)
def test_what_are_not_rows_of_numbers_is_refused(body, key):
    with pytest.raises(DataError) as caught:
        read(**body)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe\xff", 400),
        (b'{"features": [[NaN]]}', 400),
        (b'{"features": [[Infinity]]}', 400),
        (b'{"features": ' + b"[" * 200_000, 400),
        (b'{"features": [[1],[1],[1]]}', 413),
    ],
)
def test_what_is_not_json_or_too_much_has_its_status(body, status):
    with pytest.raises(RefusalError) as caught:
        read_features(body, 2)
    assert caught.value.status == status


@settings(max_examples=40)
@given(JSON)
def test_any_json_gives_rows_or_a_refusal(value):
    try:
        found = read_features(json.dumps(value).encode(), 10)
    except (DataError, RefusalError) as error:
        assert str(error).endswith(".")  # noqa: PT017 - either way is right
    else:
        assert len(found.features) == len(found.ids) >= 1
        assert found.features.dtype.kind in "iuf"


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_counted_by_the_first_bytes(kind):
    content = image_file(np.zeros((6, 7, 3)), kind)
    assert count_pixels(content, "x", 42) == 42
    with pytest.raises(DataError, match="x has more than the 41 pixels"):
        count_pixels(content, "x", 41)


def test_formats_that_start_programs_are_not_opened():
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\nshowpage\n"
    with Image.open(io.BytesIO(script)) as opened:  # Pillow would.
        assert opened.format == "EPS"
    with pytest.raises(DataError, match="not an image"):
        count_pixels(script, "x", 10**6)


@settings(max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0.5, 1),
)
def test_damaged_files_are_read_or_refused(embedder, kind, changes, kept):
    content = bytearray(image_file(np.arange(8 * 8 * 3).reshape(8, 8, 3), kind))
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    content = bytes(content[: round(kept * len(content))])
    try:
        count_pixels(content, "x", 10_000)
        pixels = decode(embedder, content, "x")
    except DataError as error:
        assert str(error).startswith("x")  # noqa: PT017 - either way is right
    else:
        assert pixels.shape == (8, 8, 3)
