"""`ltood store`: look into a store, verify, repair, copy and join its bytes, pool its features."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.options import Device, store_option
from ltood.core.words import counted

if TYPE_CHECKING:
    from ltood.extraction.config import ExtractionConfig

app = typer.Typer(help="Look into stores, verify, repair and convert them.", no_args_is_help=True)
_PARAMS = Path("params.yaml")


@app.command("info")
def info(
    store: Annotated[Path, typer.Argument(help="Feature store or score store: a folder, s3://...")],
) -> None:
    """Print splits, arrays, classes and provenance of a store as JSON."""
    import json

    from ltood.store.metadata import read_attributes, store_kind

    typer.echo(json.dumps(read_attributes(store, store_kind(store)), indent=2, sort_keys=True))


@app.command("verify")
def verify(
    store: Annotated[Path, typer.Argument(help="Feature store or score store: a folder, s3://...")],
) -> None:
    """Read every chunk, compare its checksum, and name all that are damaged."""
    from ltood.core.errors import CorruptStoreError, IncompleteStoreError
    from ltood.store.head import read_head
    from ltood.store.listed import damage, damaged_documents
    from ltood.store.verifying import faults_of, open_store

    opened = open_store(store)
    errors = []
    for name, rows, faults in faults_of(opened):
        state = f"{len(faults)} damaged" if faults else "ok"
        typer.echo(f"{name:<24}{rows:>12,} rows  {state}")
        for fault in faults:
            typer.echo(f"  rows {fault.rows[0]:,} to {fault.rows[1]:,}: {fault.error}", err=True)
            errors.append(fault.error)
    for name in damaged_documents(opened.disk):
        errors.append(CorruptStoreError(damage(opened.disk, name)))
        typer.echo(f"{name}: {errors[-1]}", err=True)
    read_head(opened.disk, opened.attributes.get("head", {}))
    if errors:
        unwritten = all(isinstance(error, IncompleteStoreError) for error in errors)
        raise (IncompleteStoreError if unwritten else CorruptStoreError)(
            f"{opened.path} has {len(errors)} damaged or unwritten parts; an extracted store is "
            f"repaired by `ltood store repair {shlex.quote(str(opened.path))}`, any other by "
            "the command that wrote it."
        )


@app.command("repair")
def repair(
    store: Annotated[Path, typer.Argument(help="Feature store that extraction wrote.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint that it was extracted with.")] = Path(
        "data/work/checkpoint"
    ),
    prepared: Annotated[
        Path, typer.Option(help="Prepared images that it was extracted from.")
    ] = Path("data/work/prepared"),
    device: Device = "auto",
) -> None:
    """Compute damaged chunks again, and only these; refuses what would give other bytes."""
    from ltood.extraction.repair import repair as mend
    from ltood.images.prepared import open_prepared
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.runtime.drivers import address_of

    data = open_prepared(prepared)
    with ranks_from_environment() as ranks:
        found = mend(store, checkpoint, data, _extraction(), device_name=device, ranks=ranks)
    if ranks.rank != 0:
        return
    for fault in found:
        typer.echo(f"{fault.split:<24}rows {fault.rows[0]:,} to {fault.rows[1]:,}  repaired")
    typer.echo(f"{address_of(store) or store}: whole")


@app.command("extract")
def extract(
    out: Annotated[str, typer.Argument(metavar="TO", help="Where to: s3://..., a folder.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint of the backbone.")] = Path(
        "data/work/checkpoint"
    ),
    prepared: Annotated[Path, typer.Option(help="Prepared images.")] = Path("data/work/prepared"),
    device: Device = "auto",
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Write to an address where a run with other inputs began and was killed.",
        ),
    ] = False,
) -> None:
    """Extract straight to an address; run it again after a kill, or share it with torchrun."""
    from ltood.extraction.extract import extract as write
    from ltood.extraction.in_place import extract_to
    from ltood.images.prepared import open_prepared
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.runtime.drivers import address_of, path_of

    data, config, extras = open_prepared(prepared), _extraction(), _wanted_extras()
    address = address_of(out)
    with ranks_from_environment() as ranks:
        if address is None:
            to = path_of(out)
            write(checkpoint, data, to, config, device_name=device, ranks=ranks, extras=extras)
        else:
            extract_to(
                checkpoint,
                data,
                address,
                config,
                device_name=device,
                ranks=ranks,
                extras=extras,
                take_over=take_over,
            )
    if ranks.rank == 0:
        typer.echo(f"{out}: whole")


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Store: a folder, s3://...")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where to: a folder, s3://...")],
    check: Annotated[
        bool, typer.Option("--check", help="Read back what a remote address holds already.")
    ] = False,
) -> None:
    """Copy a store as it is, chunk by chunk and verified; an interrupted run continues."""
    from ltood.sharing.copying import copy_store

    copied = copy_store(source, target, check=check)
    typer.echo(f"{target}: {counted(copied.sent, 'chunk')} copied, {copied.kept:,} there already")


@app.command("merge")
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Feature stores made in the same way.")],
    out: Annotated[Path, store_option("Feature store to write.")],
) -> None:
    """Join splits, extra arrays and rows that several stores hold into one store."""
    from ltood.store.features import FeatureStore
    from ltood.store.merged import merge as join

    made = join([FeatureStore.open(store) for store in stores], out)
    typer.echo(f"{out}: {', '.join(made.parts)}")


@app.command("rechunk")
def rechunk(
    store: Annotated[Path, typer.Argument(help="Feature store.")],
    out: Annotated[Path, store_option("Feature store to write.")],
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a chunk; by default chunks of 8 to 16 MiB.")
    ] = None,
) -> None:
    """Write the same values in chunks of another size."""
    from ltood.store.features import FeatureStore
    from ltood.store.rechunked import rechunk as write

    made = write(FeatureStore.open(store), rows, out)
    typer.echo(f"{out}: {', '.join(made.parts)}")


@app.command("pool")
def pool(
    store: Annotated[Path, typer.Argument(help="Feature store with the extra arrays of pooling.")],
    out: Annotated[Path, store_option("Feature store to write.")],
    kind: Annotated[str, typer.Option(help="max or mean_std.")] = "max",
    gamma: Annotated[float, typer.Option(help="Weight of the deviation in mean_std.")] = 0.5,
) -> None:
    """Write a store whose features are another pooling of the last map, for every method."""
    from ltood.core.errors import ConfigError
    from ltood.store.features import FeatureStore
    from ltood.store.pooled import PoolingConfig, write_pooled

    config = PoolingConfig(kind, gamma)  # type: ignore[arg-type] # It is checked there.
    if config.kind == "average":
        raise ConfigError("--kind is average, which the store holds already; give max or mean_std.")
    made = write_pooled(FeatureStore.open(store), config, out)
    typer.echo(f"{out}: {', '.join(made.splits)}")


def _extraction() -> "ExtractionConfig":
    """Settings of extraction in params.yaml, or the defaults where there is none."""
    from ltood.extraction.config import ExtractionConfig
    from ltood.pipeline import Params

    if not _PARAMS.exists():
        return ExtractionConfig()
    return Params().section("extraction", ExtractionConfig)


def _wanted_extras() -> list[str] | None:
    """Groups that the stage extract computes here; None where there is no repository."""
    from ltood.pipeline import Params, wanted_extras

    return wanted_extras(Params()) if _PARAMS.exists() else None
