"""Recompute a record from feature stores at hand.

The scores must be the same to the bit. Where they are not, as with another BLAS or another release
of PyTorch, every metric of every set must be the recorded one within a tolerance: `TOLERANCE`, or
what two rows of the smaller side of the set make up where that is more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.boards.digests import score_digests
from ltood.boards.record import SECTIONS, Record, records_in
from ltood.comparing.plan import Combination, Config
from ltood.core.errors import DataError, StoreError
from ltood.core.settings import parse
from ltood.metrics import METRICS
from ltood.runtime.scratch import scratch_folder
from ltood.store.adapted import with_adapted_head
from ltood.store.features import FeatureStore
from ltood.store.pooled import PoolingConfig, with_pooling
from ltood.store.reading import StoreReader

#: Fraction by which a metric may differ where scores are not the same to the bit.
TOLERANCE = 0.001
_ROWS = 2
#: Features of a pipeline, and the head of its stage adapt.
_FEATURES, _HEAD = Path("data/work/features.zarr"), Path("data/work/head")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What recomputing one run gave.

    Attributes:
        record: The record.
        seed: Seed of the run.
        exact: Whether all scores are the same to the bit; None where there are none, or no store.
        off: Metrics that differ by more than the tolerance, one clause each.
        widest: Largest difference of a metric.
        reason: Why it was not recomputed; empty where it was.
    """

    record: Record
    seed: int
    exact: bool | None = None
    off: tuple[str, ...] = ()
    widest: float = 0.0
    reason: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it was recomputed and agrees."""
        return not self.off and not self.reason

    def __str__(self) -> str:
        """One line for a reader."""
        named = f"{self.record.title}, seed {self.seed}"
        if self.reason:
            return f"skipped  {named}: {self.reason}"
        if self.off:
            return f"OFF      {named}: {len(self.off)} metrics differ; first {self.off[0]}"
        if self.exact:
            return f"exact    {named}: every score is the same to the bit"
        return f"ok       {named}: metrics differ by {100 * self.widest:.3f} points at most"


def verify(
    record: Record,
    stores: Sequence[Path],
    heads: Sequence[Path] = (),
    *,
    fetch: bool = False,
    device: str = "auto",
) -> Iterator[Verdict]:
    """Recompute each run of a record whose features are at hand.

    Args:
        record: The record.
        stores: Feature stores; each run takes the one of its fingerprint.
        heads: Folders of heads that were learned from them, if any.
        fetch: Whether features that are not there are fetched from the address of the record.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        DataError: If a store is damaged.
        UnknownNameError: If this ltood has no entry of a name.
        ConfigError: If a setting is unknown or out of range.
        TransferError: If an address cannot be reached.
    """
    for run in record.runs:
        seed = int(run["seed"])
        found = _store_of(run, stores, heads)
        if found is not None:
            yield _recomputed(record, run, found, device)
        elif fetch and run["address"]:
            with scratch_folder() as folder:
                fetched = _fetched(run, folder)
                yield _recomputed(record, run, fetched, device)
        else:
            where = f" (`ltood pull {run['address']}`)" if run["address"] else ""
            reason = f"no store of features {run['features'][:12]} is at hand{where}"
            yield Verdict(record, seed, reason=reason)


def _store_of(
    run: Mapping[str, Any], stores: Sequence[Path], heads: Sequence[Path]
) -> StoreReader | None:
    """The store of a run's features, plain or seen through a head."""
    for path in stores:
        plain = FeatureStore.open(path)
        for head in (None, *heads):
            seen = _seen(plain, head)
            if seen is None:
                continue
            pooled = _pooled(seen, run)
            if pooled.fingerprint == run["features"]:
                return pooled
    return None


def _seen(store: FeatureStore, head: Path | None) -> FeatureStore | None:
    """A store through a head; None where the head was learned from another one."""
    try:
        return with_adapted_head(store, head)
    except StoreError:
        return None


def _pooled(store: FeatureStore, run: Mapping[str, Any]) -> FeatureStore:
    return with_pooling(store, parse(run["settings"].get("pooling"), PoolingConfig, "pooling"))


def _fetched(run: Mapping[str, Any], folder: Path) -> StoreReader:
    from ltood.sharing.addresses import open_place
    from ltood.sharing.pulling import pull

    path = pull(open_place(run["address"]), folder / "features.zarr").path
    found = _store_of(run, [path], ())
    if found is None:
        raise DataError(
            f"{run['address']} holds other features than {run['features'][:12]}, which the record "
            "names. Where these are seen through a head, name it with --head beside --store."
        )
    return found


def _recomputed(record: Record, run: Mapping[str, Any], store: StoreReader, device: str) -> Verdict:
    row, digests = recompute(record.content, run["settings"], store, device)
    seed = int(run["seed"])
    exact = None if not run["scores"] else digests == run["scores"]
    gaps = list(_gaps(row, run["metrics"]))
    off = [
        f"{name} is {found}, recorded {said}"
        for name, found, said, allowed in gaps
        # The same scores have the same metrics.
        if found is None or abs(found - said) > (_ROUNDING if exact else allowed)
    ]
    widest = max((abs(found - said) for _, found, said, _ in gaps if found is not None), default=0)
    return Verdict(record, seed, exact, tuple(off), widest)


def recompute(
    content: Mapping[str, Any],
    settings: Mapping[str, Any],
    store: StoreReader,
    device: str = "auto",
) -> tuple[dict[str, Any], dict[str, str]]:
    """Metrics of a row, and the digests of its scores, from a feature store.

    Args:
        content: Names its calibrator, method and normaliser.
        settings: Settings of these, in sections as in params.yaml.
        store: The features.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        DataError: If the row does not fit the features.
    """
    from ltood.comparing.running import compare
    from ltood.comparing.scores import ComparedScores, ScoreKeeper
    from ltood.evaluation.config import EvaluationConfig

    slots = Combination(content["calibrator"], content["method"], content["normaliser"])
    config = Config(
        methods=(slots.method,), calibrators=(slots.calibrator,), normalisers=(slots.normaliser,)
    )
    evaluation = parse(settings.get("evaluation"), EvaluationConfig, "evaluation")
    with scratch_folder() as folder:
        keeper = ScoreKeeper(folder / "scores")
        board, _ = compare(
            store, config, settings, groups=evaluation.groups, keeper=keeper, device=device
        )
        (row,) = board["rows"]
        if row["status"] != "ok":
            raise DataError(f"{slots.title} cannot be scored from {store.path}: {row['reason']}")
        digests = score_digests(ComparedScores.open(folder / "scores"), slots.title)
    return {key: row[key] for key in SECTIONS if key in row}, digests


def _gaps(
    found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[tuple[str, float | None, float, float]]:
    """Metrics by name: found, recorded, and by how much they may differ."""
    sets = wanted["ood"]
    least = min(_slack(figures) for figures in sets.values())
    for key, said in wanted["id"].items():
        if isinstance(said, int | float):
            yield key, found["id"].get(key), said, least
    for name, figures in sets.items():
        ours = found["ood"].get(name, {})
        for key in METRICS:
            yield f"{key} on {name}", ours.get(key), figures[key], _slack(figures)
    for key in METRICS:
        slack = sum(_slack(figures) for figures in sets.values()) / len(sets)
        yield f"mean {key}", found["mean"].get(key), wanted["mean"][key], slack


def _slack(figures: Mapping[str, Any]) -> float:
    """By how much a metric of a set may differ."""
    rows = min(figures.get("num_id") or 0, figures.get("num_ood") or 0)
    return max(TOLERANCE, _ROWS / rows) if rows else TOLERANCE


def verify_all(
    paths: Sequence[Path],
    stores: Sequence[Path],
    heads: Sequence[Path] = (),
    *,
    fetch: bool = False,
    device: str = "auto",
) -> Iterator[Verdict]:
    """Recompute the records of files and folders; all are read before the first is recomputed.

    Args:
        paths: Records, or folders of them.
        stores: Feature stores.
        heads: Folders of heads that were learned from them, if any.
        fetch: Whether features that are not there are fetched.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        LtoodError: As for `verify`, and where a record breaks a rule.
    """
    for record in [record for path in paths for record in records_in(path)]:
        yield from verify(record, stores, heads, fetch=fetch, device=device)


def at_hand(
    stores: Sequence[Path] | None, heads: Sequence[Path] | None
) -> tuple[list[Path], list[Path]]:
    """Stores and heads of a command line; those of the pipeline where no store is named."""
    if stores:
        return list(stores), list(heads or ())
    found = [*(heads or ()), *([_HEAD] if _HEAD.is_dir() else [])]
    return ([_FEATURES] if _FEATURES.is_dir() else []), found


def refuse_off(verdicts: Sequence[Verdict], *, skip: bool) -> None:
    """Fail if a run is off.

    Args:
        verdicts: All of them.
        skip: Whether runs without features at hand are right.

    Raises:
        DataError: If a run is off, or was not recomputed.
    """
    off = [verdict for verdict in verdicts if verdict.off]
    skipped = [verdict for verdict in verdicts if verdict.reason]
    if off:
        raise DataError(f"{len(off)} of {len(verdicts)} runs are off; first {off[0]}.")
    if skipped and not skip:
        raise DataError(
            f"{len(skipped)} of {len(verdicts)} runs were not recomputed; name their feature "
            "stores with --store, or take --fetch where they have an address."
        )
