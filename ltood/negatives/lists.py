"""Lists of words from which negative labels are chosen, as files that people can read and edit.

    # ltood negative labels
    # recipe: csp
    # source: WordNet 3.1 without noun.animal, ...
    # (the notice that goes with the words)
    text,kind
    abacus,noun
    unheard landscape,adjective

What counts are the recipe and the lines after the header; the other notes are for people.
"""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from ltood.core.errors import DataError
from ltood.negatives.settings import RECIPES
from ltood.runtime.provenance import digest
from ltood.runtime.workspace import locate

Kind = Literal["noun", "adjective"]
KINDS: tuple[Kind, ...] = ("noun", "adjective")
_TITLE = "# ltood negative labels"
_HEADER = ["text", "kind"]


@dataclass(frozen=True)
class WordList:
    """Words in the order in which they count.

    Attributes:
        recipe: One of `RECIPES`, which says how they are prompted and chosen.
        words: Text and kind of each; no text twice.
        source: Where they come from, for people.
        licence: Notice that goes with them.
    """

    recipe: str
    words: tuple[tuple[str, Kind], ...]
    source: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check recipe and words."""
        if self.recipe not in RECIPES:
            raise DataError(
                f"the list of words is for the recipe {self.recipe!r}; known are "
                f"{', '.join(RECIPES)}."
            )
        if not self.words:
            raise DataError("the list holds no words; give at least one.")
        seen: set[str] = set()
        for text, kind in self.words:
            if not text.strip() or text in seen:
                fault = "is there twice" if text in seen else "has no letters"
                raise DataError(f"the word {text!r} {fault}; give every word once.")
            if kind not in KINDS:
                raise DataError(f"the word {text!r} is of kind {kind!r}; use noun or adjective.")
            seen.add(text)

    @property
    def sha256(self) -> str:
        """Digest of all that counts."""
        return digest({"recipe": self.recipe, "words": [list(word) for word in self.words]})

    def summary(self) -> str:
        """Numbers of words, for people."""
        nouns = sum(kind == "noun" for _, kind in self.words)
        return f"{nouns:,} nouns and {len(self.words) - nouns:,} adjectives, recipe {self.recipe}"

    def to_text(self) -> str:
        """Content of its file."""
        notes = [_TITLE, f"# recipe: {self.recipe}", f"# source: {self.source}"]
        notes += [f"# {line}".rstrip() for line in self.licence.splitlines()]
        text = io.StringIO()
        text.writelines(f"{note}\n" for note in notes)
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(_HEADER)
        lines.writerows(self.words)
        return text.getvalue()


def read_list(setting: str) -> WordList:
    """Read a list that `ltood negatives` wrote.

    Args:
        setting: Its path.

    Raises:
        DataError: If it cannot be read or is not such a list.
    """
    text = read_text(locate(setting))
    notes, _, rest = text.partition(f"{','.join(_HEADER)}\n")
    keys = dict(line[2:].split(": ", 1) for line in notes.splitlines() if ": " in line)
    if not text.startswith(_TITLE) or "recipe" not in keys or not rest:
        raise DataError(
            f"{setting} is not a list of negative labels; make one of it with `ltood negatives "
            "import` or `ltood negatives build`."
        )
    words = []
    for number, row in enumerate(csv.reader(io.StringIO(rest)), start=1):
        if len(row) != 2:
            raise DataError(
                f"{setting}: line {number} after the header has {len(row)} values; it needs a text "
                "and a kind (noun or adjective)."
            )
        words.append((row[0], cast(Kind, row[1])))
    try:
        return WordList(keys["recipe"], tuple(words), keys.get("source", ""))
    except DataError as error:
        raise DataError(f"{setting}: {error}") from None


def read_text(path: Path) -> str:
    """Text of a file, with line ends as they are here.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        # Editors of some systems begin a file with a mark, which is not part of a word.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a text file in UTF-8.") from error
