"""Every method on arrays in memory, as `ltood compare` does it on a feature store."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltood.core.arrays import Rows
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError, DataError
from ltood.core.head import ClassifierHead, Head
from ltood.core.prior import ClassPrior, Counts
from ltood.core.registry import KINDS, load
from ltood.core.settings import parse
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.library.board import Board
from ltood.library.reading import reader_of
from ltood.library.slots import spec_of
from ltood.store.layout import OOD_PREFIX
from ltood.store.memory import Given, MemoryStore

if TYPE_CHECKING:
    from ltood.comparing.plan import Methods
    from ltood.library.features import Features
    from ltood.store.reading import StoreReader

Pair = tuple[Rows, Rows]


def compare(
    features: "Features | StoreReader | str | Path | None" = None,
    /,
    *,
    train: Pair | None = None,
    test: Pair | None = None,
    ood: Mapping[str, Rows | Pair] | None = None,
    head: Head | None = None,
    aux: Rows | None = None,
    val: Rows | Pair | None = None,
    prior: Counts | None = None,
    local: Mapping[str, Rows] | None = None,
    class_names: Sequence[str] | None = None,
    methods: str | Method | Sequence[str | Method] = "all",
    calibrators: str | Calibrator | Sequence[str | Calibrator] = ("none",),
    normalisers: str | Normaliser | Sequence[str | Normaliser] = ("none",),
    groups: Mapping[str, Sequence[str]] | None = None,
    device: str = "auto",
) -> Board:
    """Fit and score every combination in one pass, sharing what they have in common.

    Args:
        features: What `ltood.open_features` gives, or what it opens, instead of the arrays
            that follow.
        train: Training features, [N, D], and their classes, [N].
        test: Features of ID test rows and their classes.
        ood: Features of each OOD test set by its name; or a pair with labels, which are classes
            for rows that show an ID class and -1 for the others.
        head: Last linear layer: a `torch.nn.Linear`, a `ClassifierHead` or (weight, bias).
        aux: Features of auxiliary outliers, which some calibrators learn from.
        val: Features of ID rows held out of training, or a pair with their classes; some methods
            need them.
        prior: Class counts; counted from the training labels where not given.
        local: Local features, [N, P, D], by "train", "val", "test" and the names of the OOD sets.
        class_names: Names of the classes in label order.
        methods: "all" (all but auto), "long_tail" (a group of rows that suit long tails), or
            names and objects, each of another kind.
        calibrators: "all", or names and objects; "none" leaves the features as they are.
        normalisers: "all", or names and objects; "none" leaves the scores as they are.
        groups: OOD sets over which further means are taken, such as
            {"near": ["cifar100", "tin"]}.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The leaderboard, best mean AUROC first.

    Raises:
        ConfigError: On an unknown name, two objects of the same kind, or a value that is
            neither name nor object.
        DataError: If an array breaks a rule.
    """
    from ltood.comparing.plan import Config
    from ltood.comparing.running import compare as run
    from ltood.evaluation.config import EvaluationConfig

    settings: dict[str, dict[str, Any]] = {}
    names = {
        package: _names(package, given, settings)
        for package, given in (
            ("methods", methods),
            ("calibrators", calibrators),
            ("normalisers", normalisers),
        )
    }
    store: StoreReader
    given = (train, test, ood, head, aux, val, prior, local, class_names)
    if features is not None:
        if any(value is not None for value in given):
            raise DataError("opened features hold all that is compared; give no arrays too.")
        store = reader_of(features)
    elif not (_is_pair(train) and _is_pair(test) and isinstance(ood, Mapping) and ood):
        raise DataError(
            "comparing needs train=(features, labels), test=(features, labels) and "
            "ood={'name': features}."
        )
    else:
        assert train is not None
        assert test is not None
        store = _store(train, test, ood, aux, val, local or {}, head, prior, class_names)
    config = parse(names, Config, "compare:")
    evaluation = parse({"groups": dict(groups or {})}, EvaluationConfig, "compare:")
    board, timings = run(store, config, settings, groups=evaluation.groups, device=device)
    return Board(_in_own_words(board, store.fingerprint), timings)


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2


def _store(
    train: Pair,
    test: Pair,
    ood: Mapping[str, Rows | Pair],
    aux: Rows | None,
    val: Rows | Pair | None,
    local: Mapping[str, Rows],
    head: Head | None,
    prior: Counts | None,
    class_names: Sequence[str] | None,
) -> MemoryStore:
    taken = ["train", "test", *(["val"] if val is not None else []), *ood]
    if unknown := local.keys() - set(taken):
        raise DataError(f"local names {sorted(unknown)[0]!r}; it takes {', '.join(taken)}.")
    splits = {
        "train": Given(*train, local.get("train")),
        "test": Given(*test, local.get("test")),
    }
    if aux is not None:
        splits["aux"] = Given(aux)
    if val is not None:
        seen, labels = val if isinstance(val, tuple) else (val, None)
        splits["val"] = Given(seen, labels, local.get("val"))
    for name, rows in ood.items():
        seen, labels = rows if isinstance(rows, tuple) else (rows, None)
        splits[f"{OOD_PREFIX}{name}"] = Given(seen, labels, local.get(name))
    return MemoryStore(
        splits,
        None if head is None else ClassifierHead.of(head),
        None if prior is None else ClassPrior.of(prior),
        class_names,
    )


def _names(
    package: str,
    given: str | Entry | Iterable[str | Entry],
    settings: dict[str, dict[str, Any]],
) -> "Methods":
    """Names as `Config` takes them; settings of objects go to `settings`."""
    if isinstance(given, str):
        from ltood.comparing.plan import methods_or_word, names_or_all

        return (methods_or_word if package == "methods" else names_or_all)([given])
    specs = [spec_of(package, item) for item in (given if isinstance(given, Iterable) else [given])]
    chosen = [spec.name for spec in specs]
    if len(set(chosen)) < len(chosen):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        raise ConfigError(f"{package} name {twice} twice; compare its settings one by one.")
    settings[package] = {spec.name: spec.settings for spec in specs}
    return tuple(chosen)


def _in_own_words(board: Mapping[str, Any], features: str) -> dict[str, Any]:
    """The leaderboard with reasons that name settings as callers in Python do."""
    from ltood.evaluation.binding import bind

    def said(row: Mapping[str, Any]) -> Mapping[str, Any]:
        reason = row.get("reason")
        if reason is None:
            return row
        for package in ("calibrators", "methods", "normalisers"):
            reason = load(package, row[KINDS[package]]).Entry._own_words(reason)
        return {**row, "reason": reason}

    worded = {part: [said(row) for row in board[part]] for part in ("rows", "left_out")}
    return bind({**board, **worded}, features=features)
