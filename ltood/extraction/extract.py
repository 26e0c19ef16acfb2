"""Extraction: images through a trained backbone, once, into a feature store.

Work is cut at the chunks of the store, and each chunk into batches from its own first row on,
so that a batch holds the same images whoever computes it: a run that is killed and started
again, or shared by several ranks, gives the same bytes as an unbroken one on the same kind of
device.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, FingerprintError
from ltood.core.limits import Limits
from ltood.core.settings import Settings, to_section
from ltood.images.decoding import Transform, decode
from ltood.images.sources import ImageData, ImageSource
from ltood.runtime.console import log, progress
from ltood.runtime.distributed import Ranks
from ltood.runtime.provenance import code_digest, digest, library_versions
from ltood.store.features import ArraySpec, FeatureWriter, SplitSpec, StoreSpec
from ltood.store.layout import VIEWS_SPLIT

if TYPE_CHECKING:
    import torch

    from ltood.images.views import RandomViews
    from ltood.networks.backbone import Backbone
    from ltood.runtime.devices import Precision

#: What the store's provenance takes over from the checkpoint's description.
_FROM_CHECKPOINT = ("backbone", "recipe", "training", "seed")
_COLUMNS = {"labels": ArraySpec("int64"), "ids": ArraySpec("int64")}


@dataclass(frozen=True)
class ExtractionConfig(Settings):
    """Settings of extraction.

    Attributes:
        dtype: Number format of stored features; logits are always float32, and features of
            patches always float16.
        batch_size: Images (or views of them) that go through the backbone at once.
        rows_per_chunk: Rows that are stored at once; null chooses chunks of 8 to 16 MiB.
        amp: "bf16" computes the network in bfloat16; "auto" does so on GPUs that can; "off" is
            float32 throughout, never TF32.
        channels_last: Memory layout; null takes it on GPUs, where it is faster.
    """

    section: ClassVar[str] = "extraction"

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 256
    rows_per_chunk: Annotated[int, Limits(at_least=1, at_most=10**8)] | None = None
    amp: Literal["auto", "off", "bf16"] = "off"
    channels_last: bool | None = None


def extract(
    checkpoint: Path,
    data: ImageData,
    out: Path,
    config: ExtractionConfig,
    *,
    device_name: str = "auto",
    ranks: Ranks | None = None,
) -> None:
    """Write features of every split, going on where a killed run of the same inputs stopped.

    Args:
        checkpoint: Folder of a finished checkpoint.
        data: Images of all splits.
        out: Feature store. One of other inputs is replaced; a finished one of the same inputs
            is left as it is.
        config: Settings.
        device_name: As `runtime.devices.choose_device` takes it.
        ranks: This process among those that share the work; alone if not given.

    Raises:
        ConfigError: If the device is not there.
        DataError: If the images are not those the backbone was trained for.
        StoreError: If there is no whole checkpoint, or `out` is no feature store or cannot
            be written.
    """
    from ltood.networks.checkpoint import load_checkpoint, read_head_extras
    from ltood.runtime.devices import choose_device, deterministic, resolve_precision

    ranks = ranks or Ranks()
    device = choose_device(ranks.device_name(device_name))
    backbone, meta = load_checkpoint(checkpoint, device)
    _check_images(data, backbone, meta)
    precision = resolve_precision(config.amp, device)
    spec = _store_spec(data, backbone, config)
    provenance = _provenance(data, backbone, meta, config, precision)
    head = {**backbone.head_arrays(), **read_head_extras(checkpoint)}
    inputs = (spec, provenance, head, data.class_names, data.class_counts)
    if ranks.rank == 0:
        writer = _open(out, inputs)
    ranks.barrier()
    if ranks.rank != 0:
        writer = FeatureWriter.resume(out, *inputs)
    # One list for all: each rank would else see what others have written in the meantime.
    work = ranks.broadcast([(name, rows) for name in spec.splits for rows in writer.missing(name)])
    with deterministic(device):
        network = _Network(backbone, device, precision, config)
        share = [network.part(data, *task) for task in work[ranks.rank :: ranks.world_size]]
        total = sum(len(part) for part in share)
        blocks = _ahead(load for part in share for load in part.loads())
        with progress(f"extract {meta['backbone']['name']}", total, "images") as advance:
            for part in share:
                writer.write(part.split, part.start, network.rows(part, blocks))
                advance(len(part))
    ranks.barrier()
    if ranks.rank == 0:
        writer.finish()


def _check_images(data: ImageData, backbone: "Backbone", meta: Mapping[str, Any]) -> None:
    """Refuse images and classes that the backbone was not trained for."""
    trained = meta["images"]
    shape = [trained["height"], trained["width"], trained["channels"]]
    if list(data.class_names) != meta["class_names"]:
        raise DataError(
            f"the checkpoint was trained for {len(meta['class_names'])} classes "
            f"({_some(meta['class_names'])}), the prepared data have {len(data.class_names)} "
            f"({_some(data.class_names)}); run the train stage again."
        )
    for name in data.splits():
        source = data.split(name) if backbone.geometry is None else data.source(name)
        if source.shape is None:
            continue
        found = list(source.shape)
        if found != shape and not backbone.fixed_size:
            raise DataError(
                f"images of {name} have the shape {found}, the checkpoint was trained on {shape}; "
                "run the train stage again."
            )


def _some(names: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")


def _store_spec(data: ImageData, backbone: "Backbone", config: ExtractionConfig) -> StoreSpec:
    images = backbone.images
    arrays = {"features": ArraySpec(config.dtype, (backbone.feature_dim,))}
    if backbone.local_shape is not None:
        arrays["local"] = ArraySpec("float16", backbone.local_shape)
    splits = {}
    views = _views(data, backbone)
    if views is not None:
        several = {key: ArraySpec(a.dtype, (views.num, *a.shape)) for key, a in arrays.items()}
        splits[VIEWS_SPLIT] = SplitSpec(len(views.ids), {**several, **_COLUMNS})
    if backbone.has_head:
        arrays["logits"] = ArraySpec("float32", (images.num_classes + images.num_extra,))
    for name in data.splits():
        splits[name] = SplitSpec(len(data.source(name)), {**arrays, **_COLUMNS})
    return StoreSpec(splits, config.rows_per_chunk)


def _views(data: ImageData, backbone: "Backbone") -> "RandomViews | None":
    """How views of the training images are made, where the backbone wants some."""
    if "train" not in data.splits():
        return None
    return backbone.training_views(np.array(data.source("train").ids))


def _provenance(
    data: ImageData,
    backbone: "Backbone",
    meta: Mapping[str, Any],
    config: ExtractionConfig,
    precision: "Precision",
) -> dict[str, Any]:
    """Everything that decides the features, as plain values; no host and no time."""
    settings = to_section(config)
    return {
        "source": "extraction",
        "dataset": {
            "name": data.manifest["dataset"],
            "settings": dict(data.manifest["settings"]),
            "sha256": digest(data.manifest),
        },
        **{key: meta[key] for key in _FROM_CHECKPOINT},
        "checkpoint": {
            "weights_sha256": meta["weights_sha256"],
            "fingerprint": meta["fingerprint"],
        },
        "preprocessing": {**backbone.preprocessing, **_geometry(data, backbone)},
        "extraction": {key: settings[key] for key in settings if key != "amp"},
        "precision": precision,
        "libraries": library_versions(),
        "code_sha256": code_digest(
            "ltood.extraction.extract", f"ltood.backbones.{meta['backbone']['name']}"
        ),
    }


def _geometry(data: ImageData, backbone: "Backbone") -> dict[str, Any]:
    """How pictures were brought to size, where some were."""
    geometry = backbone.geometry
    if geometry is None:
        return {}
    files = any(data.source(name).shape is None for name in data.splits())
    return {"geometry": geometry.describe()} if files or backbone.fixed_size else {}


def _open(out: Path, inputs: tuple[Any, ...]) -> FeatureWriter:
    """Go on with the store at `out`, or replace one that was made from other inputs."""
    # A name of its own: a kill while the old store is deleted leaves no half store at `out`.
    old = out.with_name(f".{out.name}.old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        try:
            return FeatureWriter.resume(out, *inputs)
        except FingerprintError as error:
            log(f"{error.args[0].partition(' Remove it')[0]} Extraction starts over.")
            out.rename(old)
            shutil.rmtree(old)
    return FeatureWriter.create(out, *inputs)


@dataclass(frozen=True)
class _Part:
    """Rows of one split that make a chunk of the store.

    Attributes:
        split: Split of the store.
        source: Their images.
        start: The first row.
        stop: The row after the last.
        step: Rows of a batch.
        transform: Makes a picture an array; None takes the arrays as they are.
    """

    split: str
    source: ImageSource
    start: int
    stop: int
    step: int
    transform: Transform | None

    def __len__(self) -> int:
        return self.stop - self.start

    def loads(self) -> list[Callable[[], NDArray[np.uint8]]]:
        """What gives the pixels of each batch, [n, H, W, C], or [n, V, H, W, C] for views."""
        firsts = range(self.start, self.stop, self.step)
        return [partial(self._load, first, min(first + self.step, self.stop)) for first in firsts]

    def _load(self, first: int, last: int) -> NDArray[np.uint8]:
        if self.transform is not None:
            return decode(self.source, range(first, last), self.transform)
        assert self.source.pixels is not None  # _check_images refuses files otherwise
        # A copy, because memory-mapped rows are read-only, which torch does not know.
        return np.array(self.source.pixels[first:last])


def _ahead(loads: Iterable[Callable[[], NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
    """Blocks of pixels in order, the next one being loaded while one is in use."""
    waiting: Future[NDArray[np.uint8]] | None = None
    with ThreadPoolExecutor(1) as pool:
        for load in loads:
            following = pool.submit(load)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


class _Network:
    """A backbone that turns row ranges of images into the arrays of a store."""

    def __init__(
        self,
        backbone: "Backbone",
        device: "torch.device",
        precision: "Precision",
        config: ExtractionConfig,
    ) -> None:
        import torch

        on_gpu = device.type == "cuda"
        last = on_gpu if config.channels_last is None else config.channels_last
        self._layout = torch.channels_last if last else torch.contiguous_format
        self._backbone = backbone.to(memory_format=self._layout)
        self._device, self._precision = device, precision
        self._batch_size = config.batch_size

    def part(self, data: ImageData, name: str, rows: tuple[int, int]) -> _Part:
        """Rows of the split `name` of the store, with their images."""
        if name == VIEWS_SPLIT:
            views = _views(data, self._backbone)
            assert views is not None  # the store has the split
            step = max(1, self._batch_size // views.num)
            return _Part(name, data.source("train"), *rows, step, views)
        source, geometry = data.source(name), self._backbone.geometry
        if source.shape is not None and geometry is not None:
            fits = source.shape[:2] == geometry.size
            geometry = geometry if self._backbone.fixed_size and not fits else None
        return _Part(name, source, *rows, self._batch_size, geometry)

    def rows(self, part: _Part, blocks: Iterator[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """Arrays of one part, the next of whose blocks of pixels are its own."""
        import torch

        from ltood.runtime.devices import autocast, no_tf32

        outputs: dict[str, list[torch.Tensor]] = {}
        precision = autocast(self._device, self._precision)
        with torch.inference_mode(), no_tf32(), precision:
            for block in islice(blocks, len(part.loads())):
                for name, values in self._outputs(block).items():
                    outputs.setdefault(name, []).append(values)
        return {
            **{name: torch.cat(values).cpu().numpy() for name, values in outputs.items()},
            "labels": np.array(part.source.labels[part.start : part.stop]),
            "ids": np.array(part.source.ids[part.start : part.stop]),
        }

    def _outputs(self, block: NDArray[np.uint8]) -> "dict[str, torch.Tensor]":
        """Arrays of one batch of pixels by name."""
        import torch

        pixels = torch.from_numpy(block).to(self._device).flatten(0, -4)
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=self._layout)
        pooled, local = self._backbone.embed(scaled)
        found = {"features": pooled.float()}
        if local is not None and self._backbone.local_shape is not None:
            found["local"] = local.half()
        rows = block.shape[:-3]  # [n], or [n, V] for views
        found = {key: values.reshape(*rows, *values.shape[1:]) for key, values in found.items()}
        if self._backbone.has_head and block.ndim == 4:
            found["logits"] = self._backbone.classify(pooled).float()
        return found
