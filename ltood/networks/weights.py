"""Fitting weights from outside to a backbone.

Published files differ in wrapping and naming only: `ltood/networks/weight_files.py` unwraps them,
each backbone knows by `Backbone.translate` how the official repositories name its tensors, and a
prefix such as Lightning's "model." is removed where it is all that differs. Parts that only
training needed are left out by name; any other difference is refused, but for a head that is to be
trained anyhow, which starts afresh where that of the file does not fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.networks.backbone import Backbone
from ltood.networks.checkpoint import read_head_extras
from ltood.networks.weight_files import read_weights
from ltood.runtime.console import log

#: "given" takes the head of the file, "if_fitting" does so where it fits and else leaves the head
#: as it is, "fresh" always leaves it.
HeadPolicy = Literal["given", "if_fitting", "fresh"]

#: Tensors that a file may lack; ours are kept: scaling is a setting, the counters are unused.
_OPTIONAL = re.compile(r"(mean|std|.*\.num_batches_tracked)$")
_SCALING = ("mean", "std")
#: What networks call their last layer, for files whose network calls it otherwise than ours.
_HEADS = ("fc", "classifier", "head", "heads", "linear", "last_linear", "logits", "output")
#: Of two networks in one file, the momentum copy of self-supervised training is the second choice.
_COPIES = {"encoder_k.": "encoder_q."}


def load_weights(
    backbone: Backbone, path: Path, *, head: HeadPolicy = "given"
) -> dict[str, NDArray[np.float32]]:
    """Give a backbone the weights of a file; every tensor of the network must be there.

    Args:
        backbone: Takes them in place. Its mean and std change too where the file has them.
        path: As `read_weights` takes it.
        head: What becomes of the head.

    Returns:
        What was learned besides the head that scoring can use, as `Recipe.head_extras` gives it:
        from a folder of ours what lies there, from ImOOD's files the gamma layer.

    Raises:
        DataError: If the file is unreadable or its tensors are not those of the backbone.
        StoreError: If a folder holds no whole checkpoint.
    """
    extras = assign_weights(backbone, read_weights(path), str(path), head=head)
    return read_head_extras(path) if path.is_dir() else extras


def assign_weights(
    backbone: Backbone,
    state: Mapping[str, Tensor],
    source: str,
    *,
    head: HeadPolicy = "given",
) -> dict[str, NDArray[np.float32]]:
    """Give a backbone tensors that were read already.

    Args:
        backbone: Takes them in place.
        state: Tensors by bare name, as an official repository or we name them.
        source: Where they are from, for messages.
        head: What becomes of the head.

    Returns:
        ImOOD's gamma layer where the tensors hold it, as `Recipe.head_extras` names it.

    Raises:
        ConfigError: If they are for a network that computes otherwise than it is set.
        DataError: If the tensors are not those of the backbone, or not finite.
    """
    wanted = backbone.state_dict()
    found = _best(backbone, wanted, state, head)
    if found.problems:
        raise DataError(found.sentence(backbone, source))
    backbone.check_weights(found.state)
    extras, kept = _gamma_layer(backbone, found.state)
    for name, value in {**found.given, **{name: found.state[name] for name in kept}}.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(
                f"{source} holds values in {name} that are not finite; get an undamaged copy."
            )
    for line in found.report(kept):
        log(f"{source}: {line}.")
    if head != "given":
        log(f"{source}: {found.taken(wanted)}.")
    scaling = [name for name in _SCALING if name in found.given and name in wanted]
    changed = [name for name in scaling if not torch.equal(found.given[name], wanted[name].cpu())]
    if changed:
        log(f"{source}: {' and '.join(changed)} of the pixels are taken from it too.")
    backbone.load_state_dict({**wanted, **found.given}, strict=True)
    return extras


@dataclass
class _Match:
    """Comparison of the tensors of a file with those of a backbone, after removing a prefix.

    Attributes:
        prefix: Prefix to remove from the names; empty for none.
        state: Tensors of the network, as the file names them.
        others: Names of tensors without the prefix.
        given: Tensors that the backbone takes, by its own names.
        unused: Names that only training needed.
        head: Why the head starts afresh; empty if it does not.
        missing: Names that the backbone has and the file lacks.
        unknown: Names that only the file has.
        shapes: Clauses on tensors of another shape.
    """

    prefix: str
    state: dict[str, Tensor]
    others: list[str] = field(default_factory=list)
    given: dict[str, Tensor] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    head: str = ""
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> int:
        """Number of tensors that do not fit."""
        return len(self.missing) + len(self.unknown) + len(self.shapes)

    def report(self, kept: list[str]) -> list[str]:
        """Remarks for the user about weights that fit."""
        lines = []
        if self.prefix:
            lines.append(f"{self.prefix!r} is removed from the names")
        if self.others:
            lines.append(f"skipped, as they are not under {self.prefix!r}: {_some(self.others)}")
        if kept:
            lines.append(f"{', '.join(kept)} kept as ImOOD's gamma layer")
        dropped = [name for name in self.unused if name not in kept]
        if dropped:
            lines.append(f"skipped, as neither features nor logits need it: {', '.join(dropped)}")
        return lines

    def taken(self, wanted: Mapping[str, Tensor]) -> str:
        """How many of the wanted tensors are taken, and what becomes of the head."""
        taken, of = (
            sum(not _OPTIONAL.match(name) for name in names) for names in (self.given, wanted)
        )
        counts = f"{taken} of {of} tensors are taken from it"
        return f"{self.head}; the head starts afresh, {counts}" if self.head else counts

    def sentence(self, backbone: Backbone, source: str) -> str:
        """Why the weights are refused."""
        reasons = [
            *([f"lacks {_some(self.missing)}"] if self.missing else []),
            *([f"also holds {_some(self.unknown)}"] if self.unknown else []),
            *self.shapes[:3],
        ]
        its = "it " if self.missing or self.unknown else ""
        under = f" once {self.prefix!r} is removed from the names" if self.prefix else ""
        hint = _hint(backbone.state_dict(), self.missing, self.unknown)
        return (
            f"{source} does not hold the weights of {backbone.entry_name} as it is set{under}: "
            f"{its}{'; '.join(reasons)}.{hint} Choose the file of this network, or the settings "
            "and the number of classes it was trained with."
        )


def _best(
    backbone: Backbone,
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    head: HeadPolicy,
) -> _Match:
    """The names as they are where they fit, or else without the prefix that makes them fit best.

    Raises:
        DataError: If several prefixes do so equally well.
    """
    plain = _match(backbone, wanted, dict(state), head)
    if not plain.missing:
        return plain
    parts = [name.split(".") for name in state]
    prefixes = dict.fromkeys(
        ".".join(part[:depth]) + "." for depth in (1, 2) for part in parts if len(part) > depth
    )
    found = []
    for prefix in prefixes:
        inner = {
            name.removeprefix(prefix): value
            for name, value in state.items()
            if name.startswith(prefix)
        }
        match = _match(backbone, wanted, inner, head)
        match.prefix = prefix
        match.others = [name for name in state if not name.startswith(prefix)]
        if len(match.missing) < len(plain.missing) and len(match.given) > len(wanted) / 2:
            found.append(match)
    fitting = {match.prefix: match for match in found if not match.problems}
    for copy, first in _COPIES.items():
        if first in fitting:
            fitting.pop(copy, None)
    if len(fitting) > 1:
        raise DataError(
            f"the weights hold the network {len(fitting)} times, under "
            f"{' and '.join(map(repr, fitting))}; only the prefix differs, so save the "
            "tensors of one of them alone, without the prefix."
        )
    if fitting:
        return next(iter(fitting.values()))
    return min([plain, *found], key=lambda match: match.problems)


def _match(
    backbone: Backbone, wanted: Mapping[str, Tensor], state: dict[str, Tensor], head: HeadPolicy
) -> _Match:
    """Compare tensors with those of the backbone, by name and shape."""
    match = _Match("", state)
    shown = {id(value): name for name, value in state.items()}
    translated = {
        name: _number(value, wanted.get(name)) for name, value in backbone.translate(state).items()
    }
    own_head = backbone.head_names()
    if head != "given" and own_head:
        stem = own_head[0].rpartition(".")[0] + "."
        theirs = {name: translated.pop(name) for name in list(translated) if name.startswith(stem)}
        theirs = theirs or _other_head(wanted, translated, own_head)
        match.head = _misfit(wanted, theirs, own_head)
        if head == "fresh":
            match.head = match.head or "its head is for other classes"
        if not match.head:
            translated |= theirs
    skipped = own_head if match.head else ()
    for name, value in translated.items():
        if name in wanted:
            if value.shape == wanted[name].shape:
                match.given[name] = value
            else:
                match.shapes.append(
                    f"{name} is {list(value.shape)} in the file and {list(wanted[name].shape)} here"
                )
        elif any(repository.unused.match(name) for repository in backbone.repositories):
            match.unused.append(name)
        else:
            match.unknown.append(shown.get(id(value), name))
    match.missing = [
        name
        for name in wanted
        if name not in translated and name not in skipped and not _OPTIONAL.match(name)
    ]
    return match


def _other_head(
    wanted: Mapping[str, Tensor], translated: dict[str, Tensor], own_head: tuple[str, ...]
) -> dict[str, Tensor]:
    """Take the head out of the tensors of a file that calls it otherwise.

    Returns:
        Its tensors, by our names where it is one linear layer; none where there is no such head.
    """
    theirs = {
        name: translated.pop(name)
        for name in list(translated)
        if name not in wanted and name.partition(".")[0] in _HEADS
    }
    named = {name.rpartition(".")[2]: value for name, value in theirs.items()}
    if len(theirs) == len(named) and set(named) == {"weight", "bias"}:
        return dict(zip(own_head, (named["weight"], named["bias"]), strict=True))
    return theirs


def _number(value: Tensor, wanted: Tensor | None) -> Tensor:
    """A single number in the shape it is wanted in, such as [1] for []."""
    one = wanted is not None and value.numel() == wanted.numel() == 1
    return value.reshape(wanted.shape) if one and wanted is not None else value


def _misfit(
    wanted: Mapping[str, Tensor], theirs: Mapping[str, Tensor], names: tuple[str, ...]
) -> str:
    """Why the head of a file does not fit; empty if it does."""
    if not theirs:
        return "it holds no head"
    if set(theirs) != set(names):
        return f"its head is not one linear layer with a bias ({_some(sorted(theirs))})"
    weight, own = theirs[names[0]], wanted[names[0]]
    if weight.ndim == own.ndim and weight.shape != own.shape and weight.shape[1] == own.shape[1]:
        return f"its head has {len(weight)} outputs, but {len(own)} are needed here"
    return ""


def _gamma_layer(
    backbone: Backbone, state: Mapping[str, Tensor]
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """ImOOD's layer from features to log gamma, if it is one of this backbone, and its names."""
    num_classes = backbone.images.num_classes
    for repository in backbone.repositories:
        found = [name for name in repository.gamma if name in state]
        shapes = [tuple(state[name].shape) for name in found]
        if shapes == [(num_classes, backbone.feature_dim), (num_classes,)]:
            return {
                repository.gamma[name]: state[name].float().cpu().numpy() for name in found
            }, found
    return {}, []


def _some(names: list[str]) -> str:
    """The first names in one phrase."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _hint(wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]) -> str:
    """Explanation if the file's head cannot be represented by a linear layer; "" otherwise."""
    normalised = any(re.search(r"weight_[gv]$|\.parametrizations\.", name) for name in unknown)
    weight = missing[0].removesuffix("bias") + "weight" if len(missing) == 1 else ""
    if normalised or (weight in wanted and wanted[weight].ndim == 2):
        return (
            " Its head is not a linear layer with a bias (but perhaps a cosine or normalised "
            "classifier), which features and logits of ours cannot represent."
        )
    return ""
