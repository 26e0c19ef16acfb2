"""Plan of a comparison: methods times calibrators times normalisers, with their settings.

Needs no torch, so that a wrong name is refused before anything slow is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from ltood.core.errors import ConfigError
from ltood.core.registry import available, check_name, flag
from ltood.core.settings import Settings
from ltood.methods import published_settings
from ltood.runtime.params import parse_assignments

Names = Literal["all"] | tuple[str, ...]
Methods = Literal["all", "long_tail"] | tuple[str, ...]
#: Constant in the file of an entry that fits many others: "all" leaves it out.
NAMED_ONLY = "NAMED_ONLY"
#: Entry that leaves rows as they are.
NONE = "none"
#: Rows by the name of a group, as calibrator and method. Where the calibrator is "none", every one
#: that is compared stands before the method.
GROUPS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "long_tail": (
        ("none", "hpm"),
        ("none", "rp_msp"),
        ("none", "rp_gradnorm"),
        ("none", "rw_energy"),
        ("none", "himplos"),
        ("none", "knn"),
        ("logit_adjustment", "energy"),
    )
}
#: Settings by package and entry, as in params.yaml: {"methods": {"knn": {"k": 10}}}.
Sections = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Combination(NamedTuple):
    """One row of the leaderboard: an entry of each slot, by name."""

    calibrator: str
    method: str
    normaliser: str

    @property
    def title(self) -> str:
        """Names in the order of work, such as "patt+knn"; "none" is omitted."""
        calibrator, method, normaliser = self
        parts = (
            "" if calibrator == "none" else f"{calibrator}+",
            method,
            "" if normaliser == "none" else f"+{normaliser}",
        )
        return "".join(parts)


@dataclass(frozen=True)
class Config(Settings):
    """Entries to combine.

    Attributes:
        methods: Names; "all", which is all but those that choose among the others; or
            "long_tail", a group of rows that suit long-tailed training sets.
        calibrators: Names, or "all"; "none" leaves the features as they are.
        normalisers: Names, or "all"; "none" leaves the scores as they are.
    """

    section: ClassVar[str] = "compare"

    methods: Methods = "all"
    calibrators: Names = ("none",)
    normalisers: Names = ("none",)

    def check(self) -> None:
        """Check the names."""
        for package, chosen in self._slots():
            if isinstance(chosen, str):
                continue
            if not chosen:
                raise self.fault(package, "is empty; name at least one entry, or write all.")
            for name in chosen:
                check_name(package, name)
            for name in chosen:
                if chosen.count(name) > 1:
                    raise self.fault(package, f"names {name} twice; name it once.")

    def _slots(self) -> tuple[tuple[str, Methods], ...]:
        return (
            ("calibrators", self.calibrators),
            ("methods", self.methods),
            ("normalisers", self.normalisers),
        )

    def names(self, package: str) -> list[str]:
        """Entries of "methods", "calibrators" or "normalisers" that any row has."""
        rows = GROUPS.get(str(self.methods), ())
        if package == "methods" and rows:
            return list(dict.fromkeys(method for _, method in rows))
        own = [calibrator for calibrator, _ in rows] if package == "calibrators" else []
        others = [name for name in own if name != NONE]
        return list(dict.fromkeys([*self._chosen(package), *others]))

    def _chosen(self, package: str) -> list[str]:
        """Entries that were named, or all."""
        chosen = dict(self._slots())[package]
        if not isinstance(chosen, str):
            return list(chosen)
        return [name for name in available(package) if not flag(package, name, NAMED_ONLY)]

    def combinations(self) -> Iterator[Combination]:
        """All rows, calibrator by calibrator, then method by method."""
        rows = GROUPS.get(str(self.methods))
        if rows is None:
            rows = tuple((NONE, method) for method in self._chosen("methods"))
        normalisers = self._chosen("normalisers")
        for calibrator in self.names("calibrators"):
            is_chosen = calibrator in self._chosen("calibrators")
            for own, method in rows:
                if own == calibrator != NONE or (own == NONE and is_chosen):
                    for normaliser in normalisers:
                        yield Combination(calibrator, method, normaliser)

    @property
    def is_explicit(self) -> bool:
        """Whether every entry was named, so that one that does not fit is a failure."""
        return not any(isinstance(chosen, str) for _, chosen in self._slots())


def names_or_all(given: Sequence[str]) -> Names:
    """Names of a command line, where the single word "all" stands for every entry."""
    return "all" if list(given) == ["all"] else tuple(given)


def methods_or_word(given: Sequence[str]) -> Methods:
    """Methods of a command line, where the name of a group may stand alone, too."""
    return "long_tail" if list(given) == ["long_tail"] else names_or_all(given)


def parse_settings(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Turn `["knn.k=10", "react.percentile=90"]` into settings by entry.

    Raises:
        ConfigError: If an item is not of the form NAME.KEY=VALUE, or is given twice.
    """
    settings: dict[str, dict[str, Any]] = {}
    for path, value in parse_assignments(assignments).items():
        name, dot, key = path.partition(".")
        if not (name and dot and key):
            raise ConfigError(
                f"--set {path} names no entry; write NAME.KEY=VALUE, such as knn.k=10."
            )
        settings.setdefault(name, {})[key] = value
    return settings


def by_package(
    settings: Mapping[str, Mapping[str, Any]], config: Config
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Sort settings by entry into the packages of the compared entries.

    Raises:
        ConfigError: If an entry is not compared.
    """
    sorted_: dict[str, dict[str, Mapping[str, Any]]] = {}
    for package in ("calibrators", "methods", "normalisers"):
        names = config.names(package)
        sorted_[package] = {name: settings[name] for name in names if name in settings}
    for name in settings:
        if not any(name in sections for sections in sorted_.values()):
            compared = sorted({part for row in config.combinations() for part in row})
            raise ConfigError(
                f"--set {name}: {name} is not compared; name it too, or set one of "
                f"{', '.join(compared)}."
            )
    return sorted_


def chosen_settings(
    assignments: Sequence[str], config: Config, published: str | None = None
) -> Sections:
    """Settings of a command line by package, on top of published ones.

    Args:
        assignments: NAME.KEY=VALUE items.
        config: What is compared.
        published: Checkpoint whose published settings methods start from.

    Raises:
        ConfigError: On a malformed item, an entry that is not compared or an unknown checkpoint.
    """
    chosen = by_package(parse_settings(assignments), config)
    if published:
        for name in config.names("methods"):
            merged = {**published_settings(published, name), **chosen["methods"].get(name, {})}
            if merged:
                chosen["methods"][name] = merged
    return chosen
