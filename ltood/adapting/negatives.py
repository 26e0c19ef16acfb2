"""Negative labels of an adapted head: words of a list, encoded once, the farthest kept.

The head stays what it is, so that learned prompts are not learned again for other words, and the
text features of words are kept apart, so that another head or another share encodes none again.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.adapting.texts import TextEncoder, encode_sentences
from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.negatives import NegativesConfig, Rules, WordList, read_list
from ltood.negatives.encoding import EncodedWords, sentence_features
from ltood.negatives.lists import Kind
from ltood.negatives.selection import Closeness, by_images, by_names, select
from ltood.runtime.console import log
from ltood.runtime.devices import choose_device, deterministic
from ltood.runtime.provenance import code_digest
from ltood.store.adapted import HISTORY, ROWS, AdaptedHead, read_adapted, write_adapted
from ltood.store.features import FeatureStore

#: Folder below the state of the stage that keeps text features of words.
WORDS = "words"
#: Rows of training features that are read at once.
_ROWS = 4096


def set_negatives(
    store: FeatureStore,
    config: NegativesConfig,
    encoder: TextEncoder | None,
    out: Path,
    *,
    state_folder: Path,
    device_name: str = "auto",
) -> AdaptedHead:
    """Give the head in `out` the negative labels of the settings, or none.

    Args:
        store: Features that the head belongs to; InterNeg's choice reads its training rows.
        config: Which words, prompts and choice; without words the head has no negative labels.
        encoder: Text side of the CLIP model of the features; None where no head comes from text.
        out: Folder of an adapted head, written anew where its negative labels are others.
        state_folder: Keeps the text features of words.
        device_name: As `runtime.devices.choose_device` takes it.

    Returns:
        The head.

    Raises:
        ConfigError: If there is no adapted head, or a setting does not fit the list.
        DataError: If the list or a prompt is wrong, or no word is left.
        MissingNeedError: If training features are missing that the choice reads.
        StoreError: If the encoder is another one, or something cannot be read or written.
    """
    head = read_adapted(out)
    if head is not None and config.words is None:
        return head if head.bare is head else _write(out, head.bare, None)
    if head is None or config.words is None or encoder is None or "names" not in head.inputs:
        raise ConfigError(
            f"{out} holds no head from text, which negative labels belong to; choose the recipe "
            "zero_shot, coop or locoop, or set negatives.words to null."
        )
    if encoder.weights_sha256 != head.weights_sha256:
        raise StoreError(
            f"the head in {out} belongs to weights {head.weights_sha256[:12]}… but the text "
            f"encoder has {encoder.weights_sha256[:12]}…; make the head again."
        )
    listed = read_list(config.words)
    rules = config.rules(listed.recipe)
    images = _class_images(store, len(head.class_names)) if rules.by_images else None
    inputs = _inputs(store, listed, rules, config)
    if head.inputs.get("negatives") == inputs:
        return head
    kept = _kept(listed, () if config.official_class_names else head.inputs["names"])
    device = choose_device(device_name)
    moved = TextEncoder(encoder.tower.to(device), encoder.vocabulary, encoder.weights_sha256)
    with deterministic(device), torch.no_grad():
        pool, closeness = _encoded(listed, head.inputs["names"], rules, moved, state_folder, images)
    kinds = [listed.words[row][1] for row in kept.tolist()]
    candidates = Closeness(closeness.rank[kept], closeness.allowed[kept])
    chosen = kept[select(candidates, kinds, rules)]
    log(f"negative labels: {len(chosen):,} of {len(kept):,} words of {config.words}")
    weight = {"negative_weight": pool.rows(chosen)}
    made = replace(
        head.bare,
        inputs={**head.bare.inputs, "negatives": inputs},
        arrays={**head.bare.arrays, **weight},
    )
    shown = _to_csv([listed.words[row] for row in chosen.tolist()], closeness.rank[chosen])
    return _write(out, made, shown)


def _encoded(
    listed: WordList,
    names: Sequence[str],
    rules: Rules,
    encoder: TextEncoder,
    state_folder: Path,
    images: NDArray[np.float32] | None,
) -> tuple[EncodedWords, Closeness]:
    """Text features of all words, and how close they are to the classes as the recipe has it.

    Words that are class names are among them: the features serve other classes, too.
    """

    def encode(sentences: Sequence[str]) -> Tensor:
        return encode_sentences(encoder, sentences)

    code = code_digest("ltood.negatives.encoding", "ltood.adapting.texts")
    pool = EncodedWords(listed.words, rules, state_folder / WORDS, [encoder.weights_sha256, code])
    pool.encode(encode)
    texts = sentence_features(encode, names, rules.class_templates)
    blocks = (torch.from_numpy(block).to(texts.device) for block in pool.blocks())
    if images is None:
        return pool, by_names(blocks, texts, rules)
    means = torch.from_numpy(images).to(texts.device)
    there = means.square().sum(dim=1) > 0
    return pool, by_images(blocks, texts[there], means[there])


def _inputs(
    store: FeatureStore, listed: WordList, rules: Rules, config: NegativesConfig
) -> dict[str, Any]:
    """Everything that decides the negative labels besides the head's names and weights."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(rules).items()
    }
    inputs: dict[str, Any] = {
        "recipe": listed.recipe,
        "words_sha256": listed.sha256,
        "source": listed.source,
        "rules": plain,
        "official_class_names": config.official_class_names,
        "code_sha256": code_digest("ltood.adapting.negatives"),
    }
    if rules.by_images:
        inputs["images"] = store.split("train").spec.fingerprint
    return inputs


def _kept(listed: WordList, names: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of the words that are not the name of a class.

    A word with the same name would be as close to the images of this class as its own prompt is.
    """
    taken = {_compared(name) for name in names}
    kept = [row for row, (text, _) in enumerate(listed.words) if _compared(text) not in taken]
    if not kept:
        raise DataError(
            "all words of the list are names of classes; give other words, or set "
            "negatives.official_class_names true."
        )
    return np.array(kept, dtype=np.int64)


def _compared(text: str) -> str:
    return " ".join(text.replace("_", " ").lower().split())


def _class_images(store: FeatureStore, num_classes: int) -> NDArray[np.float32]:
    """Unit mean of the unit training features of each class, [C, D]; 0 for one without rows."""
    if "train" not in store.splits:
        raise MissingNeedError(
            f"{store.path} has no split train, whose mean images the recipe interneg compares "
            "words with; build the list with another recipe."
        )
    split = store.split("train")
    total = np.zeros((num_classes, split.dim))
    for batch in split.batches(_ROWS, ("features", "labels")):
        features = batch["features"].astype(np.float64)
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        np.add.at(total, batch["labels"], features / np.maximum(lengths, np.finfo(float).tiny))
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    means: NDArray[np.float32] = (total / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return means


def _to_csv(words: Sequence[tuple[str, Kind]], ranks: NDArray[np.float64]) -> str:
    """The chosen words with what they were ranked by, for people."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["text", "kind", "closeness"])
    for (word, kind), rank in zip(words, ranks.tolist(), strict=True):
        lines.writerow([word, kind, f"{rank:.6f}"])
    return text.getvalue()


def _write(out: Path, head: AdaptedHead, negatives_csv: str | None) -> AdaptedHead:
    """Replace the head in `out`, keeping the list of rows that it was learned from."""
    rows = out / ROWS
    listed = rows.read_text(encoding="utf-8") if rows.is_file() else None
    learned = history.read_text() if (history := out / HISTORY).is_file() else None
    write_adapted(out, head, listed, negatives_csv, learned)
    return head
