"""Analysis of Python source without running it: normal form, imports, imported modules.

The normal form is the text without comments, docstrings, blank lines and trailing blanks. It is
cut out of the text by position, because what `ast.unparse` and `ast.dump` write differs from one
Python to the next.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from ltood.core.errors import CorruptStoreError
from ltood.core.own_entries import own_file
from ltood.runtime.files import read_regular, require_regular, to_json_bytes, write_atomically

#: Folder that holds the packages below.
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ltood",)

#: What `_parsed` found, by digest of a file's place and bytes: in files that this process read,
#: and what earlier ones left.
_found: dict[str, list[str]] = {}
_recalled: dict[str, list[str]] = {}

#: A string, a continued line, or what separates two lines of code. In Python up to 3.11 no
#: replacement field of an f-string holds a comment or the quotes around it.
_PIECES = re.compile(
    rb'"""(?:\\.|[^\\])*?"""'
    rb"|'''(?:\\.|[^\\])*?'''"
    rb'|"(?:\\.|[^"\\\n])*"'
    rb"|'(?:\\.|[^'\\\n])*'"
    rb"|\\\n"
    rb"|(?P<break>(?:[ \t\f]*(?:#[^\n]*)?\n)+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Source:
    """One source file.

    Attributes:
        raw: The file's bytes.
        sha256: Digest of the normal form.
        imports: Modules of `PACKAGES` that it imports, at its top or inside functions; not
            those that only type checkers import.
        libraries: Top-level names of everything else that it imports.
    """

    raw: bytes
    sha256: str
    imports: frozenset[str]
    libraries: frozenset[str]

    @cached_property
    def text(self) -> bytes:
        """Normal form."""
        return normal_form(self.raw)


def normal_form(text: bytes, tree: ast.Module | None = None) -> bytes:
    """Source without what changes no behaviour.

    Args:
        text: Source of a module, UTF-8.
        tree: The same, parsed; parsed here if not given.

    Returns:
        The remaining lines. Text inside of strings stays as it is.
    """
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    starts = [0, *(match.end() for match in re.finditer(rb"\n", text))]
    kept: list[bytes] = []
    done = 0
    for node in _statements((tree or ast.parse(text)).body):
        if isinstance(node, ast.Expr) and _is_text(node.value):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            kept.append(text[done : starts[node.lineno - 1] + node.col_offset])
            done = starts[node.end_lineno - 1] + node.end_col_offset
    text = b"\n" + b"".join([*kept, text[done:]]) + b"\n"
    return _PIECES.sub(lambda piece: b"\n" if piece["break"] else piece[0], text).lstrip(b"\n")


def read_source(path: Path) -> Source:
    """Read one file; it is parsed once per process and state of the file.

    Raises:
        SyntaxError: If it is not Python.
    """
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


def module_file(name: str) -> Path | None:
    """File of a module of `PACKAGES`, or None where there is none of this name.

    Entries of the user's own count as modules of `PACKAGES`, which is how they are imported.
    """
    parts = name.split(".")
    path = ROOT.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if parts[0] not in PACKAGES or file.is_file():
        return file if parts[0] in PACKAGES else None
    return own_file(*parts[1:]) if len(parts) == 3 else None


def _place(path: Path) -> Path:
    """Place of a module's file below `ROOT`, such as ltood/methods/knn.py; an own entry's too."""
    if any(path.is_relative_to(ROOT / package) for package in PACKAGES):
        return path.relative_to(ROOT)
    return Path(PACKAGES[0], path.parent.name, path.name)


def closure(roots: tuple[str, ...], without: frozenset[str] = frozenset()) -> dict[str, Source]:
    """Modules that run when `roots` run: they, what they import, and the packages around each.

    Args:
        roots: Full names, such as "ltood.training.train".
        without: Modules to skip, with what only they import.

    Returns:
        Sources by name, in the order of names.

    Raises:
        ModuleNotFoundError: If there is no module of a name.
    """
    found: dict[str, Source] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        path = module_file(name)
        if path is None:
            raise ModuleNotFoundError(f"there is no module {name}", name=name)
        found[name] = read_source(path)
        waiting += found[name].imports
        waiting += [name[: dot.start()] for dot in re.finditer(r"\.", name)]
    return dict(sorted(found.items()))


def companions(name: str, source: Source) -> dict[str, Path]:
    """Files in a module's folder that it reads: those whose names occur in its text.

    Returns:
        Paths by name such as "ltood/reporting/report.css".
    """
    path = module_file(name)
    assert path is not None
    package = "/".join(name.split(".")[: len(_place(path).parent.parts)])
    return {
        f"{package}/{file.name}": file
        for file in path.parent.iterdir()
        if file.suffix not in {"", ".py", ".pyc"}
        # Most modules name none, and their normal form need not be made to see that.
        and (name_there := file.name.encode()) in source.raw
        and name_there in source.text
    }


def recall(path: Path) -> None:
    """Take over what `remember` left there, if anything, so that the same bytes are not parsed."""
    with suppress(OSError, CorruptStoreError, ValueError, TypeError, LookupError, RecursionError):
        found = json.loads(read_regular(path))
        if found["rule"] == _rule():
            _recalled.update(found["sources"])


def remember(path: Path) -> None:
    """Leave what this process found in sources to later ones; see `recall`.

    Raises:
        StoreError: If the file cannot be written.
    """
    if _found != _recalled:
        require_regular(path)
        write_atomically(path, to_json_bytes({"rule": _rule(), "sources": _found}))


@cache
def _read(path: Path, size: int, mtime_ns: int) -> Source:
    del size, mtime_ns
    raw = path.read_bytes()
    place = _place(path)
    key = hashlib.sha256(b"%s\n%s" % (place.as_posix().encode(), raw)).hexdigest()
    _found[key] = _recalled.get(key) or _parsed(raw, ".".join(place.parent.parts))
    digest, *names = _found[key]
    modules, libraries = set(), set()
    for name in names:
        top = name.partition(".")[0]
        if top not in PACKAGES:
            libraries.add(top)
            continue
        # `from package import name` names a module of the package, or something within it.
        modules.add(name if module_file(name) else name.rpartition(".")[0])
    return Source(raw, digest, frozenset(modules), frozenset(libraries))


def _parsed(raw: bytes, package: str) -> list[str]:
    """Digest of the normal form, then the full names of all that is imported."""
    tree = ast.parse(raw)
    digest = hashlib.sha256(normal_form(raw, tree)).hexdigest()
    return [digest, *sorted(set(_imported(tree.body, package)))]


@cache
def _rule() -> list[str]:
    """Version of the analysis: this file, and Python's grammar."""
    return [hashlib.sha256(Path(__file__).read_bytes()).hexdigest(), sys.version]


def _imported(body: list[ast.stmt], package: str) -> Iterator[str]:
    """Full names that statements import, "package.name" for each name taken from a package."""
    for node in _statements(body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements in order, those inside of others too, but for what only type checkers see."""
    for node in body:
        yield node
        unseen = isinstance(node, ast.If) and _is_type_checking(node.test)
        for key in ("body", "handlers", "orelse", "finalbody", "cases"):
            inner = [] if unseen and key == "body" else getattr(node, key, [])
            yield from _statements(inner)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"
