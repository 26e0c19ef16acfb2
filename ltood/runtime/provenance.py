"""Digests of what a result was made from: plain values and source code."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from ltood import __version__
from ltood.runtime.source import closure, companions

#: Modules that cannot change a number, each with its reason. They count in no digest, nor does
#: what only they import. Never a whole room: a module counts unless it is listed here.
WITHOUT_EFFECT = {
    "ltood": "public names, imported on demand; stages name modules in full",
    "ltood.core.errors": "texts and kinds of errors",
    "ltood.core.extras": "names of extra arrays, and the code that computes them counts itself",
    "ltood.core.holding": "names the members that an entry holds, and these count themselves",
    "ltood.core.own_entries": "finds entries of a repository, and the entry found counts itself",
    "ltood.core.registry": "finds entries by name, and the entry found counts itself",
    "ltood.core.words": "words for people",
    "ltood.pipeline._code": "names modules for the digests",
    "ltood.pipeline._going_back": "a line for people under an error",
    "ltood.pipeline._lock": "keeps two runs of a stage apart",
    "ltood.pipeline._params": "reads params.yaml, whose values are recorded one by one",
    "ltood.pipeline._rank": "starts a stage in one of several processes",
    "ltood.pipeline._shell": "paths, errors and exit codes",
    "ltood.pipeline._watched": "digests of files",
    "ltood.preparing.watch": "digests of files",
    "ltood.preparing.leakage": "counts repeated images for a line to people",
    "ltood.preparing.summary": "lines for people",
    "ltood.runtime": "an empty package",
    "ltood.runtime.claims": "keeps two writers of a file apart",
    "ltood.runtime.console": "lines, warnings and progress bars for people",
    "ltood.runtime.drivers": "brings bytes, which are compared with their checksum",
    "ltood.runtime.extras": "refuses what is not installed",
    "ltood.runtime.file_hashes": "digests of files",
    "ltood.runtime.files": "moves finished bytes into place",
    "ltood.runtime.first": "tells which of several processes writes",
    "ltood.runtime.gpus": "lines about GPUs for people",
    "ltood.runtime.in_flight": "the same calls, some at a time",
    "ltood.runtime.kept": "second names of finished results, which are compared before use",
    "ltood.runtime.names": "refuses names of files from outside",
    "ltood.runtime.params": "reads params.yaml, whose values are recorded one by one",
    "ltood.runtime.process": "how threads wait and freed memory is kept; the same bits either way",
    "ltood.runtime.provenance": "digests; a new rule gives new digests by itself",
    "ltood.runtime.reaching": "asks whether a host answers before files are fetched from it",
    "ltood.runtime.records": "when and where a result was made, from which nothing is computed",
    "ltood.runtime.shipped": "where files lie, and their content is recorded",
    "ltood.runtime.source": "reads source for the digests",
    "ltood.runtime.widths": "columns of text in a terminal",
    "ltood.runtime.workspace": "where a file lies, and its content is recorded",
    "ltood.sets.downloads": "brings files, whose content is recorded",
    "ltood.store.cached": "keeps copies, which are compared with their checksum",
    "ltood.store.disks": "reaches files, which are compared with their checksum",
}
#: Libraries whose major and minor version count where a module imports them, by the name under
#: which they are installed. Patch releases and ltood's own version do not.
LIBRARIES = {
    "PIL": "pillow",
    "numpy": "numpy",
    "open_clip": "open_clip_torch",
    "scipy": "scipy",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
}


def recorded_of(provenance: object, *keys: str) -> Any:  # noqa: ANN401 - any plain value
    """A value within a provenance; None where it holds no such value.

    Stores that others made may record anything, such as a checkpoint as the name of a file.
    """
    for key in keys:
        provenance = provenance.get(key) if isinstance(provenance, Mapping) else None
    return provenance


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_digest(*roots: str) -> str:
    """SHA-256 of what modules do, with all that they import; see `code_parts`."""
    return digest(code_parts(*roots))


def code_parts(*roots: str) -> dict[str, dict[str, str]]:
    """Code that can change a number when modules run. The source is read, not run.

    Comments, docstrings and blank lines do not count, and it is the same on every Python.

    Args:
        roots: Full names, such as "ltood.training.train". Entries that are loaded by name must
            be among them.

    Returns:
        Digests by module under "modules", by file for what they read from their folder under
        "files", and versions by library under "libraries".

    Raises:
        ModuleNotFoundError: If there is no module of a name.
    """
    sources = closure(roots, frozenset(WITHOUT_EFFECT))
    files = {
        file: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, source in sources.items()
        for file, path in companions(name, source).items()
    }
    imported = frozenset[str]().union(*(source.libraries for source in sources.values()))
    return {
        "modules": {name: source.sha256 for name, source in sources.items()},
        "files": files,
        "libraries": {name: minor_version(name) for name in sorted(imported & LIBRARIES.keys())},
    }


@cache
def minor_version(library: str) -> str:
    """Major and minor version of one of `LIBRARIES`, such as "2.6"; "none" where it is missing."""
    try:
        version = importlib.metadata.version(LIBRARIES[library])
    except importlib.metadata.PackageNotFoundError:
        return "none"
    return ".".join(version.split(".")[:2])


def library_versions() -> dict[str, str]:
    """Versions to record with a result; `code_parts` says which of them count."""
    found = {name: importlib.metadata.version(name) for name in ("numpy", "torch")}
    # Of the code that runs: an editable install keeps the version it was installed with.
    return {"ltood": __version__, **found}


#: Signs of a value that are shown, and how many of them before the first that differs.
_LONGEST, _BEFORE = 40, 12


def differences(found: object, wanted: object, where: str = "") -> list[str]:
    """Say where two nested plain values differ, one clause each."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        clauses: list[str] = []
        for key in sorted(found.keys() | wanted.keys()):
            inner = f"{where}.{key}" if where else str(key)
            clauses += differences(found.get(key, "absent"), wanted.get(key, "absent"), inner)
        return clauses
    if found == wanted:
        return []
    before, after = _said(found), _said(wanted)
    # Long values are cut around the first place where they differ, which is what is asked for.
    signs = enumerate(zip(before, after, strict=False))
    shared = next((place for place, (one, other) in signs if one != other), len(before))
    start = max(0, shared - _BEFORE) if max(len(before), len(after)) > _LONGEST else 0
    return [f"{where} was {_cut(before, start)}, now {_cut(after, start)}"]


def _said(value: object) -> str:
    return "absent" if value == "absent" else repr(value)


def _cut(text: str, start: int) -> str:
    """A part of a text from a place on, with marks where it is cut."""
    end = start + _LONGEST
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"
