"""The published text encoder of the golden files, with its prompts."""

from functools import cache

import numpy as np
import torch

from ltood.adapting.texts import TextEncoder
from ltood.clip.prompts import PromptTokens, Vocabulary
from ltood.clip.text_tower import TextTower
from ltood.store.features import ArraySpec, FeatureStore, FeatureWriter, SplitSpec, StoreSpec
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
    """Words of a toy language: numbers stand for themselves, X and `.` as in the golden file."""
    ids = {"X": 5, ".": 6}
    words = text.replace(".", " .").split()
    return [
        int(word) if word.isdigit() else ids.get(word, 10 + sum(map(ord, word)) % 50)
        for word in words
    ]


def vocabulary(context_length=CONTEXT):
    return Vocabulary(encode_words, 62, 63, context_length)


WEIGHTS = "5e" * 32


def encoder():
    return TextEncoder(tower(), vocabulary(), WEIGHTS)


def golden_names(g):
    """Names of which the toy language makes the golden tokens."""
    rows = zip(g["prompt/tokens"].tolist(), g["prompt/name_lens"].tolist(), strict=True)
    return [" ".join(map(str, tokens[5 : 5 + length])) for tokens, length in rows]


def write_store(path, splits, names, *, weights=WEIGHTS):
    """A finished feature store of some splits: labels, features, and local ones where given."""
    written, specs = {}, {}
    for name, (labels, features, local) in splits.items():
        arrays = {
            "features": features.astype(np.float32),
            "labels": np.asarray(labels, dtype=np.int64),
            "ids": np.arange(len(labels), dtype=np.int64) + 100,
            "logits": np.zeros((len(labels), len(names)), np.float32),
        }
        if name == "train_views":
            del arrays["logits"]
        if local is not None:
            arrays["local"] = local.astype(np.float32)
        written[name] = arrays
        kinds = {key: ArraySpec(str(rows.dtype), rows.shape[1:]) for key, rows in arrays.items()}
        specs[name] = SplitSpec(len(labels), kinds)
    spec = StoreSpec(specs, 4)
    dim = next(iter(written.values()))["features"].shape[-1]
    head = {"weight": np.ones((len(names), dim), np.float32), "bias": np.zeros(len(names), "f4")}
    provenance = {"source": "test", "checkpoint": {"weights_sha256": weights}}
    writer = FeatureWriter.create(path, spec, provenance, head, names, [1] * len(names))
    for name, arrays in written.items():
        for start, stop in writer.missing(name):
            writer.write(name, start, {key: rows[start:stop] for key, rows in arrays.items()})
    writer.finish()
    return FeatureStore.open(path)


def random_splits(rng, num_classes, rows=24, dim=32, patches=5):
    """Train and test rows without views."""

    def rows_of(num):
        features, local = rng.normal(size=(num, dim)), rng.normal(size=(num, patches, dim))
        return np.arange(num) % num_classes, features, local

    return {"train": rows_of(rows), "test": rows_of(9)}
