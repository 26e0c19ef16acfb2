from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.runtime.distributed import Ranks, ranks_from_environment
from ltood.runtime.first import is_first


def test_alone_without_an_environment(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks_from_environment() as ranks:
        assert ranks == Ranks(0, 1, 0)
        assert ranks.broadcast([1, 2]) == [1, 2]
        ranks.barrier()
        assert ranks.device_name("auto") == "auto"


def test_a_world_of_one_needs_no_others(monkeypatch):
    for key, value in {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    with ranks_from_environment() as ranks:
        assert ranks.broadcast("x") == "x"
    assert not torch.distributed.is_initialized()


def test_a_number_alone_is_a_leftover_of_something_else(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "1")
    assert is_first()
    with ranks_from_environment() as ranks:
        assert ranks == Ranks()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_first()


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "0", "RANK": "0", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "x"},
    ],
)
def test_half_an_environment_is_refused(monkeypatch, environment):
    for key in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    with (
        pytest.raises(
            ConfigError, match=r"WORLD_SIZE is set but .*start the command with torchrun"
        ),
        ranks_from_environment(),
    ):
        pass


def test_ranks_spread_over_the_gpus_of_their_host(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names = [Ranks(rank, 3, rank).device_name("auto") for rank in range(3)]
    assert names == ["cuda:0", "cuda:1", "cuda:0"]
    assert Ranks(1, 2, 1).device_name("cuda:0") == "cuda:0"
    assert Ranks(1, 2, 1).device_name("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert Ranks(1, 2, 1).device_name("auto") == "auto"


@pytest.mark.parametrize(
    ("others", "device", "fits"),
    [("b", "cuda:0", True), ("a", "cuda:1", False), (None, "cuda", True), (None, "cpu", True)],
)
def test_each_rank_needs_a_gpu_of_its_own(monkeypatch, others, device, fits):
    gpu = SimpleNamespace(uuid="a")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)

    def gather(found, own):
        found[:] = [own, others]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    context = (
        nullcontext()
        if fits
        else pytest.raises(ConfigError, match=r"2 processes were to train on 1 GPUs")
    )
    with context:
        Ranks(0, 2, 0).check_gpu(torch.device(device))
    Ranks().check_gpu(torch.device(device))
