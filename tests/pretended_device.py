"""A pretended CUDA device, so that a CPU can show what would go wrong on a GPU.

Tensors say that they lie on cuda:0 and hold their numbers on the CPU. Operations refuse what CUDA
refuses: tensors of two devices, and, under deterministic algorithms, those that have none there.
They are counted: kernels, copies, waits of the host for the device (by the line that waits), and
additions whose order changes from run to run. What it cannot show is the rounding and the races of
real kernels, memory, streams and autocast.
"""

import sys
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda:0")
aten = torch.ops.aten

#: Operations for which the host waits, because the shape or the value of the result is needed.
_WAITS = {
    *("nonzero", "masked_select", "bincount", "equal", "_unique", "_unique2", "unique_dim"),
    *("unique_consecutive", "_local_scalar_dense", "repeat_interleave"),
}
#: Operations that CUDA refuses under deterministic algorithms.
_NONE_DETERMINISTIC = {
    *("histc", "put_", "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward"),
    *("grid_sampler_2d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "nll_loss2d_forward"),
    *("upsample_linear1d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("max_unpool2d", "_embedding_bag_dense_backward", "_ctc_loss_backward"),
}
#: Operations that add in any order, unless algorithms are deterministic.
_ATOMIC = {
    *("index_add", "index_add_", "scatter_add", "scatter_add_", "cumsum", "scatter_reduce"),
    *("scatter_reduce_", "embedding_dense_backward", "index_select_backward"),
}
#: Operations that start nothing on the device.
_NO_KERNEL = {
    *("detach", "alias", "lift_fresh", "empty", "empty_like", "new_empty", "empty_strided"),
    *("new_empty_strided", "_unsafe_view", "_reshape_alias", "_local_scalar_dense"),
}
#: Operations that take a CPU's indices on a device, at the price of copying them.
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}

_pinned: "weakref.WeakSet[torch.Tensor]" = weakref.WeakSet()


@dataclass
class Counts:
    """What the device was asked for since the last `reset`.

    Attributes:
        kernels: Operations started.
        uploads: Copies to the device.
        downloads: Copies from the device.
        waits: How often the host waited, by the line of ltood that did.
        unordered: Additions of floating-point numbers in any order, by line.
    """

    kernels: int = 0
    uploads: int = 0
    downloads: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    unordered: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Forget all that was counted."""
        self.__init__()

    def wait(self, why: str) -> None:
        """Count one wait of the host."""
        self.waits[f"{why} at {_line()}"] += 1


counts = Counts()


def _line() -> str:
    """The innermost line of ltood, or of the test where ltood is not there."""
    frame: types.FrameType | None = sys._getframe(1)
    outer = "?"
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "ltood" in path.parts and "tests" not in path.parts[-3:]:
            if "site-packages" not in path.parts:
                return f"{path.parent.name}/{path.name}:{frame.f_lineno}"
        elif outer == "?" and path.name.startswith("test_"):
            outer = f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return outer


def _refused(*_: Any, **__: Any) -> Any:
    raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")


class OnDevice(torch.Tensor):
    """A tensor that says it lies on cuda:0; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, requires_grad: bool = False) -> "OnDevice":
        shape = torch.empty_strided(held.size(), held.stride(), dtype=held.dtype, device="meta")
        made = torch.Tensor._make_subclass(cls, shape, requires_grad, device_for_backend_keys=CUDA)
        made.held = held
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)
    numpy = __array__ = _refused
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def get_device(self) -> int:
        return 0

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        counts.wait("tolist")
        return self.held.detach().tolist()

    def __getitem__(self, index: Any) -> Any:
        return torch.Tensor.__getitem__(self, _without_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        torch.Tensor.__setitem__(self, _without_lists(index), value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnDevice":
        return OnDevice(self.held.detach().clone(), self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> Any:
        counts.wait("saving")
        return self.held.detach().__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.held})"


def _without_lists(index: Any) -> Any:
    """An index with its lists as tensors of the device, to which torch copies them."""
    if isinstance(index, tuple):
        return tuple(map(_without_lists, index))
    if isinstance(index, list):
        return torch.tensor(index).to("cuda")
    return index


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnDevice) else value


def _is_device(device: Any) -> bool:
    # C++ saw "meta" where Python code asked a tensor of the device for its own.
    return torch.device(device).type in {"cuda", "meta"}


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation, wherever its tensors lie."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, OnDevice)]
    wanted = kwargs.get("device")
    to_device = wanted is not None and _is_device(wanted)
    if not there and not to_device:
        return _on_cpu(func, args, kwargs)
    if name in {"_to_copy", "copy_"}:
        return _copy(func, name, args, kwargs, to_device=to_device or wanted is None)
    _check_devices(name, args, [x for x in tensors if not isinstance(x, OnDevice)])
    _count(func, name, args, kwargs)
    plain = {key: value for key, value in kwargs.items() if key not in {"device", "pin_memory"}}
    if wanted is not None:
        plain["device"] = torch.device("cpu")
    found = func(*pytree.tree_map(_held, args), **pytree.tree_map(_held, plain))
    if torch.Tag.inplace_view in func.tags:
        _reshape(func, args)
        return args[0]
    back = {id(x.held): x for x in there} | {id(x): x for x in tensors}

    def lies(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        return back[id(value)] if id(value) in back else OnDevice(value)

    return pytree.tree_map(lies, found)


def _reshape(func: Any, args: tuple[Any, ...]) -> None:
    """Give a tensor that changed its own shape, such as by `squeeze_`, that shape outside too."""
    before = torch._C._meta_in_tls_dispatch_include()
    with no_dispatch():
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            func(*args)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(before)


def _on_cpu(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    pinned = kwargs.pop("pin_memory", False) or func is aten._pin_memory.default
    found = args[0].clone() if func is aten._pin_memory.default else func(*args, **kwargs)
    if pinned:
        _pinned.add(found)
    return found


def _check_devices(name: str, args: tuple[Any, ...], plain: list[torch.Tensor]) -> None:
    """Refuse tensors of the CPU beside those of the device, as CUDA does."""
    wrong = [x for x in plain if x.dim()]  # A single number may lie anywhere.
    if name in _INDEXING and isinstance(args[0], OnDevice):
        indices = [x for x in args[1] if isinstance(x, torch.Tensor)]
        if any(not isinstance(x, OnDevice) for x in indices):
            counts.wait("index of the CPU")
        wrong = [x for x in args[2:3] if not isinstance(x, OnDevice) and x.dim()]
    if wrong:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu, in {name} at {_line()}"
        )


def _count(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    writes = [a.alias_info for a in func._schema.arguments if a.alias_info is not None]
    is_view = bool(writes) and not any(alias.is_write for alias in writes)
    counts.kernels += not (is_view or name in _NO_KERNEL)
    if name in _WAITS:
        counts.wait({"_local_scalar_dense": "item"}.get(name, name))
    if name in _INDEXING and any(
        isinstance(x, torch.Tensor) and x.dtype in {torch.bool, torch.uint8} for x in args[1]
    ):
        counts.wait("index by a mask")
    if not _has_no_order(func, name, args, kwargs):
        return
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if strict and name not in _ATOMIC | _INDEXING and not warns:
        raise RuntimeError(f"{name} has no deterministic implementation ({_line()})")
    if not strict or name not in _ATOMIC | _INDEXING:
        counts.unordered[f"{name} at {_line()}"] += 1


def _has_no_order(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the result of an operation may differ from run to run."""
    if name == "bincount":  # Counts are whole numbers, weights are not.
        return kwargs.get("weights") is not None or args[1:2] not in {(), (None,)}
    if name == "median":
        return func is not aten.median.default
    if name.startswith("scatter_reduce"):
        return args[4] not in {"amin", "amax"}
    if name in _INDEXING:
        return args[3:4] == (True,) and args[0].dtype.is_floating_point
    if name in _ATOMIC:
        return args[0].dtype.is_floating_point
    return name in _NONE_DETERMINISTIC


def _copy(
    func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, to_device: bool
) -> Any:
    """A copy to, from or on the device."""
    source = args[1] if name == "copy_" else args[0]
    if name == "copy_":
        to_device = isinstance(args[0], OnDevice)
    from_device = isinstance(source, OnDevice)
    at_once = kwargs.get("non_blocking", False) or args[2:3] == (True,)
    if to_device and not from_device:
        counts.uploads += 1
        if source.dim() and not (at_once and _is_pinned(source)):
            counts.wait("copy of pageable memory")
    elif from_device and not to_device:
        counts.downloads += 1
        if not (at_once and name == "copy_" and _is_pinned(args[0])):
            counts.wait("copy to the CPU")
    elif to_device:
        counts.kernels += 1
    if name == "copy_":
        func(*map(_held, args), **kwargs)
        return args[0]
    plain = {key: kwargs[key] for key in kwargs if key not in {"device", "pin_memory"}}
    copied = func(_held(source), **plain)
    return OnDevice(copied) if to_device else copied


def _is_pinned(tensor: torch.Tensor) -> bool:
    held = tensor._base if tensor._base is not None else tensor
    return any(held is known or tensor is known for known in _pinned)


class _Mode(TorchDispatchMode):
    """Sees what is asked of a device by name, where no tensor lies on it yet."""

    def __init__(self) -> None:
        super().__init__()
        # torch starts no CUDA for tensors that are made while such a mode is on.
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        self.allow_non_fake_inputs = self.cpp_meta_supports_symint = self.static_shapes = True
        self.cpp_meta_supports_symint = False
        self.shape_env = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    @classmethod
    def is_infra_mode(cls) -> bool:
        return True


@contextmanager
def _same_numbers(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _without_gradient(mode: Any) -> None:
    mode._inference_mode_context = torch.set_grad_enabled(not mode.mode)
    mode._inference_mode_context.__enter__()


class _Stream:
    """A queue of work; the pretended device does all at once."""

    def __init__(self, device: Any = None) -> None:
        """Take a device."""

    def wait_stream(self, other: "_Stream") -> None:
        """Begin when the other is done."""


class _Event:
    """A place in a queue, for which a host that runs ahead waits later."""

    recorded = False

    def record(self, stream: Any = None) -> None:
        """Mark the place."""
        self.recorded = True

    def synchronize(self) -> None:
        """Wait for it; one that was not recorded would let the host read too early."""
        assert self.recorded


def _patches() -> list[Any]:
    """What torch says of its GPUs while one is pretended."""
    about = types.SimpleNamespace(
        uuid="GPU-0", total_memory=24 << 30, name="pretended", major=9, minor=0
    )
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": lambda device: nullcontext(),
        "Stream": _Stream,
        "Event": _Event,
        "stream": lambda stream: nullcontext(),
        "current_stream": lambda device=None: _Stream(),
        "synchronize": lambda device=None: counts.wait("synchronize"),
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_device_properties": lambda device=None: about,
        "get_device_name": lambda device=None: about.name,
        "empty_cache": lambda: None,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
    }
    patches = [mock.patch.object(torch.cuda, key, answer) for key, answer in answers.items()]
    patches.append(mock.patch.object(torch.random, "fork_rng", _same_numbers))
    # Inference tensors are not for subclasses.
    patches.append(mock.patch.object(torch.inference_mode, "__enter__", _without_gradient))
    amp = torch.cuda.amp.common
    patches.append(mock.patch.object(amp, "amp_definitely_not_available", return_value=False))
    return patches


@contextmanager
def pretended_gpu() -> Iterator[Counts]:
    """Pretend that one GPU is there; gives the counts, from zero."""
    counts.reset()
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)
    swaps = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    patches = _patches()
    try:
        for patch in patches:
            patch.start()
        with torch.autograd.set_multithreading_enabled(False), _Mode():
            yield counts
    finally:
        for patch in patches:
            patch.stop()
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(swaps)
