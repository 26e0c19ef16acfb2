"""Candidates of each recipe, from WordNet or from lists of words.

Nothing here depends on the order of files or lines: words are sorted, nouns first, and what is
both noun and adjective counts as a noun. In the published codes the order in which a file system
lists files decides that, and which superclass CSP draws for an adjective; here the draw depends
on the seed and the adjective alone, and the result stands in the list.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ltood.core.errors import ConfigError, DataError
from ltood.negatives.lists import Kind, WordList, read_text
from ltood.negatives.settings import RECIPES
from ltood.negatives.wordnet import FILES, Corpus

#: Files that the published word lists do not have.
_ABSENT = ("noun.animal", "noun.food")
#: Files that each recipe leaves out.
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "neglabel": _ABSENT,
    "interneg": _ABSENT,
    "csp": (*_ABSENT, "noun.group", "noun.person", "noun.quantity", "adj.pert"),
}
#: Recipes whose lists were chosen already.
CHOSEN = ("listed", "negrefine-list")
#: What CSP joins with an adjective: names of many things, one of which is drawn for each.
SUPERCLASSES = (
    *("environment", "space", "object", "scene", "place", "item", "area", "view", "thing"),
    *("pattern", "structure", "landscape", "vista", "creature"),
)


def from_wordnet(
    corpus: Corpus, recipe: str, *, leave_out: Sequence[str] | None = None, seed: int = 0
) -> WordList:
    """Candidates of a recipe from WordNet.

    Args:
        corpus: Words by lexicographer file.
        recipe: neglabel, csp or interneg.
        leave_out: Files whose words are left out; None takes those of the recipe.
        seed: Of the superclass that CSP joins with an adjective.

    Raises:
        ConfigError: If the recipe takes a list, or there is no such file.
        DataError: If no word is left.
    """
    if recipe not in LEFT_OUT:
        raise ConfigError(
            f"the recipe {recipe} takes words of a list, not WordNet; give --words, or one of the "
            f"recipes {', '.join(LEFT_OUT)}."
        )
    left_out = LEFT_OUT[recipe] if leave_out is None else tuple(leave_out)
    if unknown := [name for name in left_out if name not in FILES.values()]:
        raise ConfigError(
            f"WordNet has no file {unknown[0]!r} to leave out; it has {', '.join(FILES.values())}."
        )
    taken = {name: words for name, words in corpus.words.items() if name not in left_out}
    nouns, adjectives = (
        [word for name, words in taken.items() if name.startswith(start) for word in words]
        for start in ("noun.", "adj.")
    )
    without = f" without {', '.join(sorted(left_out))}" if left_out else ""
    source = f"{corpus.source}{without}{f', seed {seed}' if recipe == 'csp' else ''}"
    return candidates(nouns, adjectives, recipe, seed=seed, source=source, licence=corpus.licence)


def candidates(
    nouns: Iterable[str],
    adjectives: Iterable[str],
    recipe: str,
    *,
    seed: int = 0,
    source: str = "",
    licence: str = "",
) -> WordList:
    """Words as a recipe wants them, sorted and each once, whatever its capitals.

    Args:
        nouns: Nouns.
        adjectives: Adjectives; one that is a noun, too, counts as a noun.
        recipe: One of `RECIPES`.
        seed: Of the superclass that CSP joins with an adjective.
        source: Where they come from, for people.
        licence: Notice that goes with them.

    Raises:
        DataError: If there is no word.
    """
    as_nouns = _distinct(sorted({_clean(word) for word in nouns}))
    others = _distinct(sorted({_clean(word) for word in adjectives}), as_nouns)
    if recipe == "csp":
        phrases = (f"{word} {_superclass(word, seed)}" for word in others.values())
        others = _distinct(sorted(phrases), as_nouns)
    words: list[tuple[str, Kind]] = [(word, "noun") for word in as_nouns.values()]
    words += [(word, "adjective") for word in others.values()]
    return WordList(recipe, tuple(words), source, licence)


def chosen(nouns: Sequence[str], adjectives: Sequence[str], recipe: str, source: str) -> WordList:
    """Labels that were chosen already, in the given order; those that repeat count once.

    Args:
        nouns: Labels with the templates of nouns.
        adjectives: Labels with the templates of adjectives.
        recipe: "listed" or "negrefine-list".
        source: Where they come from, for people.

    Raises:
        DataError: If there is none.
    """
    as_nouns = _distinct(map(_clean, nouns))
    others = _distinct(map(_clean, adjectives), as_nouns)
    words: list[tuple[str, Kind]] = [(word, "noun") for word in as_nouns.values()]
    words += [(word, "adjective") for word in others.values()]
    return WordList(recipe, tuple(words), source)


def words_of(path: Path) -> list[str]:
    """Words of a file with one a line.

    Raises:
        DataError: If it cannot be read or has none.
    """
    words = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not words:
        raise DataError(f"{path} holds no words; give a text file with one word a line.")
    return words


def from_files(
    nouns: Sequence[str], adjectives: Sequence[str], recipe: str, *, seed: int = 0, source: str = ""
) -> WordList:
    """List of a recipe from words of files: candidates, or for negrefine-list the labels.

    Raises:
        DataError: If there is no word.
    """
    if recipe in CHOSEN:
        return chosen(nouns, adjectives, recipe, source)
    return candidates(nouns, adjectives, recipe, seed=seed, source=source)


def check_build(
    recipe: str, wordnet: Path | None, words: Path | None, adjectives: Path | None
) -> None:
    """Refuse a recipe or sources that do not fit.

    Raises:
        ConfigError: If there is no such recipe, it needs words of a file, or there are two sources.
    """
    if recipe not in RECIPES or recipe == "listed":
        builds = ", ".join(name for name in RECIPES if name != "listed")
        raise ConfigError(f"there is no recipe {recipe!r} to build; choose one of {builds}.")
    given = [path for path in (words, adjectives) if path is not None]
    if wordnet is not None and given:
        raise ConfigError(
            f"both WordNet ({wordnet}) and words of a file ({given[0]}) are given; give one."
        )
    if recipe in CHOSEN and not given:
        raise ConfigError(
            f"the recipe {recipe} takes a list that was chosen already; give its nouns by --words "
            "and its adjectives by --adjectives."
        )


def check_import(recipe: str) -> None:
    """Refuse a recipe that chooses words itself.

    Raises:
        ConfigError: With those that take a list as it is.
    """
    if recipe not in CHOSEN:
        raise ConfigError(
            f"the recipe {recipe!r} takes no list of chosen labels; choose one of "
            f"{', '.join(CHOSEN)}, or `ltood negatives build --words`."
        )


def _distinct(words: Iterable[str], others: Mapping[str, str] | None = None) -> dict[str, str]:
    """The first of words that CLIP reads alike, by what it reads, without empty ones and others.

    Its text encoder sees lower case only: "Zebra" and "zebra" would be one label that counts twice.
    """
    found: dict[str, str] = {}
    for word in words:
        if word and word.lower() not in (others or {}):
            found.setdefault(word.lower(), word)
    return found


def _clean(word: str) -> str:
    """A word with spaces for underscores and one space where there are several."""
    return " ".join(word.replace("_", " ").split())


def _superclass(adjective: str, seed: int) -> str:
    """Superclass of an adjective, drawn by a hash of both, so that no other word matters."""
    raw = hashlib.sha256(f"{seed}/{adjective}".encode()).digest()
    return SUPERCLASSES[int.from_bytes(raw[:8], "big") % len(SUPERCLASSES)]
