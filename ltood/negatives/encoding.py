"""Text features of many words, computed once and kept in blocks, so that a killed run continues.

FOLDER/<fingerprint>/00000.npy, 00001.npy, ...    features of 2,048 words each
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import StoreError
from ltood.negatives.lists import Kind
from ltood.negatives.settings import Rules
from ltood.ops.lengths import unit
from ltood.runtime.console import progress
from ltood.runtime.files import write_atomically
from ltood.runtime.numpy_files import UNREADABLE
from ltood.runtime.provenance import digest

#: Words of a block.
BLOCK = 2048
#: Sentences to text features, [n, D], not normalised.
Encode = Callable[[Sequence[str]], Tensor]


def sentence_features(encode: Encode, words: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Unit text features of words, each the mean over the templates, [w, D] float32.

    The mean is taken of features as they are, as in CSP, and normalised.

    Args:
        encode: Text encoder.
        words: Words.
        templates: Sentences with a place `{}` for a word.
    """
    sentences = [template.replace("{}", word) for word in words for template in templates]
    encoded = encode(sentences).reshape(len(words), len(templates), -1)
    return unit(encoded.float().mean(dim=1))


class EncodedWords:
    """Text features of a list of words, on disk."""

    def __init__(
        self,
        words: Sequence[tuple[str, Kind]],
        rules: Rules,
        folder: Path,
        depends_on: object,
    ) -> None:
        """Name the features; nothing is computed.

        Args:
            words: Text and kind of each.
            rules: Templates.
            folder: Where blocks are kept.
            depends_on: Plain values that decide the features besides: text encoder and code.
        """
        self._words = list(words)
        self._templates = {"noun": rules.noun_templates, "adjective": rules.adjective_templates}
        told: dict[str, Any] = {
            "words": hashlib.sha256(repr(self._words).encode()).hexdigest(),
            "templates": {kind: list(given) for kind, given in self._templates.items()},
            "depends_on": depends_on,
        }
        self.folder = folder / digest(told)[:16]

    def encode(self, encode: Encode) -> None:
        """Compute the blocks that are missing.

        Raises:
            StoreError: If one cannot be written.
        """
        missing = [number for number in range(self._num_blocks) if not self._path(number).is_file()]
        if not missing:
            return
        with progress("encode words", len(missing) * BLOCK, unit="words") as advance:
            for number in missing:
                raw = io.BytesIO()
                np.save(raw, self._features(encode, number), allow_pickle=False)
                write_atomically(self._path(number), raw.getbuffer())
                advance(BLOCK)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Unit features of all words in order, [w, D].

        Raises:
            StoreError: If a block is missing or damaged.
        """
        for number in range(self._num_blocks):
            path, words = self._path(number), len(self._block(number))
            try:
                found: NDArray[np.float32] = np.load(path, allow_pickle=False)
            except UNREADABLE as error:
                raise StoreError(f"{path} cannot be read ({error}); remove its folder.") from error
            if found.ndim != 2 or len(found) != words or found.dtype != np.float32:
                raise StoreError(
                    f"{path} holds {found.dtype} of shape {found.shape} and not float32 of {words} "
                    "rows; remove its folder."
                )
            yield found

    def rows(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit features of some words, in their order, [M, D]."""
        parts: dict[int, NDArray[np.float32]] = {}
        for number, block in enumerate(self.blocks()):
            for row in chosen[(chosen // BLOCK) == number].tolist():
                parts[row] = block[row % BLOCK].copy()
        return np.stack([parts[row] for row in chosen.tolist()])

    @property
    def _num_blocks(self) -> int:
        return -(-len(self._words) // BLOCK)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"

    def _block(self, number: int) -> list[tuple[str, Kind]]:
        return self._words[number * BLOCK : (number + 1) * BLOCK]

    def _features(self, encode: Encode, number: int) -> NDArray[np.float32]:
        """Features of one block, kind by kind."""
        block = self._block(number)
        found: dict[int, Tensor] = {}
        for kind, templates in self._templates.items():
            rows = [row for row, (_, own) in enumerate(block) if own == kind]
            if rows:
                texts = [block[row][0] for row in rows]
                features = sentence_features(encode, texts, templates)
                found |= dict(zip(rows, features, strict=True))
        return torch.stack([found[row] for row in range(len(block))]).cpu().numpy()
