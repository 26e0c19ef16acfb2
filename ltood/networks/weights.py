"""Weights from outside: reading them without running code, and fitting them to a backbone.

Published files differ in wrapping and naming only. Wrappers ("state_dict", "model", "net"), the
"module." of data-parallel training and the "_orig_mod." of torch.compile are taken off here; each
backbone knows by `Backbone.translate` how the official repositories name its tensors. Parts that
only training needed are left out by name; any other difference is refused.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.networks.backbone import Backbone
from ltood.networks.checkpoint import read_head_extras
from ltood.networks.checkpoint_files import WEIGHTS, read_meta
from ltood.runtime.console import log

_WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "net")
#: What data-parallel training and torch.compile put before every name.
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")
#: Parts that take no share in features or logits, by the repository that saves them.
_LEFTOVERS = re.compile(
    r"finalScore$"  # PATT: attention weights of its calibrator, fitted anew by ours
    r"|projection\.|contrastive"  # PASCL, ImOOD, PATT: heads of the contrastive losses
    r"|aux_linear\."  # PASCL: a second classifier; ImOOD: scale and shift of a detector logit
    r"|lambda_linear\.|cl_loss_weights$"  # ImOOD: gamma and class weights of its losses
    r"|id_feat_pool\."  # ImOOD: class statistics for its Mahalanobis losses
)
#: What scoring can use of them, under our names.
_GAMMA = {"lambda_linear.weight": "gamma_weight", "lambda_linear.bias": "gamma_bias"}
#: Ours to keep where a file has none: scaling is a setting, the counters steer nothing.
_OPTIONAL = re.compile(r"(mean|std|.*\.num_batches_tracked)$")
_SCALING = ("mean", "std")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by bare name, on the CPU.

    Args:
        path: A safetensors file (`*.safetensors`), a file that `torch.save` wrote, or a
            checkpoint folder of ours. From a torch file only tensors and plain values are
            unpickled.

    Raises:
        DataError: If the file is missing, unreadable, holds code, or no tensors by name.
        StoreError: If a folder holds no whole checkpoint.
    """
    if path.is_dir():
        read_meta(path)
        path = path / WEIGHTS
    if not path.is_file():
        raise DataError(f"there are no weights at {path}; put the file there or correct the path.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for _ in range(2):  # such as {"state_dict": {"model": ...}}
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        content = content if wrapper is None else content[wrapper]
    if not content or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        found = ", ".join(map(str, list(content)[:5]))
        raise DataError(
            f"{path} holds no tensors by name{f' but {found}' if found else ''}; save the "
            "network's state_dict()."
        )
    return {_PREFIX.sub("", name): value for name, value in content.items()}


def load_weights(backbone: Backbone, path: Path) -> dict[str, NDArray[np.float32]]:
    """Give a backbone the weights of a file; every tensor of the network must be there.

    Args:
        backbone: Takes them in place. Its mean and std change too where the file has them.
        path: As `read_weights` takes it.

    Returns:
        What was learned beside the head and scoring can use, as `Recipe.head_extras` gives it:
        from a folder of ours what lies there, from ImOOD's files the gamma layer.

    Raises:
        DataError: If the file is unreadable or its tensors are not those of the backbone.
        StoreError: If a folder holds no whole checkpoint.
    """
    extras = assign_weights(backbone, read_weights(path), str(path))
    return read_head_extras(path) if path.is_dir() else extras


def assign_weights(
    backbone: Backbone, state: Mapping[str, Tensor], source: str
) -> dict[str, NDArray[np.float32]]:
    """Give a backbone tensors that were read already.

    Args:
        backbone: Takes them in place.
        state: Tensors by bare name, as an official repository or we name them.
        source: Where they are from, for messages.

    Returns:
        ImOOD's gamma layer where the tensors hold it, as `Recipe.head_extras` names it.

    Raises:
        DataError: If the tensors are not those of the backbone, or not finite.
    """
    wanted = backbone.state_dict()
    translated = backbone.translate(state)
    leftovers = [name for name in translated if name not in wanted and _LEFTOVERS.match(name)]
    given = {name: value for name, value in translated.items() if name not in leftovers}
    _refuse_differences(backbone, wanted, given, source)
    extras = _gamma_layer(backbone, state)
    kept = [name for name in leftovers if extras and name in _GAMMA]
    dropped = [name for name in leftovers if name not in kept]
    for name in (*given, *kept):
        if not bool(torch.isfinite(translated[name]).all()):
            raise DataError(
                f"{source} holds values in {name} that are no finite numbers; take an undamaged "
                "file."
            )
    if kept:
        log(f"{source}: {', '.join(kept)} kept as ImOOD's gamma layer.")
    if dropped:
        log(f"{source}: left out, as neither features nor logits need it: {', '.join(dropped)}.")
    scaling = [name for name in _SCALING if name in given and name in wanted]
    changed = [name for name in scaling if not torch.equal(given[name], wanted[name].cpu())]
    if changed:
        log(f"{source}: {' and '.join(changed)} of the pixels are taken from it too.")
    backbone.load_state_dict({**wanted, **given}, strict=True)
    return extras


def _refuse_differences(
    backbone: Backbone, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str
) -> None:
    """Refuse tensors that are not those of the backbone, by name and shape."""
    missing = [name for name in wanted if name not in given and not _OPTIONAL.match(name)]
    unknown = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {list(given[name].shape)} there and {list(value.shape)} here"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or unknown or shapes:
        reasons = [*_names("lacks", missing), *_names("also holds", unknown), *shapes[:3]]
        its = "it " if missing or unknown else ""
        raise DataError(
            f"{source} does not hold the weights of {backbone.entry_name} as it is set: {its}"
            f"{'; '.join(reasons)}.{_hint(wanted, missing, unknown)} Choose the file of this "
            "network, or the settings and the number of classes it was trained with."
        )


def _gamma_layer(backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """ImOOD's layer from features to log gamma, if it is one of this backbone."""
    num_classes = backbone.images.num_classes
    shapes = [tuple(state[name].shape) for name in _GAMMA if name in state]
    if shapes != [(num_classes, backbone.feature_dim), (num_classes,)]:
        return {}
    return {new: state[name].float().cpu().numpy() for name, new in _GAMMA.items()}


def _names(what: str, names: list[str]) -> list[str]:
    """The first names in one phrase; empty without names."""
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what} {', '.join(names[:3])}{more}"]


def _hint(wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]) -> str:
    """What the difference means, where it is a head that no linear layer can stand for."""
    normalised = any(re.search(r"weight_[gv]$|\.parametrizations\.", name) for name in unknown)
    weight = missing[0].removesuffix("bias") + "weight" if len(missing) == 1 else ""
    if normalised or (weight in wanted and wanted[weight].ndim == 2):
        return (
            " Its head is no linear layer with a bias (such as a cosine or normalised "
            "classifier), which features and logits of ours cannot represent."
        )
    return ""


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Content of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors ({_reason(error)}); take an undamaged file."
        ) from error
    return tensors


def _read_torch(path: Path) -> dict[str, Any]:
    """Content of a file that torch.save wrote, without running code of it."""
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on pickles that it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            # Torch's own words advise to open the file unsafely, which would not help either.
            raise DataError(_unreadable(path, "it is no pickle of tensors")) from error
        raise DataError(
            f"{path} holds Python objects beside tensors, which could run code and are not "
            "opened; where it was written, save its tensors alone with "
            "torch.save(model.state_dict(), 'tensors.pth'), and give that file."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if "TorchScript" in str(error):
            raise DataError(
                f"{path} is a TorchScript archive, as OpenAI publishes CLIP, which brings code "
                "along and is not opened; where you trust it, save its tensors alone with "
                "torch.save(torch.jit.load(path, 'cpu').state_dict(), 'tensors.pth') and give "
                "that file."
            ) from error
        raise DataError(_unreadable(path, _reason(error))) from error
    return content if isinstance(content, dict) else {}


def _unreadable(path: Path, reason: str) -> str:
    return (
        f"{path} cannot be read as tensors ({reason}); give a file that torch.save wrote "
        "from a state dict, or a safetensors file."
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _numpy_scalars() -> list[Any]:
    """What a NumPy number in a file is made of; ImOOD keeps accuracies of this kind."""
    rebuild: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    return [(rebuild, "numpy.core.multiarray.scalar"), rebuild, np.dtype, *kinds]


_NUMPY_SCALARS = _numpy_scalars()
