"""Options that several commands take, so that they read alike everywhere."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltood.cli.completion import calibrators, methods, normalisers

if TYPE_CHECKING:
    from ltood.core.building import EntrySpec
    from ltood.evaluation.config import SetGroups
    from ltood.store.features import FeatureStore

Store = Annotated[Path, typer.Option(help="Feature store: a folder, s3://...")]
Head = Annotated[
    Path | None,
    typer.Option(help="Head of the adapt stage, used instead of the store's own."),
]
Method = Annotated[
    str, typer.Option(help="Method name; see `ltood list methods`.", autocompletion=methods)
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Method setting KEY=VALUE; repeatable.")
]
Calibrator = Annotated[str, typer.Option(help="Feature calibration.", autocompletion=calibrators)]
CalibratorSettings = Annotated[
    list[str] | None, typer.Option("--calibrator-set", help="Calibrator setting KEY=VALUE.")
]
Normaliser = Annotated[str, typer.Option(help="Score normalisation.", autocompletion=normalisers)]
NormaliserSettings = Annotated[
    list[str] | None, typer.Option("--normaliser-set", help="Normaliser setting KEY=VALUE.")
]
Published = Annotated[
    str | None,
    typer.Option(help="Start from published settings, e.g. of cifar10-densenet."),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", help="OOD sets over which a mean is taken, GROUP=SET,SET; repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def file_option(text: str) -> Any:  # noqa: ANN401 - as typer has it
    """An option that names a file to write, or standard output as `-`."""
    return typer.Option(help=f"{text}; - is standard output.", callback=_check_file)


def store_option(text: str) -> Any:  # noqa: ANN401 - as typer has it
    """An option that names a store, or another result of several files, to write."""
    return typer.Option(help=text, callback=_check_named)


def folder_option(text: str) -> Any:  # noqa: ANN401 - as typer has it
    """An option that names a folder to write files to."""
    return typer.Option(help=text, callback=_check_folder)


_STDOUT = Path("/dev/stdout")

#: The option that takes the settings of an entry, by the entry's package.
_SET = {"methods": "--set", "calibrators": "--calibrator-set", "normalisers": "--normaliser-set"}


def set_groups(given: list[str] | None) -> "SetGroups":
    """Groups of OOD sets, from items such as near=cifar100,tin.

    Raises:
        ConfigError: If an item is malformed or a group comes twice.
    """
    from ltood.core.errors import ConfigError
    from ltood.core.limits import RefusedValueError
    from ltood.evaluation.config import SetGroups

    groups: dict[str, list[str]] = {}
    for item in given or []:
        name, _, sets = item.partition("=")
        if not name or name in groups:
            raise ConfigError(f"--group is {item!r}; write each group once, as near=cifar100,tin.")
        groups[name] = sets.split(",")
    try:
        found = SetGroups.of_setting(groups)
    except RefusedValueError as error:
        raise ConfigError(f"--group is {given!r}; it must be {error}.") from None
    if "" in [name for names in found.sets.values() for name in names]:
        raise ConfigError(f"--group is {given!r}; name sets between commas, as near=cifar100,tin.")
    return found


def entry_specs(
    *slots: tuple[str, str, list[str] | None], published: str | None = None
) -> list["EntrySpec"]:
    """Entries with their settings, as the options of this file give them.

    Names and texts are checked before anything heavy is imported.

    Args:
        slots: Package, name of an entry and its KEY=VALUE settings.
        published: Checkpoint whose published settings a method starts from.

    Raises:
        ConfigError: On an unknown name or a malformed setting.
    """
    from ltood.core.registry import check_name
    from ltood.methods import published_settings
    from ltood.runtime.params import parse_assignments

    for package, name, _ in slots:
        check_name(package, name)
    chosen = []
    for package, name, given in slots:
        known = published_settings(published, name) if published and package == "methods" else {}
        chosen.append((name, {**known, **parse_assignments(given or [], _SET[package])}))

    from ltood.core.building import EntrySpec

    return [EntrySpec(name, settings) for name, settings in chosen]


def open_features(store: Path, head: Path | None) -> "FeatureStore":
    """Open a feature store, seen through another head if one is given.

    Raises:
        StoreError: If one of them is missing, damaged or does not fit the other.
    """
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    return with_adapted_head(FeatureStore.open(store), head)


def echo_for(out: Path) -> Callable[[str], None]:
    """Printer of messages: to standard error if the result goes to standard output."""
    return functools.partial(typer.echo, err=out == _STDOUT)


def _check_named(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse a path without a name of its own, and an address, before the work starts.

    Raises:
        ConfigError: As for ".", "..", "/" and "".
        StoreError: As for "s3://bucket/name".
    """
    from ltood.core.errors import ConfigError
    from ltood.runtime.drivers import refuse_address

    path = None if path is None else refuse_address(path)
    if path is not None and path.name in {"", ".."}:
        raise ConfigError(f"--{param.name} is {str(path)!r}; name the file or folder to write.")
    return path


def _check_file(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Like `_check_named`, with `-` as a name of standard output."""
    return _STDOUT if path == Path("-") else _check_named(param, path)


def _check_folder(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Like `_check_named`; also refuse a folder whose path is a file."""
    from ltood.core.errors import ConfigError

    path = _check_named(param, path)
    if path is not None:
        found = next(above for above in (path, *path.absolute().parents) if above.exists())
        if not found.is_dir():
            raise ConfigError(f"--{param.name} is {path}, but {found} is a file; name a folder.")
    return path
