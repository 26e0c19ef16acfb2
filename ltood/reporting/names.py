"""Names as people say them: "Mahalanobis" for the entry mahalanobis."""

import re
from collections.abc import Mapping

from ltood.core.errors import LtoodError
from ltood.core.registry import summary

_PACKAGES = {
    "dataset": "datasets",
    "backbone": "backbones",
    "recipe": "recipes",
    "calibrator": "calibrators",
    "method": "methods",
    "normaliser": "normalisers",
}
#: Where a title ends; those of networks go on with what they are for.
_END = {False: re.compile(":"), True: re.compile(":| for | with ")}
#: Longer beginnings of a summary are sentences.
_LONGEST = 40
#: What was done, in the order of work.
_WORK = ("calibrator", "method", "normaliser")


def title(kind: str, name: str) -> str:
    """Title of an entry, which is what its summary begins with.

    Args:
        kind: Its slot, such as "method".
        name: Its name; one that is not known here, such as that of another's own entry, stays.
    """
    if name == "none":
        return name
    try:
        found, *more = _END[kind == "backbone"].split(summary(_PACKAGES[kind], name))
    except (LtoodError, OSError, SyntaxError):
        return name
    return found if more and len(found) <= _LONGEST else name


def joint_title(names: Mapping[str, str | None]) -> str:
    """Titles of the entries of one row in the order of work, without those that do nothing.

    Args:
        names: Names by slot.
    """
    used = [(kind, names[kind]) for kind in _WORK if names[kind] not in (None, "none")]
    return " + ".join(title(kind, str(name)) for kind, name in used)


def says_more(shown: str, name: str) -> bool:
    """Whether a name is not plain from its title, so that both should be shown."""

    def bare(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter.isalnum())

    return bare(shown) != bare(name)
