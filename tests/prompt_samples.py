"""The published text encoder of the golden files, with its prompts."""

from functools import cache

import torch

from ltood.core.text_tower import TextTower
from ltood.ops.prompts import PromptTokens, Vocabulary
from tests.conftest import load_golden

CONTEXT = 16


def golden():
    return load_golden("prompts")


@cache
def state():
    return {name: torch.tensor(value) for name, value in load_golden("text_tower").items()}


def tower():
    return TextTower.from_state(state())


def prompts(g):
    ends = torch.tensor(g["prompt/eot_index"])
    lengths = torch.tensor(g["prompt/name_lens"])
    return PromptTokens(torch.tensor(g["prompt/tokens"]), ends, lengths, 4)


def encode_words(text):
    """Words of a toy language: `X` and the full stop are as in the golden file."""
    ids = {"X": 5, ".": 6}
    words = text.replace(".", " .").split()
    return [ids.get(word, 10 + sum(map(ord, word)) % 50) for word in words]


def vocabulary(context_length=CONTEXT):
    return Vocabulary(encode_words, 62, 63, context_length)
