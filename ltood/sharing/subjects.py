"""What can be shared: stores of features or scores and detectors, each verified before it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import replace_folder, replace_together
from ltood.store.verifying import open_store, store_files, verify_store

#: Endings of the files of a detector.
_DETECTOR = (".safetensors", ".json")
#: Where the files of its network lie in an archive.
_NETWORK = "detector.network/"


@dataclass(frozen=True)
class Subject:
    """A store or detector that was found whole.

    Attributes:
        kind: "features", "scores" or "detector".
        path: Its folder, or its .safetensors file.
        fingerprint: Digest of all that decides its content.
        files: Where each file of its archive lies, by name in the archive.
        facts: Its attributes, or the description of the detector.
    """

    kind: str
    path: Path
    fingerprint: str
    files: Mapping[str, Path]
    facts: Mapping[str, Any]


def open_subject(path: Path) -> Subject:
    """Open a store or a detector and verify all of its bytes.

    Args:
        path: Folder of a store, or either file of a detector.

    Raises:
        StoreError: If it is neither.
        IncompleteStoreError: If a store is not finished.
        CorruptStoreError: If bytes are missing or changed.
    """
    if path.suffix in _DETECTOR and not path.is_dir():
        return _open_detector(path)
    if not path.is_dir():
        raise StoreError(
            f"{path} does not exist or is not a store; give a feature store, a score store or the "
            ".safetensors file of a detector."
        )
    for _ in verify_store(path):
        pass
    opened = open_store(path)
    root = f"{opened.KIND}.zarr"
    return Subject(
        opened.KIND,
        path,
        str(opened.attributes["fingerprint"]),
        {f"{root}/{name}": path / name for name in store_files(opened)},
        opened.attributes,
    )


def subject_at(path: Path) -> Subject | None:
    """The store or detector at `path`, found whole; None if nothing is there.

    Raises:
        StoreError: If something else is there.
        CorruptStoreError: If it is damaged.
    """
    there = path.exists() or (path.suffix in _DETECTOR and path.with_suffix(".json").exists())
    if not there or (path.is_dir() and not any(path.iterdir())):
        return None
    return open_subject(path)


def open_arrived(kind: str, folder: Path) -> Subject:
    """Verify what arrived in a working folder; see `open_subject`."""
    return open_subject(folder / ("detector.safetensors" if kind == "detector" else f"{kind}.zarr"))


def move_arrived(subject: Subject, out: Path) -> None:
    """Give what arrived its place, in one rename or, for a detector, its description last.

    The network goes first: beside an older detector it is refused, not used.

    Raises:
        StoreError: If it cannot be written.
    """
    if subject.kind != "detector":
        replace_folder(subject.path, out)
        return
    tensors, sidecar = (out.with_suffix(ending) for ending in _DETECTOR)
    if any(name.startswith(_NETWORK) for name in subject.files):
        replace_folder(subject.path.with_suffix(".network"), out.with_suffix(".network"))
    replace_together(
        {
            tensors: subject.files["detector.safetensors"].read_bytes(),
            sidecar: subject.files["detector.json"].read_bytes(),
        }
    )


def _open_detector(path: Path) -> Subject:
    from ltood.deployment.files import detector_paths, load_detector

    tensors, sidecar = detector_paths(path)
    description = load_detector(path, "cpu").description
    return Subject(
        "detector",
        tensors,
        str(description["description_sha256"]),
        {"detector.json": sidecar, "detector.safetensors": tensors, **_network(path, description)},
        description,
    )


def _network(path: Path, description: Mapping[str, Any]) -> dict[str, Path]:
    """Files of the network beside a detector, by name in the archive; none where there is none.

    Raises:
        CorruptStoreError: If it is damaged, or another one than the detector was written with.
    """
    from ltood.deployment.files import network_folder
    from ltood.networks.checkpoint_files import file_contents, read_files

    folder, recorded = network_folder(path), description.get("network")
    if not recorded or not folder.is_dir():
        return {}
    files = read_files(folder)
    if files.meta["weights_sha256"] != recorded["weights_sha256"]:
        raise CorruptStoreError(
            f"{folder} holds another network than {path.name} was written with; export the "
            "detector again, or remove the folder to share the detector alone."
        )
    return {f"{_NETWORK}{name}": folder / name for name in file_contents(files)}
