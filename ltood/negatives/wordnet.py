"""Nouns and adjectives of WordNet, by lexicographer file.

Source: Fellbaum (editor), "WordNet: An Electronic Lexical Database", MIT Press 1998; Princeton
University's database 3.1. Its licence permits copies with the notice, which goes with the words.

The word lists that the codes of NegLabel, CSP, NegRefine and InterNeg share hold the first word
of every synset of WordNet 3.1 in lower case, without the files noun.animal and noun.food; about a
thousand adjectives are missing in them, and some words carry marks of the file format. Here none
is missing and the marks are taken off.
"""

import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ltood.core.errors import DataError
from ltood.sets.downloads import Source

SOURCE = Source(
    "wn3.1.dict.tar.gz",
    "https://wordnetcode.princeton.edu/wn3.1.dict.tar.gz",
    "sha256:3f7d8be8ef6ecc7167d39b10d66954ec734280b5bdcd57f7d9eafe429d11c22a",
    "https://wordnet.princeton.edu/download/current-version",
)
_NOUNS = (
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication"),
    *("event", "feeling", "food", "group", "location", "motive", "object", "person"),
    *("phenomenon", "plant", "possession", "process", "quantity", "relation", "shape", "state"),
    *("substance", "time"),
)
#: Lexicographer files by their number in the database.
FILES: Mapping[int, str] = {
    **{0: "adj.all", 1: "adj.pert", 44: "adj.ppl"},
    **{number: f"noun.{name}" for number, name in enumerate(_NOUNS, start=3)},
}
#: Largest file that is read whole; data.noun has 16 MB.
_MOST_BYTES = 2**27
_DATABASE = ("data.noun", "data.adj")
#: Where an adjective may stand, which is not part of it.
_PLACE = re.compile(r"\((a|p|ip)\)$")
#: Number that tells words of one form apart in lexicographer files; after a quote it is one.
_SENSE = re.compile(r'(?<=[^\W\d])\d+$|(?<=")\d+$')
_SYNSET = re.compile(r"\{\s*\[?\s*([^\s,\]]+)(?:\s*,|\s)([^}]*)")
_WORD = re.compile(r"(?:^|\s)\[?([^\s,\[\]:(]+),(?=\s)")


@dataclass(frozen=True)
class Corpus:
    """Words by where they come from.

    Attributes:
        words: Lower-case words by lexicographer file, such as "noun.plant".
        source: What was read, for people.
        licence: Notice that goes with every copy of the words; empty where none was found.
    """

    words: Mapping[str, tuple[str, ...]]
    source: str
    licence: str = ""


def read_wordnet(path: Path, *, every_word: bool = False) -> Corpus:
    """Read the nouns and adjectives of a WordNet.

    Args:
        path: Folder or archive (.tar.gz, .tar.bz2, .zip) of a WordNet, with `data.noun` and
            `data.adj`, with its lexicographer files (`noun.act`, `adj.all`, ...), or with these as
            lists of one word a line (`noun.act.txt`).
        every_word: Take all words of a synset, not the first one alone.

    Raises:
        DataError: If it cannot be read or holds no such file.
    """
    if not path.exists():
        raise DataError(
            f"there is no {path}; give the folder or archive of a WordNet, or leave --wordnet out "
            f"to fetch {SOURCE.address}."
        )
    try:
        files = dict(_files(path))
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); give the folder of a WordNet, or an archive of one "
            "as .tar.gz, .tar.bz2 or .zip."
        ) from error
    if all(name in files for name in _DATABASE):
        found = _of_database(files, every_word)
    else:
        found = _of_files(files, every_word)
    if not any(found.values()):
        raise DataError(
            f"{path} holds no nouns or adjectives of WordNet; it needs data.noun and data.adj, or "
            "files such as noun.plant and adj.all."
        )
    licence = _licence(files)
    version = re.search(r"WordNet (\d\.\d) Copyright", licence)
    return Corpus(found, f"WordNet {version[1]}" if version else "WordNet", licence)


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """Name and content of each file that may be wanted, the last one first where names repeat."""
    if path.is_dir():
        folders = (path, path / "dict", path / "dbfiles", path / "dict" / "dbfiles")
        for file in sorted((file for folder in folders for file in folder.glob("*")), reverse=True):
            if _is_wanted(file.name) and file.is_file() and file.stat().st_size <= _MOST_BYTES:
                yield file.name, _text(file.read_bytes())
    elif path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename, reverse=True):
                name = PurePosixPath(member.filename).name
                if _is_wanted(name) and member.file_size <= _MOST_BYTES:
                    yield name, _text(archive.read(member))
    else:
        with tarfile.open(path) as packed:
            for item in sorted(packed.getmembers(), key=lambda one: one.name, reverse=True):
                name = PurePosixPath(item.name).name
                content = packed.extractfile(item) if item.isfile() else None
                if content is not None and _is_wanted(name) and item.size <= _MOST_BYTES:
                    yield name, _text(content.read())


def _is_wanted(name: str) -> bool:
    return name in (*_DATABASE, "LICENSE", "COPYING") or name.removesuffix(".txt") in FILES.values()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _of_database(files: Mapping[str, str], every_word: bool) -> dict[str, tuple[str, ...]]:
    """Words of `data.noun` and `data.adj`: offset, file, kind, count in base 16, words."""
    found: dict[str, list[str]] = {}
    for name in _DATABASE:
        for number, line in enumerate(files[name].splitlines(), start=1):
            if not line.strip() or line.startswith("  "):
                continue
            fields = line.split()
            try:
                file, count = FILES[int(fields[1])], int(fields[3], 16)
                words = [fields[4 + 2 * place] for place in range(count)]
            except (ValueError, KeyError, IndexError):
                raise DataError(
                    f"{name} of the WordNet: line {number} is not a synset ({line[:40]!r}…); give "
                    "the database as Princeton publishes it."
                ) from None
            taken = words if every_word else words[:1]
            found.setdefault(file, []).extend(_word(_PLACE.sub("", word)) for word in taken)
    return {file: tuple(words) for file, words in found.items()}


def _of_files(files: Mapping[str, str], every_word: bool) -> dict[str, tuple[str, ...]]:
    """Words of lexicographer files, or of lists of their names."""
    found = {}
    for name in FILES.values():
        if f"{name}.txt" in files:
            found[name] = tuple(_plain(files[f"{name}.txt"]))
        elif name in files:
            found[name] = tuple(_of_synsets(files[name], every_word))
    return found


def _of_synsets(text: str, every_word: bool) -> Iterator[str]:
    """Words of a lexicographer file: `{ first, second, pointer,@ (gloss) }`, `[` for clusters."""
    for synset in _SYNSET.finditer(text):
        words = [synset[1]]
        if every_word:
            words += _WORD.findall(synset[2].partition("(")[0])
        for word in words:
            yield _word(_SENSE.sub("", _PLACE.sub("", word)).replace('"', ""))


def _plain(text: str) -> Iterator[str]:
    """Words of a list of one a line."""
    return (_word(line) for line in text.splitlines() if line.strip())


def _word(word: str) -> str:
    return " ".join(word.replace("_", " ").lower().split())


def _licence(files: Mapping[str, str]) -> str:
    """The notice of a WordNet: a file of its own, or the numbered lines that begin the data."""
    for name in ("LICENSE", "COPYING"):
        if name in files:
            return files[name].strip()
    lines = []
    for line in files.get("data.noun", "").splitlines():
        if not line.startswith("  "):
            break
        lines.append(line.strip().partition(" ")[2].rstrip())
    return "\n".join(lines).strip()
