"""Digests of what a result was made from: plain values and source code."""

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
#: Shared machinery is left out: a change of its wording must not cost a training run.
_LEFT_OUT = ("core", "runtime", "store")


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_digest(*modules: str) -> str:
    """SHA-256 of what modules do, and those of ltood that they import, core and store left out.

    Comments, docstrings and layout do not count. The source is read, not imported.

    Args:
        modules: Full names, such as "ltood.training".
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        tree = ast.parse(_file(name).read_text(encoding="utf-8"))
        found[name] = ast.unparse(_without_docstrings(tree))
        waiting.extend(_imports(tree))
    return digest(found)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide numbers."""
    return {name: importlib.metadata.version(name) for name in ("ltood", "numpy", "torch")}


def differences(found: object, wanted: object, where: str = "") -> list[str]:
    """Say where two nested plain values differ, one clause each."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        clauses: list[str] = []
        for key in sorted(found.keys() | wanted.keys()):
            inner = f"{where}.{key}" if where else str(key)
            clauses += differences(found.get(key, "absent"), wanted.get(key, "absent"), inner)
        return clauses
    return [] if found == wanted else [f"{where} was {_short(found)}, now {_short(wanted)}"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _file(module: str) -> Path:
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules of ltood that a module imports, at its top or inside functions."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in inner if _file(name).is_file()] or [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ltood" and len(parts) > 1 and parts[1] not in _LEFT_OUT:
                yield name


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree
