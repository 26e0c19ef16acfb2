"""Extraction: images through a trained backbone, once, into a feature store.

Work is cut at the chunks of the store, and each chunk into batches from its own first row on,
so that a batch holds the same images whoever computes it: a run that is killed and started
again, or shared by several ranks, gives the same bytes as an unbroken one on the same kind of
device.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltood.core.errors import DataError, StoreError
from ltood.core.extras import MODULES
from ltood.core.settings import to_section
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extras import Extra, check_precision, extra, is_held_by
from ltood.extraction.gathering import Chunk
from ltood.extraction.kept import keep_splits, kept_splits, prune
from ltood.extraction.loading import load_ahead, on_device
from ltood.extraction.missing import Task, missing_chunks, report_kept
from ltood.extraction.network import Network
from ltood.extraction.parts import Part, batch_rows, part_of, training_views
from ltood.extraction.sizing import Sizing, saying_what_fits
from ltood.extraction.writing import Writing
from ltood.images.sources import ImageData, ImageSource, images_digest
from ltood.runtime.console import log, progress
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import sweep_temporaries
from ltood.runtime.provenance import code_digest, digest, library_versions
from ltood.store.layout import VIEWS_SPLIT, ArraySpec, SplitSpec, StoreSpec, group_of, part_name
from ltood.store.metadata import store_kind
from ltood.store.writer import SplitWriter, StoreInputs, assemble, is_finished, what_differs

if TYPE_CHECKING:
    from ltood.networks.backbone import Backbone

#: What the store's provenance takes over from the checkpoint's description.
_FROM_CHECKPOINT = ("backbone", "recipe", "training", "seed")
#: Settings that decide the arrays of every store; those of extra arrays decide these alone.
_SETTINGS = ("batch_size", "channels_last", "dtype", "rows_per_chunk")
#: Settings that round otherwise; only those that are on are recorded.
FASTER = ("compile", "fold_batch_norm")
_COLUMNS = {"labels": ArraySpec("int64"), "ids": ArraySpec("int64")}


def extract(
    checkpoint: Path,
    data: ImageData,
    out: Path,
    config: ExtractionConfig,
    *,
    kept: Path | None = None,
    device_name: str = "auto",
    ranks: Ranks | None = None,
    extras: Iterable[str] | None = None,
) -> None:
    """Write features of every split, computing only what no earlier run has computed.

    Splits are kept outside the store, by what they were made from: a killed run continues, and of
    a changed data set only the changed splits are computed. So are extra arrays, which leave the
    others as they are.

    Args:
        checkpoint: Folder of a finished checkpoint.
        data: Images of all splits.
        out: Feature store, which appears when it is finished; an older one is replaced.
        config: Settings.
        kept: Folder of kept splits; "extracting" in the folder of `out` if not given.
        device_name: As `runtime.devices.choose_device` takes it.
        ranks: This process among those that share the work; alone if not given.
        extras: Groups of extra arrays; those that the settings name if not given.

    Raises:
        ConfigError: If the device is not there, or the backbone cannot give an extra array.
        DataError: If the images are not those the backbone was trained for.
        StoreError: If there is no whole checkpoint, or `out` is not a feature store or cannot
            be written.
    """
    ranks = ranks or Ranks()
    kept = kept or out.with_name("extracting")
    sizing = Sizing(kept, ranks)
    device_name = ranks.device_name(device_name)
    job = plan_extraction(checkpoint, data, config, device_name, extras, sizing)
    inputs = job.inputs
    writers = kept_splits(kept, inputs.spec)

    def missing() -> list[Task]:
        _refuse_strangers(out)
        keep_splits(out, kept)
        found = missing_chunks(writers, inputs.spec, job.batches(data))
        _report(out, inputs, found, writers)
        return found

    # One list for all: each rank would else see what others have written in the meantime.
    work = ranks.on_rank_zero(missing)
    job.run("extract", data, work[ranks.rank :: ranks.world_size], writers)
    ranks.barrier()
    if ranks.rank == 0:
        splits = {name: writer.files for name, writer in writers.items()}
        if not is_finished(out, inputs):
            assemble(out, inputs, splits)
        prune(kept, splits.values())
        # Of a run that could not remove the store that it had replaced.
        sweep_temporaries(out.parent)


@dataclass(frozen=True)
class Job:
    """What an extraction writes and computes with.

    Attributes:
        inputs: Description of the store.
        network: The backbone on its device, with its extra arrays.
        batch_size: Images of a batch.
        name: Name of the backbone, for messages.
    """

    inputs: StoreInputs
    network: Network
    batch_size: int
    name: str

    def run(
        self, verb: str, data: ImageData, tasks: Iterable[Task], writers: Mapping[str, SplitWriter]
    ) -> None:
        """Send the images of some tasks through the network and write what comes out.

        Args:
            verb: What the progress bar calls it.
            data: Images of all splits.
            tasks: Chunks to compute.
            writers: Where they go, by split.
        """
        from ltood.runtime.devices import deterministic

        network, size, precision = self.network, self.batch_size, self.network.precision
        parts = [part_of(data, network.backbone, size, *task) for task in tasks]
        with (
            deterministic(network.device),
            saying_what_fits(network, size),
            progress(f"{verb} {self.name}", sum(map(len, parts)), "images") as advance,
            closing(load_ahead(parts, network.device)) as loaded,
            closing(on_device(loaded, network.device)) as blocks,
            Writing() as writing,
        ):
            for part in parts:
                for name, chunk in network.chunks(part, blocks):
                    writing.put(
                        chunk.num_bytes, partial(_write, writers[name], precision, part, chunk)
                    )
                advance(len(part))

    def batches(self, data: ImageData) -> dict[str, int]:
        """Rows of a batch, by split of the store."""
        backbone, size = self.network.backbone, self.batch_size
        return {name: batch_rows(data, backbone, size, name) for name in self.inputs.spec.splits}


def _write(writer: SplitWriter, precision: str, part: Part, chunk: Chunk) -> None:
    """Write a chunk with its labels and row numbers, which extra arrays do without."""
    arrays, rows = chunk.arrays(), slice(chunk.start, chunk.stop)
    if precision == "float16" and not all(np.isfinite(values).all() for values in arrays.values()):
        raise DataError(
            f"rows {chunk.start} to {chunk.stop} of split {writer.files.name} have features that "
            "are not finite: the network makes numbers above 65,504, the largest of float16; set "
            "extraction.amp to bf16 or off."
        )
    if not group_of(writer.files.name):
        arrays["labels"] = np.array(part.source.labels[rows])
        arrays["ids"] = np.array(part.source.ids[rows])
    writer.write(chunk.start, arrays)


def plan_extraction(
    checkpoint: Path,
    data: ImageData,
    config: ExtractionConfig,
    device_name: str,
    extras: Iterable[str] | None,
    sizing: Sizing,
) -> Job:
    """What `extract` would write, without computing a row; the arguments are its own.

    Args:
        checkpoint: Folder of a finished checkpoint.
        data: Images of all splits.
        config: Settings.
        device_name: As `runtime.devices.choose_device` takes it.
        extras: Groups of extra arrays; those that the settings name if not given.
        sizing: Where the size of batches is kept if the setting is auto.

    Raises:
        ConfigError: If the device is not there, or the backbone cannot give an extra array.
        DataError: If the images are not those the backbone was trained for.
        StoreError: If there is no whole checkpoint.
    """
    from ltood.networks.checkpoint import load_checkpoint, read_head_extras
    from ltood.runtime.devices import choose_device, resolve_precision

    device = choose_device(device_name)
    backbone, meta = load_checkpoint(checkpoint, device)
    _check_images(data, backbone, meta)
    precision = resolve_precision(config.amp, device, "extraction.amp")
    if extras is None:
        extras = () if config.extras == "auto" else config.extras
    groups = {group: extra(group, backbone, config) for group in sorted(set(extras))}
    check_precision(tuple(groups), precision)
    network = Network(backbone, device, precision, config, groups)
    weights = {key: meta[key] for key in ("weights_sha256", "fingerprint")}
    size = config.batch_size
    if size == "auto":
        known = {"checkpoint": weights, "precision": precision}
        size = sizing.size(network, data, known)
    config = replace(config, batch_size=size)
    if config.compile:
        network.compile(size)
    entry = f"ltood.backbones.{meta['backbone']['name']}"
    made_with = {
        "checkpoint": weights,
        "preprocessing": backbone.preprocessing,
        "extraction": _settings(config),
        "precision": precision,
        "code_sha256": code_digest("ltood.extraction.extract", entry),
    }
    inputs = StoreInputs(
        _store_spec(data, backbone, config, made_with, groups),
        {**_provenance(data, backbone, meta, made_with), **_described(groups)},
        {**backbone.head_arrays(), **read_head_extras(checkpoint)},
        data.class_names,
        data.class_counts,
    )
    return Job(inputs, network, size, meta["backbone"]["name"])


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


def _store_spec(
    data: ImageData,
    backbone: "Backbone",
    config: ExtractionConfig,
    made_with: Mapping[str, Any],
    groups: Mapping[str, Extra],
) -> StoreSpec:
    """Splits of the store, each with the digest of all that decides its rows but not its name."""
    images = backbone.images
    arrays = {"features": ArraySpec(config.dtype, (backbone.feature_dim,))}
    if backbone.local_shape is not None:
        arrays["local"] = ArraySpec("float16", backbone.local_shape)

    def fingerprint(name: str, **kind: Any) -> str:  # noqa: ANN401 - any plain value
        return digest(
            {
                **made_with,
                "content": data.manifest["splits"][name]["content"],
                "geometry": _geometry_of(data.source(name), backbone),
                **kind,
            }
        )

    splits = {}
    views = training_views(data, backbone)
    if views is not None:
        several = {key: ArraySpec(a.dtype, (views.num, *a.shape)) for key, a in arrays.items()}
        splits[VIEWS_SPLIT] = SplitSpec(
            len(views.ids), {**several, **_COLUMNS}, fingerprint("train", views=True)
        )
    if backbone.has_head:
        arrays["logits"] = ArraySpec("float32", (images.num_classes + images.num_aux_outputs,))
    for name in data.splits():
        splits[name] = SplitSpec(
            len(data.source(name)), {**arrays, **_COLUMNS}, fingerprint(name, views=False)
        )
        for group, kind in groups.items():
            if is_held_by(group, name):
                splits[part_name(name, group)] = SplitSpec(
                    len(data.source(name)),
                    kind.arrays(),
                    fingerprint(
                        name,
                        extra=group,
                        settings=kind.settings(),
                        extra_code_sha256=code_digest(MODULES[group]),
                    ),
                )
    return StoreSpec(splits, config.rows_per_chunk)


def _provenance(
    data: ImageData,
    backbone: "Backbone",
    meta: Mapping[str, Any],
    made_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that decides the features, as plain values; no host and no time."""
    geometries = [_geometry_of(data.source(name), backbone) for name in data.splits()]
    return {
        "source": "extraction",
        "dataset": {
            "name": data.manifest["dataset"],
            "settings": dict(data.manifest.get("settings", {})),
            "sha256": images_digest(data),
        },
        **{key: meta[key] for key in _FROM_CHECKPOINT},
        **made_with,
        "preprocessing": {
            **backbone.preprocessing,
            **next(({"geometry": geometry} for geometry in geometries if geometry), {}),
        },
        "libraries": library_versions(),
    }


def _described(groups: Mapping[str, Extra]) -> dict[str, Any]:
    """Settings of the extra arrays, for the provenance; nothing where there are none."""
    settings = {group: kind.settings() for group, kind in groups.items()}
    return {"extras": settings} if settings else {}


def _settings(config: ExtractionConfig) -> dict[str, Any]:
    """Settings that decide the features; of `amp` the precision that it led to."""
    return {
        key: value
        for key, value in to_section(config).items()
        if key in _SETTINGS or (key in FASTER and value)
    }


def _geometry_of(source: ImageSource, backbone: "Backbone") -> dict[str, Any] | None:
    """Resizing of the images of one split; None if they keep their size."""
    geometry = backbone.geometry
    if geometry is None or (source.shape is not None and not backbone.fixed_size):
        return None
    return geometry.describe()


def _refuse_strangers(out: Path) -> None:
    """Refuse to replace something else than a feature store or an empty folder."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    kind = store_kind(out)
    if kind != "features":
        raise StoreError(
            f"{out} is not replaced: it is a store of {kind}, not of features. Choose another path."
        )


def _report(
    out: Path,
    inputs: StoreInputs,
    work: Iterable[Task],
    writers: Mapping[str, SplitWriter],
) -> None:
    """Log how an older store differs, and what is computed where earlier runs left something."""
    with suppress(StoreError):
        if out.exists() and (differing := what_differs(out, inputs)):
            log(f"{out} was made from other inputs ({'; '.join(differing[:3])}).")
    report_kept(work, writers)
