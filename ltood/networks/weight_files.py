"""Files of weights from outside, read without running code.

What a file is follows from its first bytes, not from its name: a web page, a pointer of Git LFS and
a NumPy archive are called what they are. Wrappers ("state_dict", "model"), the "module." of
data-parallel training, the "_orig_mod." of torch.compile and the "_fsdp_wrapped_module." of sharded
training come off. Where a file holds weights and their average, the average is taken, as timm does.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.networks.checkpoint_files import WEIGHTS, read_meta
from ltood.runtime.console import log

_WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "net")
#: Averages over the steps of training; they come before the weights of the last step.
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
#: Such as {"state_dict": {"model": ...}}.
_DEPTH = 3
#: What torch.compile and sharded training put into names at any level, and data-parallel training
#: before them.
_WRAPPED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module)\.")
_PARALLEL = re.compile(r"^(module\.)+")
#: Tensors that count steps or operations: torch's AveragedModel, and profilers such as thop.
_COUNTERS = re.compile(r"(.*\.)?(n_averaged|total_ops|total_params)$")

#: First bytes of files that hold no tensors by name, and what to do about them.
_OTHERS = (
    (
        b"version https://git-lfs",
        "a pointer of Git LFS in the place of the file; fetch the file itself (git lfs pull)",
    ),
    (b"<", "a web page or XML; download the file itself, not the page that shows it"),
    (b"\x93NUMPY", "a NumPy array; save a state dict with torch.save or as safetensors"),
    (b"\x89HDF", "an HDF5 file; save a state dict with torch.save or as safetensors"),
    (b"GGUF", "a GGUF file; take the original weights"),
    (b"\x1f\x8b", "compressed with gzip; unpack it and name what is inside"),
    (b"BZh", "compressed with bzip2; unpack it and name what is inside"),
    (b"\xfd7zXZ", "compressed with xz; unpack it and name what is inside"),
)
_ADVICE = "give a file that torch.save wrote from a state dict, or a safetensors file"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by bare name, on the CPU.

    Args:
        path: A safetensors file, a file that torch.save wrote, or a checkpoint folder of ours.
            From a torch file only tensors and plain values are unpickled.

    Raises:
        DataError: If the file is missing, unreadable, of another kind, holds code, or no dense
            tensors by name.
        StoreError: If a folder holds no whole checkpoint.
    """
    if path.is_dir():
        read_meta(path)
        path = path / WEIGHTS
    if not path.is_file():
        raise DataError(f"there are no weights at {path}; put the file there or correct the path.")
    content = _unwrapped(_read(path), path)
    if not content or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        found = ", ".join(map(str, list(content)[:5]))
        raise DataError(
            f"{path} holds no tensors by name{f' but {found}' if found else ''}; save the "
            "network's state_dict()."
        )
    tensors = {_PARALLEL.sub("", _WRAPPED.sub("", name)): value for name, value in content.items()}
    tensors = {name: value for name, value in tensors.items() if not _COUNTERS.match(name)}
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            kind = "quantised" if value.is_quantized else "complex or sparse"
            raise DataError(
                f"{path} holds {name} as a {kind} tensor; save the network's state_dict() with "
                "dense floating-point weights."
            )
    return tensors


def _unwrapped(content: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
    """The innermost mapping that wrappers hold, averages first."""
    for _ in range(_DEPTH):
        inside = [
            key
            for key in (*_AVERAGES, *_WRAPPERS)
            if isinstance(content.get(key), Mapping) and content[key]
        ]
        if not inside:
            break
        plain = [key for key in inside if key in _WRAPPERS]
        if inside[0] in _AVERAGES:
            instead = f" and not the weights of the last step ({plain[0]})" if plain else ""
            log(f"{path}: the averaged weights ({inside[0]}) are taken{instead}.")
        content = content[inside[0]]
    return content


def _read(path: Path) -> Mapping[Any, Any]:
    """Content of a file, by what its first bytes say."""
    with path.open("rb") as file:
        first = file.read(512)
    if not first:
        raise DataError(f"{path} is empty; copy or download it again.")
    size = int.from_bytes(first[:8], "little")
    if first[8:9] == b"{" and size < path.stat().st_size:
        return _read_safetensors(path)
    if first.startswith(b"PK\x03\x04") and b".npy" in first[:80]:
        raise DataError(f"{path} is a NumPy archive (.npz); {_ADVICE}.")
    for start, what in _OTHERS:
        if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start):
            raise DataError(f"{path} is {what}.")
    if not first.startswith((b"PK\x03\x04", b"\x80")):
        raise DataError(
            f"{path} is neither a file of torch.save nor of safetensors (it begins with "
            f"{first[:16]!r}); {_ADVICE}."
        )
    return _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors ({_reason(error)}); get an undamaged copy."
        ) from error
    return tensors


def _read_torch(path: Path) -> Mapping[Any, Any]:
    """Content of a file that torch.save wrote, without running code of it."""
    try:
        with (
            path.open("rb") as file,  # of a path torch looks at the suffix
            torch.serialization.safe_globals(_NUMPY_SCALARS),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # torch's remarks on pickles that it then refuses
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles fail in every way
        reason = str(error)
        if "TorchScript" in reason:
            raise DataError(
                f"{path} is a TorchScript archive, as OpenAI publishes CLIP, which brings code "
                "along and is not opened; where you trust it, save its tensors alone with "
                "torch.save(torch.jit.load(path, 'cpu').state_dict(), 'tensors.pth') and give "
                "that file."
            ) from error
        if "GLOBAL" in reason:
            raise DataError(
                f"{path} holds Python objects besides tensors, which could run code and are not "
                "opened; where it was written, save its tensors alone with "
                "torch.save(model.state_dict(), 'tensors.pth'), and give that file."
            ) from error
        # Torch's own words advise to open the file unsafely, which would not help either.
        raise DataError(
            f"{path} cannot be read as tensors (it is damaged, or not from torch.save); {_ADVICE}."
        ) from error
    return content if isinstance(content, Mapping) else {}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _numpy_scalars() -> list[Any]:
    """Types needed to unpickle NumPy numbers; ImOOD's files hold accuracies of this kind."""
    rebuild: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    return [(rebuild, "numpy.core.multiarray.scalar"), rebuild, np.dtype, *kinds]


_NUMPY_SCALARS = _numpy_scalars()
