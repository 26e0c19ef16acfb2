"""What is said about the GPUs of a machine: driver, abilities, and why one is not used."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

_DRIVER = Path("/sys/module/nvidia/version")
_GIB = 1 << 30


def why_unused() -> str:
    """Why this torch uses no GPU although there is one; empty where there is none to use."""
    driver = driver_version()
    # Variables that hide GPUs are meant.
    if not driver or os.environ.get("CUDA_VISIBLE_DEVICES", "all") in {"", "-1"}:
        return ""
    built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "has no CUDA"
    return (
        f"an NVIDIA driver ({driver}) is there, but this torch {built} and finds no GPU, so "
        "the CPU computes; install a newer driver, or a torch for this one "
        "(https://pytorch.org/get-started)."
    )


def driver_version(version: Path = _DRIVER) -> str:
    """Version of the NVIDIA driver; empty where there is none."""
    try:
        return version.read_text().strip()
    except OSError:
        return ""


def described() -> Iterator[tuple[str, str]]:
    """Lines about CUDA and each GPU, as name and text."""
    if not torch.cuda.is_available():
        yield "cuda", why_unused() or "none: everything runs on the CPU"
        return
    driver = driver_version()
    yield "cuda", f"{torch.version.cuda}{f', driver {driver}' if driver else ''}"
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        yield (
            f"cuda:{index}",
            f"{about.name}, compute capability {about.major}.{about.minor}, "
            f"{about.total_memory / _GIB:.0f} GiB, bfloat16 {'fast' if fast else 'emulated only'}",
        )
