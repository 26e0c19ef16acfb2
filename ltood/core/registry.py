"""Names are file names: list and load the entries of a plug-in package.

`ltood/methods/knn.py` is the method `knn`. Nothing is registered by hand and
nothing is imported before it is asked for.
"""

import ast
import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from ltood.core.errors import UnknownNameError, quoted

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


def _folder(package: str) -> Path:
    return Path(__file__).resolve().parent.parent / package


def available(package: str) -> list[str]:
    """List the entries of `package` (such as "methods") in alphabetical order."""
    names = (entry.name for entry in pkgutil.iter_modules([str(_folder(package))]))
    return sorted(name for name in names if not name.startswith("_"))


def check_name(package: str, name: str) -> None:
    """Refuse a name that is not an entry of `package`, without importing anything.

    Raises:
        UnknownNameError: With the nearest names and the full list.
    """
    known = available(package)
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
    """
    check_name(package, name)
    return importlib.import_module(f"ltood.{package}.{name}")


def summary(package: str, name: str) -> str:
    """First line of an entry's docstring, read without importing it.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    check_name(package, name)
    text = (_folder(package) / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return docstring.partition("\n")[0]


def flag(package: str, name: str, constant: str) -> bool:
    """Whether an entry's module holds the line `constant = True`, read without importing it.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    check_name(package, name)
    text = (_folder(package) / f"{name}.py").read_text(encoding="utf-8")
    return any(
        isinstance(line, ast.Assign)
        and [target.id for target in line.targets if isinstance(target, ast.Name)] == [constant]
        and isinstance(line.value, ast.Constant)
        and line.value.value is True
        for line in ast.parse(text).body
    )
