from contextlib import contextmanager, nullcontext

import pytest
import torch
from pretended_device import pretended_gpu

from ltood.core.errors import ConfigError
from ltood.runtime import gpus
from ltood.runtime.devices import autocast, choose_device, deterministic, no_tf32, resolve_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:one", "cuda:-1", "mps", 0, None])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ConfigError, match=r"it must be auto, cpu, cuda or cuda:<number>\."):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"device is 'cuda:1' but 1 CUDA devices are there"):
        choose_device("cuda:1")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto").type == kind


def test_auto_precision_asks_the_device(monkeypatch):
    assert resolve_precision("auto", CPU) == "float32"
    assert resolve_precision("bf16", CPU) == "bfloat16"
    for able, expected in ((True, "bfloat16"), (False, "float32")):
        # Every GPU can emulate it.
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, able=able: including_emulation or able,
        )
        assert resolve_precision("auto", CUDA) == expected
        assert resolve_precision("off", CUDA) == "float32"


def test_autocast_computes_in_the_chosen_format():
    rows = torch.rand(2, 2)
    for chosen, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(CPU, chosen):
            assert (rows @ rows).dtype == dtype


@pytest.mark.parametrize("enabled", [True, False])
def test_repeatable_puts_everything_back(enabled):
    benchmark = torch.backends.cudnn.benchmark
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with deterministic(CPU, enabled=enabled):
        torch.manual_seed(9)
        torch.rand(5)
        assert torch.are_deterministic_algorithms_enabled() == enabled
        assert torch.backends.cudnn.benchmark != enabled
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == benchmark


def test_a_gpu_in_use_is_the_current_one(monkeypatch):
    current = ["cuda:0"]

    @contextmanager
    def switched(device):
        before, current[0] = current[0], str(device)
        yield
        current[0] = before

    monkeypatch.setattr(torch.cuda, "device", switched)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    with deterministic(torch.device("cuda:1")):
        assert current == ["cuda:1"]
    assert current == ["cuda:0"]


def _coarse():
    """What torch may round to TF32, told by the settings that can be read."""
    return torch._C._get_cublas_allow_tf32(), torch._C._get_cudnn_allow_tf32()


def test_products_and_convolutions_are_whole_in_between_only():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # As an environment variable has it.
    try:
        with no_tf32():
            assert _coarse() == (False, False)
        assert _coarse() == (True, True)
        with deterministic(CPU):
            assert _coarse() == (False, False)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9")
def test_newer_settings_of_the_program_are_kept():
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [part.fp32_precision for part in parts]
    parts[0].fp32_precision, parts[1].fp32_precision = "tf32", "tf32"
    try:
        parts[2].fp32_precision = "ieee"  # Which the older settings cannot tell.
        with no_tf32():
            assert [part.fp32_precision for part in parts] == ["ieee", "ieee", "ieee"]
        assert [part.fp32_precision for part in parts] == ["tf32", "tf32", "ieee"]
    finally:
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value


def test_algorithms_may_be_chosen_without_refusing_others():
    with deterministic(CPU, refuses=False):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with deterministic(CPU):
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


def test_no_memory_is_filled_that_is_written_anyway():
    assert torch.utils.deterministic.fill_uninitialized_memory
    with deterministic(CPU):
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(("hidden", "said"), [(None, True), ("", False)])
def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch, capsys, hidden, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpus, "driver_version", lambda: "550.1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert choose_device("auto") == CPU
    assert ("550.1" in capsys.readouterr().err) == said


def test_gpus_are_described(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpus, "driver_version", lambda: "")
    assert dict(gpus.described()) == {"cuda": "none: everything runs on the CPU"}
    with pretended_gpu():
        lines = dict(gpus.described())
    assert lines["cuda:0"] == "pretended, compute capability 9.0, 24 GiB, bfloat16 fast"


@pytest.mark.gpu
def test_a_gpu_convolves_as_precisely_as_a_cpu():
    torch.manual_seed(0)
    convolution, maps = torch.nn.Conv2d(64, 64, 3), torch.randn(4, 64, 16, 16)
    with torch.inference_mode(), no_tf32():
        expected, found = convolution(maps), convolution.cuda()(maps.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
