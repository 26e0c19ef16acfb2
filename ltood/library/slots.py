"""From what a caller gives for a slot, a name or an entry, to an entry that is not fitted."""

from ltood.core.building import (
    NONE,
    EntrySpec,
    Slot,
    build_calibrator,
    build_method,
    build_normaliser,
)
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError
from ltood.core.registry import KINDS, load
from ltood.core.settings import to_section
from ltood.core.slots import Calibrator, Method, Normaliser

#: Class of the entries of each package, and how a caller may give one.
_GIVEN: dict[str, tuple[type[Entry], str]] = {
    "methods": (Method, "KNN(k=50) or 'knn'"),
    "calibrators": (Calibrator, "PATT(high=2) or 'patt'"),
    "normalisers": (Normaliser, "'imood'"),
}


def spec_of(package: str, given: str | Entry) -> EntrySpec:
    """Name and settings of an entry; a name alone stands for its defaults.

    Args:
        package: "methods", "calibrators" or "normalisers".
        given: What the caller gave.

    Raises:
        ConfigError: If it is neither a name nor an entry of the package.
    """
    if isinstance(given, str):
        return EntrySpec(given)
    (wanted, example), kind = _GIVEN[package], KINDS[package]
    if not isinstance(given, wanted):
        raise ConfigError(f"{kind} is {given!r}; give a {kind} or its name, such as {example}.")
    # The name of an entry is that of its file.
    name = type(given).__module__.rpartition(".")[2]
    return EntrySpec(name, to_section(given.config))


def method_slot(given: str | Method) -> Slot[Method]:
    """A fresh method, whatever the one given has learned.

    Raises:
        ConfigError: If it is neither a name nor a method, or there is none of that name.
    """
    spec = spec_of("methods", given)
    if isinstance(given, str):
        return build_method(spec)
    return Slot(spec.name, given.config, type(given)(given.config))


def calibrator_slot(given: str | Calibrator | None) -> Slot[Calibrator]:
    """A fresh calibrator; None is "none". See `method_slot`."""
    spec = spec_of("calibrators", given or NONE.name)
    if isinstance(given, Calibrator):
        return Slot(spec.name, given.config, type(given)(given.config))
    return build_calibrator(spec)


def normaliser_slot(given: str | Normaliser | None, base: Slot[Method]) -> Slot[Normaliser]:
    """A fresh normaliser for the scores of `base`; None is "none". See `method_slot`.

    Raises:
        ConfigError: Also if it was made for, or does not take, the scores of another method.
    """
    spec = spec_of("normalisers", given or NONE.name)
    if isinstance(given, Normaliser) and given.base != base.name:
        raise ConfigError(
            f"normaliser {given!r} takes scores of {given.base} but the method is {base.name}; "
            f"give base={base.name!r}."
        )
    entry: type[Normaliser] = load("normalisers", spec.name).Entry
    with base.entry._in_own_words(), entry._in_own_words():
        return build_normaliser(spec, base)
