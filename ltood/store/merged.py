"""One feature store of several that were made in the same way, such as on two machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError, FingerprintError, IncompleteStoreError, StoreError
from ltood.runtime.files import building_folder, link_or_copy, write_atomically
from ltood.runtime.provenance import differences
from ltood.store.chunks import SplitFiles
from ltood.store.features import FeatureStore
from ltood.store.layout import SplitSpec, StoreSpec
from ltood.store.metadata import seal_root
from ltood.store.skeleton import complete_attributes, fill_skeleton

#: What may differ between stores whose splits complement one another; splits that come twice
#: are compared by themselves.
_MAY_DIFFER = ("dataset", "extras", "libraries", "merged")


def merge(stores: Sequence[FeatureStore], out: Path) -> FeatureStore:
    """Join splits, extra arrays and row ranges of several stores, in one rename.

    Files get a second name in the new store, or are copied where the file system has no hard
    links.

    Args:
        stores: Feature stores, finished or not; the first names the data set.
        out: Store to write, which must not exist.

    Raises:
        FingerprintError: If they were not made in the same way, or rows that two hold differ.
        IncompleteStoreError: If rows are missing in all of them.
        CorruptStoreError: If bytes that no other store holds are missing or changed.
        StoreError: If `out` exists or cannot be written.
    """
    if out.exists():
        raise StoreError(f"{out} exists already; choose another path or remove it first.")
    first, specs = stores[0], dict[str, tuple[SplitSpec, int]]()
    for store in stores:
        _check_alike(first, store)
        for name in store.parts:
            found = store.split_spec(name)
            if specs.setdefault(name, found) != found:
                raise FingerprintError(
                    f"split {name} of {store.path} was made from something else, or is stored "
                    "otherwise, than in the stores before it; leave one of them out."
                )
    spec = StoreSpec({name: split for name, (split, _) in specs.items()}, _chunk_rows(specs))
    content = {key: value for key, value in first.attributes.items() if key != "complete"}
    fingerprints = sorted({store.fingerprint for store in stores})
    if len(fingerprints) > 1:
        content["provenance"] = {**first.provenance, "merged": fingerprints}
    head = first.head_arrays()
    with building_folder(out, overwrite=False) as building:
        fill_skeleton(building, spec, complete_attributes(spec, content), head)
        for name in spec.splits:
            _join(name, [store for store in stores if name in store.parts], building / name)
        seal_root(building, complete=True)
    return FeatureStore.open(out)


def _chunk_rows(specs: Mapping[str, tuple[SplitSpec, int]]) -> int | None:
    """The setting that gives every split the chunks that it has.

    Raises:
        FingerprintError: If there is none.
    """
    splits = {name: split for name, (split, _) in specs.items()}
    wanted = {name: rows for name, (_, rows) in specs.items()}
    for given in (None, max(wanted.values())):
        spec = StoreSpec(splits, given)
        if {name: spec.chunk_rows(name) for name in splits} == wanted:
            return given
    raise FingerprintError(
        "the stores have chunks of different sizes; give all of them the same with `ltood store "
        "rechunk` first."
    )


def _check_alike(first: FeatureStore, store: FeatureStore) -> None:
    """Refuse a store that was not made as the first was."""
    found = differences(_compared(first.attributes), _compared(store.attributes))
    if found:
        raise FingerprintError(
            f"{first.path} and {store.path} were not made in the same way "
            f"({'; '.join(found[:3])}); only stores of one network and one code can be merged."
        )


def _compared(attributes: Mapping[str, Any]) -> dict[str, Any]:
    provenance = attributes["provenance"]
    return {
        **{key: attributes[key] for key in ("class_names", "class_counts", "head")},
        "provenance": {key: provenance[key] for key in provenance if key not in _MAY_DIFFER},
    }


def _join(name: str, stores: Sequence[FeatureStore], folder: Path) -> None:
    """Link every chunk of one split from a store that holds it whole."""
    files = [store.files(name) for store in stores]
    for chunk, (start, stop) in enumerate(files[0].ranges):
        errors: list[CorruptStoreError] = []
        found = dict[SplitFiles, dict[str, str]]()
        for held in files:
            try:
                sums = held.verify(chunk)
            except CorruptStoreError as error:
                errors.append(error)
                continue
            if sums is not None:
                found[held] = sums
        if not found:
            if errors:
                raise errors[0]
            raise IncompleteStoreError(
                f"rows {start} to {stop} of split {name} are in none of the stores; run the stage "
                "that writes them again."
            )
        source, sums = next(iter(found.items()))
        for held, other in found.items():
            if other != sums:
                raise FingerprintError(
                    f"rows {start} to {stop} of split {name} differ between "
                    f"{source.disk.show(source.folder)} and {held.disk.show(held.folder)}; they "
                    "come from different devices or libraries, leave one out."
                )
        for array, spec in source.spec.arrays.items():
            path = source.chunk_path(array, chunk)
            here = source.disk.bring(path, source.chunk_rows * spec.row_bytes)
            target = folder / path.relative_to(source.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(here.resolve(), target)
        marker = source.marker_path(chunk)
        target = folder / marker.relative_to(source.folder)
        write_atomically(target, source.disk.read(marker), sweep=False)
