"""Choosing the device, the number format and the algorithms that a command computes with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch

from ltood.core.errors import ConfigError

Amp = Literal["auto", "off", "bf16", "fp16"]
Precision = Literal["float32", "bfloat16", "float16"]


def choose_device(name: str) -> torch.device:
    """Turn a device setting into a device that is there.

    Args:
        name: "auto" (a CUDA GPU where there is one, else the CPU), "cpu", "cuda",
            "cuda:1".

    Raises:
        ConfigError: If the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # A number in params.yaml, such as `device: 0`, is not text.
    kind, _, index = str(name).partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise ConfigError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:<number>.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name!r} but {torch.cuda.device_count()} CUDA devices are there; "
            "choose auto or cpu."
        )
    return torch.device(name)


@contextmanager
def deterministic(device: torch.device, *, enabled: bool = True) -> Iterator[None]:
    """Choose algorithms that give equal bits for equal input while the block runs.

    Global random state is put back afterwards, so that a block may seed it without side effects. A
    GPU is the current one meanwhile: else pinned memory, for one, would take room on the first.

    Args:
        device: Device to compute on, whose random state is guarded as well as the CPU's.
        enabled: False leaves the algorithms alone and only guards the random state.
    """
    # Read by cuBLAS when it starts; without it torch refuses deterministic products on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    on_gpu = device.type == "cuda"
    current = torch.cuda.device(device) if on_gpu else nullcontext()
    with current, torch.random.fork_rng(devices=[device] if on_gpu else []):
        try:
            torch.use_deterministic_algorithms(enabled or before)
            torch.backends.cudnn.benchmark = not enabled
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.backends.cudnn.benchmark = benchmark


def resolve_precision(amp: Amp, device: torch.device) -> Precision:
    """Number format of the network's products that an `amp` setting means on `device`.

    Raises:
        ConfigError: If it is float16 and the device no GPU.
    """
    if amp == "fp16":
        if device.type != "cuda":
            raise ConfigError(
                f"training.amp is 'fp16' but the device is {device.type}, where float16 is slow "
                "and its losses are not scaled; set it to auto, off or bf16."
            )
        return "float16"
    if amp == "auto":
        # Older GPUs only emulate bfloat16, far slower than they compute in float32.
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if fast else "float32"
    return "bfloat16" if amp == "bf16" else "float32"


def autocast(device: torch.device, chosen: Precision) -> torch.autocast:
    """Context in which a network computes in the chosen number format."""
    dtype = torch.float16 if chosen == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=chosen != "float32")


@contextmanager
def no_tf32() -> Iterator[None]:
    """Convolve in float32 where that is the number format.

    Without it torch lets recent GPUs round what convolutions read to TF32, with 10 bits of
    fraction, so that features differed from those of a CPU in the third digit.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
