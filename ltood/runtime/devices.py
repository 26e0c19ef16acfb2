"""Choosing the device, the number format and the algorithms that a command computes with."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

from ltood.core.errors import ConfigError
from ltood.runtime.console import log
from ltood.runtime.gpus import why_unused

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
        if torch.cuda.is_available():
            return torch.device("cuda")
        if reason := why_unused():
            log(reason)
        return torch.device("cpu")
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
def deterministic(
    device: torch.device, *, enabled: bool = True, refuses: bool = True
) -> Iterator[None]:
    """Choose algorithms that give equal bits for equal input while the block runs.

    Products are those of float32 throughout. Global random state is put back afterwards, so that a
    block may seed it without side effects. A GPU is the current one meanwhile: else pinned memory,
    for one, would take room on the first, and a library that asks for the current stream would get
    that of another GPU.

    Args:
        device: Device to compute on, whose random state is guarded as well as the CPU's.
        enabled: False leaves the algorithms alone and only guards the random state.
        refuses: Whether an operation without such an algorithm is an error.
    """
    # Read by cuBLAS when it starts; without it torch refuses deterministic products on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    on_gpu = device.type == "cuda"
    current = torch.cuda.device(device) if on_gpu else nullcontext()
    with current, torch.random.fork_rng(devices=[device] if on_gpu else []), no_tf32():
        try:
            warns = warned if before else not refuses
            torch.use_deterministic_algorithms(enabled or before, warn_only=warns)
            torch.backends.cudnn.benchmark = not enabled
            # What is filled is written before it is read: no result changes, only the time.
            _fill_memory(wanted=False)
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            torch.backends.cudnn.benchmark = benchmark
            _fill_memory(wanted=fills)


def _fill_memory(*, wanted: bool) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = wanted  # type: ignore[attr-defined]


@contextmanager
def scoring_on(device: torch.device) -> Iterator[None]:
    """Let stage two give equal bits for equal input on a GPU; on a CPU it does so anyway."""
    if device.type == "cuda":
        with deterministic(device, refuses=False):
            yield
    else:
        yield


def host_memory(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory of the host for what goes to or comes from `device`; a GPU copies it meanwhile."""
    # Torch gives page-locked memory out again once the copies that use it are done.
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=device.type == "cuda")


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on `device`; the host does not wait for a GPU to take it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def resolve_precision(amp: Amp, device: torch.device, setting: str = "training.amp") -> Precision:
    """Number format of the network's products that an `amp` setting means on `device`.

    Args:
        amp: Its value.
        device: Where the network computes.
        setting: Its name, for messages.

    Raises:
        ConfigError: If it is float16 and the device no GPU.
    """
    if amp == "fp16":
        if device.type != "cuda":
            raise ConfigError(
                f"{setting} is 'fp16' but the device is {device.type}, where float16 is slow "
                "and losses are not scaled; set it to off or bf16."
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
    """Multiply and convolve in float32 where that is the number format.

    Without it torch lets recent GPUs round what convolutions read to TF32, with 10 bits of
    fraction, and an environment variable or an earlier call has it do so with products too:
    features then differ from those of a CPU in the third digit, and neighbours are others.
    """
    switches = _float32_switches()
    before = [getattr(backend, key) for backend, key, _ in switches]
    for backend, key, value in switches:
        setattr(backend, key, value)
    try:
        yield
    finally:
        for (backend, key, _), value in zip(switches, before, strict=True):
            setattr(backend, key, value)


def _float32_switches() -> list[tuple[Any, str, Any]]:
    """Settings of torch that keep float32 whole, each with the value that does."""
    products: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    found: list[tuple[Any, str, Any]] = [(part, "allow_tf32", False) for part in (products, cudnn)]
    try:
        for part, key, _ in found:
            getattr(part, key)
    except RuntimeError:  # The program has used torch's newer settings, and must go on with them.
        return [(part, "fp32_precision", "ieee") for part in (products, cudnn.conv)]
    return found
