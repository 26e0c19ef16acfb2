"""Names are file names: list and load the entries of a plug-in package.

`ltood/methods/knn.py` is the method `knn`. Nothing is registered by hand and
nothing is imported before it is asked for. Files in a folder such as `methods/` beside
`params.yaml` are entries too; see `ltood.core.own_entries`.
"""

import ast
import difflib
import importlib
import pkgutil
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from ltood.core.errors import ConfigError, UnknownNameError, quoted
from ltood.core.own_entries import check_own, import_own, own_file, own_names

#: What one entry of each package is called in a sentence.
KINDS = {
    "methods": "method",
    "calibrators": "calibrator",
    "normalisers": "normaliser",
    "datasets": "dataset",
    "backbones": "backbone",
    "recipes": "recipe",
    "losses": "loss",
    "metrics": "metric",
}

#: Line in the file of a method whose scores depend on the other test rows; see
#: `ltood.core.streams`.
TRANSDUCTIVE = "TRANSDUCTIVE"


def _folder(package: str) -> Path:
    return Path(__file__).resolve().parent.parent / package


def source_file(package: str, name: str) -> Path:
    """File of an entry that is known to exist."""
    return own_file(package, name) or _folder(package) / f"{name}.py"


def available(package: str) -> list[str]:
    """List the entries of `package` (such as "methods") in alphabetical order.

    Raises:
        ConfigError: If an own entry has the name of a shipped one.
    """
    found = (entry.name for entry in pkgutil.iter_modules([str(_folder(package))]))
    shipped = {name for name in found if not name.startswith("_")}
    own = own_names(package)
    if taken := sorted(shipped.intersection(own)):
        raise ConfigError(
            f"{package}/{taken[0]}.py has the name of a {KINDS[package]} that ltood brings; "
            "rename the file."
        )
    return sorted(shipped.union(own))


def check_name(package: str, name: str) -> None:
    """Refuse a name that is not an entry of `package`, without importing anything.

    Raises:
        UnknownNameError: With the nearest names and the full list.
        ConfigError: If it is the name of an own file that cannot be an entry.
    """
    known = available(package)
    if (own := own_file(package, name)) is not None:
        check_own(own)
    if name in known:
        return
    kind = KINDS.get(package, package)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UnknownNameError(f"No {kind} {quoted(name)}.{hint} Known: {', '.join(known)}.")


def load(package: str, name: str) -> ModuleType:
    """Import the entry `name` of `package`.

    Raises:
        UnknownNameError: With the nearest names and the full list.
        ConfigError: If it is the name of an own file that cannot be an entry.
    """
    check_name(package, name)
    if (own := own_file(package, name)) is not None:
        return import_own(package, own)
    return importlib.import_module(f"ltood.{package}.{name}")


def summary(package: str, name: str) -> str:
    """First line of an entry's docstring, read without importing it.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    check_name(package, name)
    docstring = ast.get_docstring(ast.parse(source_file(package, name).read_bytes())) or ""
    return docstring.partition("\n")[0]


def flag(package: str, name: str, key: str) -> bool:
    """Whether an entry's module holds the line `key = True`, read without importing it.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    return constant(package, name, key) is True


def constant(package: str, name: str, key: str) -> Any:  # noqa: ANN401 - any literal
    """Literal of the line `key = ...` of an entry's module, read without importing it.

    Returns:
        Its value; None where there is no such line, or it holds no literal.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    check_name(package, name)
    text = source_file(package, name).read_bytes()
    for line in ast.parse(text).body if key.encode() in text else ():
        if not isinstance(line, ast.Assign):
            continue
        if [target.id for target in line.targets if isinstance(target, ast.Name)] == [key]:
            with suppress(ValueError):
                return ast.literal_eval(line.value)
    return None
