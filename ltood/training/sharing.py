"""Training on several ranks that gives what one rank gives, up to rounding.

Every rank draws the same batch, sends its own rows through the network and gathers the outputs
of all, so that losses over the whole batch (contrast, class statistics, feature pools) are
computed from all rows everywhere and recipes need not know of ranks. The gradient of the rows of
others is theirs: each rank goes back through its own rows, then the gradients are added up.
Batch norm takes its statistics from the rows of all ranks. Dropout draws for the rows of each rank
by itself, so networks with it differ from a run on one rank in their draws.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltood.core.errors import ConfigError
from ltood.runtime.distributed import Ranks
from ltood.training.buckets import add_up, take_from_first


def split_evenly(num: int, ranks: Ranks) -> list[int]:
    """Rows of each rank among `num`, which differ by at most one."""
    return [
        num // ranks.world_size + (1 if rank < num % ranks.world_size else 0)
        for rank in range(ranks.world_size)
    ]


def share_norms(module: nn.Module, ranks: Ranks) -> None:
    """Let every batch norm inside take its statistics from the rows of all ranks.

    Args:
        module: Changed in place, where there are several ranks; its tensors keep their names.
        ranks: This process among the others.

    Raises:
        ConfigError: If a norm cannot be shared.
    """
    if ranks.world_size == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if not isinstance(child, SharedBatchNorm2d | SharedBatchNormOnGpu):
                setattr(module, name, shared_norm(child))
        else:
            share_norms(child, ranks)


def all_reduce_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Add up the gradients that the ranks found for their own rows, in place."""
    if ranks.world_size == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    add_up(gradients)


def share_recipe_gradients(recipe: nn.Module, ranks: Ranks) -> None:
    """Take rank 0's gradients of what the recipe itself learns, in place.

    Every rank computes them from the outputs of all, so they are equal to rounding; but ranks that
    add in any order (`training.deterministic: false`) would drift apart step by step.
    """
    if ranks.world_size > 1:
        take_from_first(value.grad for value in recipe.parameters() if value.grad is not None)


def share_recipe_state(recipe: nn.Module, ranks: Ranks) -> None:
    """Take rank 0's state of the recipe, such as its class means, in place."""
    if ranks.world_size > 1:
        held = recipe.state_dict().values()
        take_from_first(value for value in held if isinstance(value, Tensor))


def gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    """All-gather the rows of all ranks in order, [N, ...], without a gradient.

    Args:
        rows: Those of this rank, [n, ...].
        sizes: Rows of each rank.
    """
    # Ranks can only send what is of one size.
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows
    held = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(held, padded)
    return torch.cat([part[:size] for part, size in zip(held, sizes, strict=True)])


class AllGather(torch.autograd.Function):
    """All-gather whose backward gives each rank the gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], rank: int) -> Tensor:  # noqa: ANN401
        """Gather [n, ...] to [N, ...]."""
        ctx.start, ctx.num = sum(sizes[:rank]), sizes[rank]
        return gathered(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Gradient of the own rows: the loss behind it is the same on every rank."""
        return gradients[0][ctx.start : ctx.start + ctx.num], None, None


class AllReduce(torch.autograd.Function):
    """All-reduce (sum) whose backward sums the gradients of all ranks."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401
        """Add up `value` over the ranks."""
        del ctx
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        """Add up the gradients over the ranks."""
        del ctx
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics come from the rows of all ranks, on a CPU."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps, [n, channels, H, W], after the modules within, if there are any."""
        normalised = self._normalised(maps) if self.training else super().forward(maps)
        for step in self.children():
            normalised = step(normalised)
        return normalised

    def _normalised(self, maps: Tensor) -> Tensor:
        wide = maps.float()
        num = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = torch.cat([wide.sum((0, 2, 3)), num])
        totals = AllReduce.apply(sums)
        mean = totals[:-1] / totals[-1]
        centred = wide - mean[:, None, None]
        squares = AllReduce.apply(centred.square().sum((0, 2, 3)))
        variance = squares / totals[-1]
        self._remember(mean.detach(), variance.detach(), totals[-1].detach())
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        rounded: Tensor = scaled.to(maps.dtype)
        return rounded

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, num: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:  # the mean of all batches
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * num / (num - 1).clamp(min=1), share)


class SharedBatchNormOnGpu(nn.SyncBatchNorm):
    """The same on GPUs by torch's own kernels, which exist for these alone."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps, [n, channels, H, W], after the modules within, if there are any."""
        normalised: Tensor = super().forward(maps)
        for step in self.children():
            normalised = step(normalised)
        return normalised


def shared_norm(
    norm: nn.modules.batchnorm._BatchNorm,
) -> SharedBatchNorm2d | SharedBatchNormOnGpu:
    """A batch norm over all ranks with the tensors of `norm`, and what that does afterwards.

    Raises:
        ConfigError: If `norm` is not for maps, or it may do more than normalise.
    """
    steps = dict(norm.named_children())
    # timm's norms end with dropout and activation, held as modules of these names.
    plain = type(norm).forward is nn.BatchNorm2d.forward
    known = (plain and not steps) or list(steps) == ["drop", "act"]
    if not (isinstance(norm, nn.BatchNorm2d) and known):
        raise ConfigError(
            f"the backbone normalises with {type(norm).__name__}, which cannot be shared among "
            "several processes; start one process, or choose another backbone."
        )
    device = next(iter(norm.state_dict().values())).device
    kind = SharedBatchNormOnGpu if device.type == "cuda" else SharedBatchNorm2d
    shared = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, step in steps.items():
        shared.add_module(name, step)
    shared.load_state_dict(norm.state_dict())
    shared.to(device)
    for own, other in zip(shared.parameters(), norm.parameters(), strict=True):
        own.requires_grad_(other.requires_grad)
    return shared
