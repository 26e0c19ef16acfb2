"""From what a caller gives for a slot, a name or an entry, to an entry that is not fitted."""

from ltood.core.entry import Entry
from ltood.core.errors import ConfigError
from ltood.core.settings import to_section
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.scoring.slots import (
    NONE,
    EntrySpec,
    Slot,
    build_calibrator,
    build_method,
    build_normaliser,
)


def name_of(entry: Entry) -> str:
    """Name of an entry: that of its file, such as "knn"."""
    return type(entry).__module__.rpartition(".")[2]


def method_slot(given: str | Method) -> Slot[Method]:
    """A fresh method, whatever the one given has learned.

    Raises:
        ConfigError: If it is neither a name nor a method, or there is none of that name.
    """
    if isinstance(given, str):
        return build_method(EntrySpec(given))
    if not isinstance(given, Method):
        raise ConfigError(_not_one(given, "method", "KNN(k=50) or 'knn'"))
    return Slot(name_of(given), given.config, type(given)(given.config))


def calibrator_slot(given: str | Calibrator | None) -> Slot[Calibrator]:
    """A fresh calibrator; None is "none". See `method_slot`."""
    if given is None or isinstance(given, str):
        return build_calibrator(EntrySpec(given or NONE.name))
    if not isinstance(given, Calibrator):
        raise ConfigError(_not_one(given, "calibrator", "PATT(high=2) or 'patt'"))
    return Slot(name_of(given), given.config, type(given)(given.config))


def normaliser_slot(given: str | Normaliser | None, base: Slot[Method]) -> Slot[Normaliser]:
    """A fresh normaliser for the scores of `base`; None is "none". See `method_slot`.

    Raises:
        ConfigError: Also if it was made for, or does not take, the scores of another method.
    """
    if given is None or isinstance(given, str):
        return build_normaliser(EntrySpec(given or NONE.name), base)
    if not isinstance(given, Normaliser):
        raise ConfigError(_not_one(given, "normaliser", "'imood'"))
    if given.base != base.name:
        raise ConfigError(
            f"normaliser {given!r} takes scores of {given.base} but the method is {base.name}; "
            f"give base={base.name!r}."
        )
    return build_normaliser(EntrySpec(name_of(given), to_section(given.config)), base)


def _not_one(given: object, kind: str, example: str) -> str:
    return f"{kind} is {given!r}; give a {kind} or its name, such as {example}."
