"""Class names and templates to text embeddings."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.clip.prompts import Vocabulary, tokenise
from ltood.clip.text_tower import TextTower
from ltood.core.errors import DataError
from ltood.runtime.extras import require
from ltood.runtime.workspace import locate

#: In place of a file or a template: the names and templates that come with open_clip.
BUNDLED = "imagenet"
#: A WordNet id, which is not a word for a prompt, and CoOp's lines that begin with one.
_WNID = re.compile(r"n\d{8}")
_LISTED = re.compile(rf"({_WNID.pattern})\s+(.*\S.*)")
#: Prompts that go through the encoder at once.
_PROMPTS = 256


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder with its words.

    Attributes:
        tower: The encoder, on any device.
        vocabulary: How text becomes its token ids.
        weights_sha256: Digest of the weights of the whole CLIP model, image side included.
    """

    tower: TextTower
    vocabulary: Vocabulary
    weights_sha256: str


def prompt_names(setting: str | None, stored: Sequence[str]) -> list[str]:
    """Class names as prompts use them, in label order.

    Two classes of one name have one embedding, of which the user is warned.

    Args:
        setting: File with a name per line, or, as CoOp's classnames.txt, a WordNet id and a name
            for at least every stored name; "imagenet"; or None for the stored names.
        stored: Names of the C classes in the store.

    Returns:
        C names; underscores are spaces.

    Raises:
        DataError: If the file cannot be read, a name is empty or no word, or there are not C
            names.
    """
    names = list(stored) if setting is None else _listed(setting, stored)
    names = [name.replace("_", " ").strip() for name in names]
    if len(names) != len(stored):
        raise DataError(
            f"class_names {setting} holds {len(names)} names but the labels have {len(stored)} "
            "classes; give one name per class, in label order."
        )
    if "" in names:
        raise DataError(
            f"class {names.index('')} has an empty name; give every class a name, such as by "
            "class_names."
        )
    if all(_WNID.fullmatch(name) for name in names):
        raise DataError(
            f"the class names are WordNet ids ({names[0]} is the first), which no text encoder "
            "knows; set class_names to imagenet or to a file with the names in words."
        )
    # CLIP's tokenizer drops capitals and wide gaps, so that names apart in these are equal too.
    counts = Counter(" ".join(name.lower().split()) for name in names)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        warnings.warn(
            f"the class name {twice[0]!r} is given {counts[twice[0]]} times"
            f"{f' and {len(twice) - 1} others too' if len(twice) > 1 else ''}: these classes "
            "get one and the same embedding and cannot be distinguished",
            stacklevel=2,
        )
    return names


def format_templates(templates: Sequence[str], name: str) -> list[str]:
    """Templates with `name` in their place; "imagenet" stands for the 80 of open_clip."""
    sentences = []
    for template in templates:
        if template == BUNDLED:
            require("open_clip", "the template imagenet")
            from open_clip import OPENAI_IMAGENET_TEMPLATES

            sentences += [fill(name) for fill in OPENAI_IMAGENET_TEMPLATES]
        else:
            sentences.append(template.replace("{}", name))
    return sentences


def template_head(encoder: TextEncoder, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Unit text embeddings of classes, each the mean over the templates' unit embeddings.

    Args:
        encoder: Text encoder.
        names: C class names.
        templates: Templates as `format_templates` takes them, at least one.

    Returns:
        Embeddings, [C, D] float32, on the encoder's device.

    Raises:
        DataError: If a prompt has no words or is longer than the context.
    """
    sentences = [sentence for name in names for sentence in format_templates(templates, name)]
    rows = normalize(encode_sentences(encoder, sentences), dim=1)
    return normalize(rows.reshape(len(names), -1, rows.shape[1]).mean(dim=1), dim=1)


def encode_sentences(encoder: TextEncoder, sentences: Sequence[str]) -> Tensor:
    """Text features of whole sentences, [n, D] float32, not normalised, on the encoder's device.

    Raises:
        DataError: If a sentence has no words or is longer than the context.
    """
    tower = encoder.tower
    prompts = tokenise(sentences, encoder.vocabulary)
    rows = []
    with torch.no_grad():
        for start in range(0, len(sentences), _PROMPTS):
            ends = prompts.ends[start : start + _PROMPTS].to(tower.device)
            tokens = prompts.tokens[start : start + _PROMPTS, : int(ends.max()) + 1]
            rows.append(tower.encode(tower.embed(tokens.to(tower.device)), ends))
    return torch.cat(rows)


def _listed(setting: str, stored: Sequence[str]) -> list[str]:
    """Names of a file or of open_clip."""
    if setting == BUNDLED:
        require("open_clip", "class_names imagenet")
        from open_clip import IMAGENET_CLASSNAMES

        return list(IMAGENET_CLASSNAMES)
    try:
        # Editors of some systems begin a file with a mark, which is not part of a name.
        lines = locate(setting).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"class_names {setting} cannot be read ({error}); give a text file with one name per "
            "line, or imagenet."
        ) from error
    pairs = [_LISTED.fullmatch(line.strip()) for line in lines]
    if not pairs or None in pairs:
        return lines
    names = {pair[1]: pair[2] for pair in pairs if pair}
    unknown = [name for name in stored if name not in names]
    if unknown:
        raise DataError(
            f"class_names {setting} lists names by WordNet id but none for the class "
            f"{unknown[0]!r}; list the names alone, one per line in label order."
        )
    return [names[name] for name in stored]
