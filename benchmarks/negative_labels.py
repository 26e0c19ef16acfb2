"""How long it takes to encode negative labels and to score with them, in processor seconds.

    python benchmarks/negative_labels.py [--words 256] [--rows 512] [--rounds 3]

The text tower of ViT-B/16 in its real shape with random weights; words of two to four tokens in
NegLabel's prompts. Scoring compares random features of length 512 with 1,000 classes and 10,499
negative labels. Both are linear in their number, so that a sample is timed and the rest is
extrapolated. One thread; the median of the rounds goes to docs/results/negative-labels.md.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ltood.adapting.texts import TextEncoder, encode_sentences
from ltood.clip.prompts import clip_vocabulary
from ltood.clip.text_tower import TextTower
from ltood.negatives.encoding import sentence_features
from ltood.negatives.settings import RECIPES
from ltood.ops.lengths import unit
from ltood.ops.negatives import grouped, negative_log_odds

RESULT = Path(__file__).parents[1] / "docs" / "results" / "negative-labels.md"
WORDS, LABELS, CLASSES, WIDTH = 70_000, 10_499, 1_000, 512
#: Test images of ImageNet and of the four sets of MOS.
IMAGES = 85_640
STEMS = ("adder", "bell", "campion", "dome", "ember", "fern", "grove", "harbour")


def tower() -> TextTower:
    """Text side of ViT-B/16 with random weights."""
    from open_clip.model import CLIPTextCfg, _build_text_tower

    torch.manual_seed(0)
    model = _build_text_tower(WIDTH, CLIPTextCfg(77, 49408), quick_gelu=True).eval()
    state = {**model.state_dict(), "logit_scale": torch.tensor(4.6)}
    return TextTower.from_state(state)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median processor time of a call."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def main() -> None:
    """Time both, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=256)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoder = TextEncoder(tower(), clip_vocabulary(77), "")
    words = [f"{STEMS[n % 8]} {STEMS[n // 8 % 8]}{n}" for n in range(given.words)]

    def encode(templates: tuple[str, ...]) -> torch.Tensor:
        return sentence_features(partial(encode_sentences, encoder), words, templates)

    rows = []
    for name in ("neglabel", "csp"):
        templates = RECIPES[name].noun_templates
        taken = seconds(partial(encode, templates=templates), given.rounds)
        rate = given.words / taken
        what = f"encode, {name} ({len(templates)} prompts a word)"
        rows.append(f"| {what} | {rate:,.0f} words a second | {WORDS / rate / 60:,.0f} minutes |")
    features, classes = torch.randn(given.rows, WIDTH), unit(torch.randn(CLASSES, WIDTH))
    labels = grouped(unit(torch.randn(LABELS, WIDTH)), 100, 0)
    taken = seconds(lambda: negative_log_odds(features, classes, labels, 0.01), given.rounds)
    rate = given.rows / taken
    minutes = f"{IMAGES / rate / 60:,.1f} minutes for {IMAGES:,} images"
    rows.append(f"| score | {rate:,.0f} images a second | {minutes} |")
    lines = [
        "# Negative labels: time",
        "",
        "Written by `benchmarks/negative_labels.py`: ViT-B/16 in its shape with random weights,",
        f"one thread of {platform.machine()}, processor seconds, median of {given.rounds} rounds",
        f"of {given.words} words and {given.rows} images, extrapolated to {WORDS:,} words.",
        "Nothing was measured on a GPU.",
        "",
        "| step | measured | extrapolated |",
        "|---|---:|---:|",
        *rows,
        "",
    ]
    RESULT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
