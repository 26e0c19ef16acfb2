from dataclasses import dataclass

import pytest
import torch

from ltood.core.batches import FeatureBatch
from ltood.core.building import EntrySpec, build_method, build_normaliser
from ltood.core.errors import ConfigError
from ltood.core.inputs import Need
from ltood.core.members import Member
from ltood.core.registry import TRANSDUCTIVE, available, flag, load
from ltood.core.streams import StreamMethod, StreamSettings
from tests.stream_samples import Counter


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of the toy."""

    batch: int = 3


class Counting(StreamMethod[Config]):
    """Scores a row by how many rows have entered the memory."""

    arrays = ("features",)

    def start(self):
        return Counter()


ROWS = torch.rand(8, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 0, 0, 3, 3, 3, 6, 6]),
        ({"batch": 1}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"batch": 99}, [0] * 8),
        ({"official_update_first": True}, [3, 3, 3, 6, 6, 6, 8, 8]),
    ],
)
def test_a_batch_is_scored_before_it_enters_the_memory(settings, expected):
    assert Counting(**settings).score(ROWS).tolist() == expected


def test_every_call_is_a_stream_of_its_own():
    method = Counting()
    assert torch.equal(method.score(ROWS), method.score(ROWS))
    batch = FeatureBatch.of(ROWS)
    assert torch.equal(method.score(batch), method.score(ROWS))
    assert method.score(ROWS.numpy()).dtype == "float32"
    assert len(method.score(ROWS[:0])) == 0


def test_a_stream_may_continue():
    method = Counting()
    memory = method.start()
    assert method.step(memory, FeatureBatch.of(ROWS)).tolist() == [0] * 8
    assert method.step(memory, FeatureBatch.of(ROWS[:2])).tolist() == [8, 8]


def test_rows_without_a_stream_are_refused():
    with pytest.raises(ConfigError, match="stream"):
        Counting()._score(FeatureBatch.of(ROWS))


def test_a_warm_start_needs_held_out_rows():
    assert Need.VAL in Counting(warm_start=5).needs
    assert Need.VAL not in Counting().needs


@pytest.mark.parametrize(
    ("key", "value"),
    [("orders", 0), ("batch", 0), ("id_share", 1.0), ("id_share", 0.0), ("mix", "some")],
)
def test_settings_out_of_range_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        load("methods", "doda").Entry(**{key: value})


STREAMS = [name for name in available("methods") if flag("methods", name, TRANSDUCTIVE)]


def test_every_transductive_method_says_so_and_no_other():
    for name in available("methods"):
        if f"\n{TRANSDUCTIVE} = " in _source(name):
            assert issubclass(load("methods", name).Entry, StreamMethod)
            assert flag("methods", name, "NAMED_ONLY")
        else:
            assert "StreamMethod" not in _source(name)
    assert {"doda", "oodd"} <= set(STREAMS)


def _source(name):
    from ltood.core.registry import source_file

    return source_file("methods", name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STREAMS)
def test_no_member_and_no_normaliser_takes_a_stream(name):
    with pytest.raises(ConfigError, match=name):
        Member(name).build()
    base = build_method(EntrySpec(name))
    with pytest.raises(ConfigError, match=name):
        build_normaliser(EntrySpec("imood", {"scale": 1.0}), base)
    assert build_normaliser(EntrySpec("none"), base).is_none
