"""Tensors as the format has them, written and read one at a time."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from ltood.core.errors import CorruptStoreError
from ltood.deployment import tensor_files
from ltood.deployment.tensor_files import FORMATS, read_tensors, tensor_writer
from ltood.runtime import large


def written(tensors):
    parts = []
    tensor_writer(tensors)(lambda part: parts.append(bytes(part)))
    return b"".join(parts)


def read(path, content):
    path.write_bytes(content)
    return read_tensors(path, hashlib.sha256(content).hexdigest())


def made(shape, name, step):
    values = torch.arange(torch.Size(shape).numel()).reshape(shape).to(FORMATS[name])
    # Some are views with gaps, as what a method has learned may be.
    return values.repeat_interleave(step, dim=-1)[..., ::step] if shape else values


@given(
    given=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.tuples(
            st.lists(st.integers(0, 4), max_size=3),
            st.sampled_from(sorted(FORMATS)),
            st.integers(1, 2),
        ),
        max_size=6,
    ),
    block=st.sampled_from([1, 8, 2**24]),
)
def test_bytes_are_those_of_the_library(tmp_path_factory, given, block):
    tensors = {name: made(*how) for name, how in given.items()}
    if "__metadata__" in tensors:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_files, "BLOCK", block)
        content = written(tensors)
        assert content == save({name: tensor.contiguous() for name, tensor in tensors.items()})
        for limit in ("1", "0"):
            patch.setenv(large.LIMIT, limit)
            found = read(tmp_path_factory.getbasetemp() / "d.safetensors", content)
            assert found.keys() == tensors.keys()
            for name, tensor in tensors.items():
                assert found[name].dtype == tensor.dtype
                assert torch.equal(found[name], tensor)


HEADER = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def file_of(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def changed(**changes):
    return {"a": {**HEADER["a"], **changes}}


def test_the_library_reads_the_plain_example(tmp_path):
    assert torch.equal(load(file_of(HEADER))["a"], torch.zeros(2))
    assert torch.equal(read(tmp_path / "d", file_of(HEADER))["a"], torch.zeros(2))
    described = {"__metadata__": {"made by": "somebody"}, **HEADER}
    assert list(read(tmp_path / "d", file_of(described))) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        file_of(b"{"),
        file_of(b"[]"),
        file_of(b"[" * 100_000),
        file_of({"a": 1}),
        file_of({"a": []}),
        file_of(changed(dtype="F31")),
        file_of(changed(dtype=[])),
        file_of(changed(shape=[3])),
        file_of(changed(shape=[-1, -2])),
        file_of(changed(shape=[True, 2])),
        file_of(changed(shape=2)),
        file_of(changed(data_offsets=[0])),
        file_of(changed(data_offsets=[0, None])),
        file_of(changed(data_offsets=[4, 12])),
        file_of(changed(data_offsets=["0", "8"])),
        file_of(HEADER, b"\0" * 7),
        file_of(HEADER, b"\0" * 9),
        file_of({**HEADER, "b": HEADER["a"]}),
    ],
)
def test_what_breaks_a_rule_is_refused(tmp_path, content):
    with pytest.raises(CorruptStoreError, match=r"d.safetensors is unreadable"):
        read(tmp_path / "d.safetensors", content)


def test_a_change_is_told_before_a_broken_rule(tmp_path):
    (tmp_path / "d").write_bytes(b"")
    with pytest.raises(CorruptStoreError, match="was changed or replaced"):
        read_tensors(tmp_path / "d", hashlib.sha256(b"more").hexdigest())
