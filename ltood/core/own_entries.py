"""Entries of a user's own: files in `methods/` and its like beside `params.yaml`.

A repository made by `ltood new` holds no copy of ltood. `methods/norm.py` next to its
`params.yaml` is the method `norm`, as if it lay in `ltood/methods/`; see docs/how-to/own-method.md.
"""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

from ltood.core.errors import ConfigError

#: Kinds of which a repository may hold entries of its own.
PACKAGES = ("methods", "calibrators", "normalisers", "recipes", "backbones", "datasets")
#: Those whose modules name their class `Entry`; the others are found by their functions.
_WITH_ENTRY = frozenset(PACKAGES) - {"backbones", "datasets"}
_MARK = "params.yaml"
_LONGEST = 200
#: Beginnings of file names that are not entries: private bases, and tests beside the code.
_NOT_ENTRIES = ("_", "test_", "conftest")


def own_folder(package: str) -> Path | None:
    """Folder of own entries of `package`, absolute; None where there is none.

    Only a folder beside a `params.yaml` counts, and only in the current directory.
    """
    folder = Path.cwd() / package
    found = package in PACKAGES and folder.with_name(_MARK).is_file() and folder.is_dir()
    return folder if found else None


def own_names(package: str) -> list[str]:
    """Names of own entries of `package`, in alphabetical order.

    A file that does not speak of ltood is a script that happens to lie there.
    """
    folder = own_folder(package)
    files = [] if folder is None else sorted(folder.glob("*.py"))
    return [
        file.stem
        for file in files
        if not file.name.startswith(_NOT_ENTRIES) and b"ltood" in file.read_bytes()
    ]


def own_file(package: str, module: str) -> Path | None:
    """File of an own entry, or of a private module beside it; None where there is none."""
    folder = own_folder(package)
    # A name may be anything that a user wrote; the system refuses to look for a long one.
    if folder is None or Path(module).name != module or len(module) > _LONGEST:
        return None
    file = folder / f"{module}.py"
    return file if file.is_file() else None


def check_own(file: Path) -> None:
    """Refuse an own file that cannot be an entry, without importing it.

    Raises:
        ConfigError: If it is not Python, its name is not one of a module, or it lacks `Config`
            or `Entry` at its top level.
    """
    shown = f"{file.parent.name}/{file.name}"
    if not file.stem.isidentifier():
        raise ConfigError(
            f"{shown}: {file.stem!r} is not a module name; use letters, digits and _ alone."
        )
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ConfigError(f"{shown}, line {error.lineno}: {error.msg}; correct the file.") from None
    missing = [name for name in ("Config", "Entry") if name not in _top_level(tree)]
    if "Config" in missing or (missing and file.parent.name in _WITH_ENTRY):
        raise ConfigError(
            f"{shown} does not define {' and '.join(missing)}; an entry has a class Config with "
            "its settings, and Entry names the class that uses them."
        )


def import_own(package: str, file: Path) -> ModuleType:
    """Import an own entry as `ltood.PACKAGE.NAME`; again if one of another folder was imported."""
    name = f"ltood.{package}.{file.stem}"
    found = sys.modules.get(name)
    if found is not None and found.__file__ == str(file):
        return found
    home = importlib.import_module(f"ltood.{package}")
    # In front stay the shipped modules; of own folders only the current one counts.
    home.__path__[1:] = [str(file.parent)]
    for other in [key for key in sys.modules if key.startswith(f"ltood.{package}.")]:
        place = sys.modules[other].__file__
        if place is not None and str(Path(place).parent) not in home.__path__:
            del sys.modules[other]
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _top_level(tree: ast.Module) -> set[str]:
    """Names that a module defines, assigns or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names
