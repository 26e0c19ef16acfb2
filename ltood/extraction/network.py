"""Run a backbone: images of a chunk in, rows of a store out."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extras import Extra
from ltood.extraction.gathering import Chunk, Gathering
from ltood.extraction.parts import Part
from ltood.store.layout import group_of, part_name

if TYPE_CHECKING:
    import torch

    from ltood.networks.backbone import Backbone
    from ltood.runtime.devices import Precision


class Network:
    """A backbone that turns row ranges of images into the arrays of a store.

    Attributes:
        backbone: In evaluation mode, on the device.
        device: Where it computes.
        precision: In what numbers.
        extras: Kinds of extra arrays by group.
    """

    def __init__(
        self,
        backbone: "Backbone",
        device: "torch.device",
        precision: "Precision",
        config: ExtractionConfig,
        extras: Mapping[str, Extra],
    ) -> None:
        from ltood.networks.pixels import memory_layout

        self._layout = memory_layout(config.channels_last, device)
        self.backbone = backbone.to(memory_format=self._layout)
        self.backbone.requires_grad_(False)  # Gradients go to pixels alone.
        self._body = self.backbone
        if config.fold_batch_norm:
            from ltood.networks.folding import folded

            self._body = folded(self.backbone)
        self._embed: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]
        self._embed = self._body.embed
        self.device, self.precision = device, precision
        self.extras = extras

    def compile(self, batch_size: int) -> None:
        """Let torch compile what computes features, for batches of one size, before the first."""
        from ltood.extraction.compiled import Compiled

        self._embed = Compiled(self._body, batch_size, self.device, self._layout)

    @property
    def names(self) -> list[str]:
        """Names of a split and its parts, of which a batch makes all that can be computed."""
        return ["test", *(part_name("test", group) for group in self.extras)]

    def chunks(self, part: Part, blocks: "Iterator[torch.Tensor]") -> Iterator[tuple[str, Chunk]]:
        """Chunks of one part, the next of whose blocks of pixels, on the device, are its own.

        Yields:
            Name of the split or part, and each chunk as soon as all its rows were computed.
        """
        gathered = {name: Gathering(ranges, self.device) for name, ranges in part.wanted.items()}
        for batch in part.batches():
            needed = [name for name in part.wanted if part.needs(name, batch)]
            for name, arrays in self.outputs(next(blocks), needed).items():
                for chunk in gathered[name].add(batch[0], arrays):
                    yield name, chunk

    def outputs(
        self, pixels: "torch.Tensor", needed: Sequence[str]
    ) -> "dict[str, dict[str, torch.Tensor]]":
        """Arrays of one batch of pixels, for the split and its parts by name."""
        from ltood.networks.pixels import images_as_input
        from ltood.runtime.devices import autocast

        scaled = images_as_input(pixels, self._layout)
        base = functools.cache(lambda: self._base(scaled, tuple(pixels.shape[:-3])))
        found = {}
        for name in needed:
            if not group_of(name):
                found[name] = base()[0]
                continue
            with autocast(self.device, self.precision):
                extra = self.extras[group_of(name)]
                found[name] = dict(extra.compute(scaled, lambda: base()[1]))
        return found

    def _base(
        self, scaled: "torch.Tensor", rows: tuple[int, ...]
    ) -> "tuple[dict[str, torch.Tensor], torch.Tensor]":
        """Arrays of the split itself, and features, of images [n, ...] or views [n x V, ...]."""
        import torch

        from ltood.runtime.devices import autocast

        with torch.inference_mode():
            with autocast(self.device, self.precision):
                pooled, local = self._embed(scaled)
            found = {"features": pooled.float()}
            if local is not None and self.backbone.local_shape is not None:
                found["local"] = local.half()
            found = {key: values.reshape(*rows, *values.shape[1:]) for key, values in found.items()}
            if self.backbone.has_head and len(rows) == 1:
                # In float32, as stage two computes them: a coarser format ties rows.
                found["logits"] = self.backbone.classify(found["features"])
        return found, pooled
