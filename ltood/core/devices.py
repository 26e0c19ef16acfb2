"""Choosing the device that a command computes on."""

import torch

from ltood.core.errors import ConfigError


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
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise ConfigError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:<number>.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name!r} but {torch.cuda.device_count()} CUDA devices are there; "
            "choose auto or cpu."
        )
    return torch.device(name)
