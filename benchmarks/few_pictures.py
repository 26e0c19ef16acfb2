"""A frozen network and few pictures of each class: which distance knows classes that it never saw?

    python -m benchmarks.few_pictures STORE [STORE ...] --page docs/results/few-pictures.md

Of each feature store some classes are drawn and a few training rows of each; the test rows of all
other classes are the OOD rows. A network that saw the other classes while it was trained is, for
these rows, what a published network is for pictures of one's own. No OOD set is read.
"""

import argparse
from pathlib import Path

import numpy as np

from ltood.core.registry import load
from ltood.metrics.auroc import auroc
from ltood.store.features import FeatureStore

CLASSES, PICTURES, DRAWS, MOST = (5, 10, 30), (5, 10, 16), 6, 1500
#: What is compared: title, method and settings.
METHODS = (
    ("hpm, 0.1", "hpm", {}),
    ("hpm, auto", "hpm", {"ridge": "auto"}),
    ("cosine", "cosine", {}),
    ("class means", "nearest_class_mean", {}),
    ("mahalanobis", "mahalanobis", {}),
)
PAGE = """# Few pictures, a frozen network

AUROC in percent with which methods tell test rows of the drawn classes from those of all other
classes of the same data, mean over {draws} draws of classes and training rows. The ridge of `hpm`
is 0.1, its default, or `auto`: the width D of the features over the N training rows less the C
classes. No OOD set was read: the rule was chosen by these figures.

{table}

`benchmarks/few_pictures.py` writes this page.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    titles = [title for title, _, _ in METHODS]
    lines = [
        f"| features | classes | pictures of each | D / (N - C) | {' | '.join(titles)} |",
        f"|---|{'---:|' * (len(METHODS) + 3)}",
    ]
    for path in given.stores:
        for row in rows_of(FeatureStore.open(path)):
            cells = [f"{value:.1f}" for value in row[2:]]
            lines.append(f"| {path.stem} | {row[0]} | {row[1]} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if given.page:
        given.page.write_text(PAGE.format(draws=DRAWS, table="\n".join(lines)), encoding="utf-8")


def rows_of(store: FeatureStore):
    """Classes, pictures of each, width over rows, and the AUROC of each method in percent."""
    train, test = (store.split(name).load(["features", "labels"]) for name in ("train", "test"))
    every = int(train["labels"].max()) + 1
    for classes in (number for number in CLASSES if number <= every / 2):
        for pictures in PICTURES:
            found = np.array([drawn(train, test, classes, pictures, seed) for seed in range(DRAWS)])
            wide = train["features"].shape[1] / (classes * (pictures - 1))
            yield (classes, pictures, wide, *(100 * found.mean(axis=0)))


def drawn(train, test, classes: int, pictures: int, seed: int) -> list[float]:
    """AUROC of each method for one draw of classes and training rows."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(int(train["labels"].max()) + 1)[:classes]
    rows = np.concatenate(
        [random.permutation(np.flatnonzero(train["labels"] == name))[:pictures] for name in chosen]
    )
    features = np.asarray(train["features"][rows], np.float32)
    labels = np.searchsorted(np.sort(chosen), train["labels"][rows])
    known = np.isin(test["labels"], chosen)
    sides = [np.asarray(test["features"][side][:MOST], np.float32) for side in (known, ~known)]
    values = []
    for _, name, settings in METHODS:
        method = load("methods", name).Entry(**settings).fit(features, labels)
        values.append(auroc(*(method.score(side) for side in sides)))
    return values


if __name__ == "__main__":
    main()
