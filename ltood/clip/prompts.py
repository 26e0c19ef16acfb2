"""Prompts of class names: words to token ids, and context vectors among their embeddings.

Source: Zhou, Yang, Loy and Liu, "Learning to Prompt for Vision-Language Models", IJCV 2022
(arXiv:2109.01134), and the official code of CoOp and LoCoOp for the three places of a name.

A name's length is that of the name alone. Where its last character and the full stop become one
token inside the prompt (a closing bracket does so), the full stop therefore travels apart from
the name at the places middle and front, as in the official code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ltood.clip.text_tower import Group, TextTower
from ltood.core.errors import ConfigError, DataError
from ltood.runtime.extras import require

Position = Literal["end", "middle", "front"]
TextMode = Literal["prefix", "cut", "full"]


@dataclass(frozen=True)
class Vocabulary:
    """Conversion of text to token ids.

    Attributes:
        encode: Ids of a text, without start and end.
        start: Id that begins a prompt.
        end: Id that ends one.
        context_length: Positions T of a prompt.
    """

    encode: Callable[[str], list[int]]
    start: int
    end: int
    context_length: int


@dataclass(frozen=True)
class PromptTokens:
    """Prompts as token ids, padded with 0.

    Attributes:
        tokens: Ids, [C, T] int64.
        ends: Position of the end token, [C] int64.
        name_lengths: Tokens of each class name alone, [C] int64.
        num_context: Positions after the start that context vectors take, n.
    """

    tokens: Tensor
    ends: Tensor
    name_lengths: Tensor
    num_context: int


def clip_vocabulary(context_length: int) -> Vocabulary:
    """The vocabulary of CLIP, as open_clip ships it.

    Raises:
        MissingPackageError: If open_clip is not installed.
    """
    require("open_clip", "the vocabulary of CLIP")
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=context_length)
    return Vocabulary(
        tokenizer.encode, tokenizer.sot_token_id, tokenizer.eot_token_id, context_length
    )


def tokenise(texts: Sequence[str], vocabulary: Vocabulary) -> PromptTokens:
    """Token ids of whole prompts.

    Raises:
        DataError: If a prompt has no words or is longer than the context.
    """
    tokens = torch.zeros(len(texts), vocabulary.context_length, dtype=torch.int64)
    ends = []
    for row, text in enumerate(texts):
        ids = vocabulary.encode(text)
        if not ids:
            raise DataError(
                f"prompt {row} is {text!r}, which has no words; give every class a name and "
                "every template some text."
            )
        if len(ids) + 2 > vocabulary.context_length:
            raise DataError(
                f"the prompt {_short(text)!r} has {len(ids)} tokens; with start and end at most "
                f"{vocabulary.context_length} fit; use a shorter context or name."
            )
        whole = torch.tensor([vocabulary.start, *ids, vocabulary.end])
        tokens[row, : len(whole)] = whole
        ends.append(len(ids) + 1)
    zeros = torch.zeros(len(texts), dtype=torch.int64)
    return PromptTokens(tokens, torch.tensor(ends), zeros, 0)


def learned_prompts(names: Sequence[str], num_context: int, vocabulary: Vocabulary) -> PromptTokens:
    """Token ids of `X X X X name.`; context vectors take the place of the `num_context` X.

    Underscores in names become spaces.

    Raises:
        ConfigError: If `num_context` is below 1.
        DataError: If a name is empty or a prompt is longer than the context.
    """
    if num_context < 1:
        raise ConfigError(
            f"there are {num_context} context vectors; at least 1 can be learned, so set n_ctx "
            "to 1 or more (the paper uses 16)."
        )
    spoken = [name.replace("_", " ").strip() for name in names]
    lengths = [len(vocabulary.encode(name)) for name in spoken]
    if 0 in lengths:
        label = lengths.index(0)
        raise DataError(
            f"class {label} has the name {names[label]!r}, which has no words; give every class a "
            "name."
        )
    filler = " ".join(["X"] * num_context)
    texts = [f"{filler} {name}." for name in spoken]
    sizes = [len(vocabulary.encode(text)) + 2 for text in texts]
    excess = max(sizes) - vocabulary.context_length
    if excess > 0:
        label = sizes.index(max(sizes))
        fits = num_context - excess
        remedy = f"set n_ctx to {fits} or less, or " if fits > 0 else ""
        raise DataError(
            f"the prompt of class {label} ({_short(names[label])!r}) takes {max(sizes)} positions "
            f"with {num_context} context vectors, but the text encoder has "
            f"{vocabulary.context_length}; {remedy}give it a shorter name."
        )
    whole = tokenise(texts, vocabulary)
    return PromptTokens(whole.tokens, whole.ends, torch.tensor(lengths), num_context)


class PromptBatch:
    """All prompts of one setting, ready to be filled with context vectors and encoded."""

    def __init__(
        self,
        prompts: PromptTokens,
        position: Position,
        tower: TextTower,
        mode: TextMode = "prefix",
    ) -> None:
        """Look up the embeddings once.

        Args:
            prompts: Prompts with room for context vectors.
            position: Where the class name stands among them.
            tower: Encoder, on the device of the work.
            mode: "full" encodes all T positions; "cut" leaves out what follows the last end;
                "prefix" computes what all prompts begin with once. They agree to rounding.
        """
        self._tower, self._mode = tower, mode
        self._num = prompts.num_context
        self._before = _before_name(prompts.num_context, position)
        length = tower.context_length if mode == "full" else int(prompts.ends.max()) + 1
        order = _order(prompts, self._before)[:, :length]
        self._embedded = tower.embed(prompts.tokens.gather(1, order).to(tower.device))
        self._ends = prompts.ends.to(tower.device)
        #: Number of the context vector at each position, -1 where there is none.
        slots = torch.where((order > 0) & (order <= self._num), order - 1, -1)
        self._slots = slots.to(tower.device)
        # Asked here once, not of the device in every step: the positions are the same in all rows
        # up to the name, and behind it those of the longest prompts reach furthest.
        self._learned = (slots >= 0).any(dim=0).tolist()
        #: Length and rows of the prompts that are equally long.
        self._groups = [
            (int(end) + 1, (prompts.ends == end).nonzero().flatten().to(tower.device))
            for end in torch.unique(prompts.ends)
        ]

    def arrange(self, context: Tensor) -> Tensor:
        """Embeddings of whole prompts up to the last position that the mode needs.

        Args:
            context: Context vectors, [n, W] for all classes or [C, n, W].

        Returns:
            Embeddings, [C, L, W].
        """
        return self._filled(context, slice(None), slice(None))

    def encode(self, context: Tensor) -> Tensor:
        """Text features, not normalised.

        Args:
            context: Context vectors, [n, W] for all classes or [C, n, W].

        Returns:
            Features, [C, D].
        """
        if self._mode != "prefix":
            return self._tower.encode(self.arrange(context), self._ends)
        shared = 1 + (self._before if context.ndim == 2 else 0)
        prefix = self._filled(context, slice(1), slice(shared))[0]
        groups = [
            Group(rows, self._filled(context, rows, slice(shared, length)))
            for length, rows in self._groups
        ]
        return self._tower.encode_after(prefix, groups)

    def _filled(self, context: Tensor, rows: Tensor | slice, columns: slice) -> Tensor:
        """Embeddings of some prompts at some positions."""
        embedded, slots = self._embedded[rows, columns], self._slots[rows, columns]
        if not any(
            self._learned[columns]
        ):  # Nothing to learn from here, so nothing to keep for it.
            return embedded
        if context.ndim == 2:
            own = context[slots.clamp(min=0)]
        else:
            own = context[rows].gather(
                1, slots.clamp(min=0)[:, :, None].expand(-1, -1, context.shape[2])
            )
        return torch.where(slots[:, :, None] >= 0, own, embedded)


def _before_name(num_context: int, position: Position) -> int:
    """Context vectors that stand before the class name."""
    return {"end": num_context, "middle": num_context // 2, "front": 0}[position]


def _order(prompts: PromptTokens, before: int) -> Tensor:
    """Which position of `start, context, name, rest` stands at each position, [C, T]."""
    num, length = prompts.num_context, prompts.tokens.shape[1]
    plain = list(range(length))
    first, second = 1 + before, 1 + num
    rows = []
    for name in prompts.name_lengths.tolist():
        after = second + name
        rows.append(plain[:first] + plain[second:after] + plain[first:second] + plain[after:])
    return torch.tensor(rows)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
