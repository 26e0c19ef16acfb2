"""Few-shot selections that are the same on every machine.

The rows of a class are put in the order of their paths and drawn by a generator of their own,
seeded by (seed, class), so that neither the order of a folder's listing nor another class changes
them. (LoCoOp's code draws from an unsorted listing, so its splits depend on the file system;
Miyai et al., NeurIPS 2023, arXiv:2306.01293.) A smaller number of shots is a subset of a larger
one of the same seed, so one cache of features serves all.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.images.lists import parse_table
from ltood.runtime.console import log

#: Columns of a list of splits.
COLUMNS = ("split", "seed", "shots", "label", "class", "path", "id")


def few_shot_rows(
    labels: NDArray[np.int64], order: Sequence[str], *, shots: int, seed: int
) -> NDArray[np.int64]:
    """Draw `shots` rows of each class, all of a class that has fewer.

    Args:
        labels: Classes of all rows, [N]; rows of -1 are never drawn.
        order: A name for each row, such as its path, by which rows are put in order.
        shots: Rows of each class, 1 or more.
        seed: Chooses the selection.

    Returns:
        Row numbers in the order of their names, class after class, [M] int64.

    Raises:
        ConfigError: If `shots` is below 1 or the seed below 0.
    """
    if shots < 1:
        raise ConfigError(f"shots is {shots}; set it to 1 or more (1, 2, 4, 8 and 16 are usual).")
    if seed < 0:
        raise ConfigError(f"the seed of the shots is {seed}; set it to 0 or more.")
    ranked = np.argsort(np.array(order), kind="stable")
    chosen = []
    for label in range(int(labels.max(initial=-1)) + 1):
        rows = ranked[labels[ranked] == label]
        drawn = np.random.default_rng([seed, label]).permutation(len(rows))[:shots]
        chosen.append(rows[np.sort(drawn)])
    return np.concatenate(chosen).astype(np.int64) if chosen else np.zeros(0, np.int64)


def report_shots(drawn: NDArray[np.int64], shots: int, where: str) -> None:
    """Log how many classes have fewer images than requested.

    Args:
        drawn: Classes of the drawn rows.
        shots: Requested rows of each class.
        where: Name of the draw in messages, such as the section of the settings.
    """
    counts = np.bincount(drawn)
    short = int((counts < shots).sum())
    if short:
        log(
            f"{where}: {short:,} of {len(counts):,} classes have fewer than {shots:,} images; all "
            f"of theirs are taken, {counts.min():,} at least."
        )


def split_table(
    labels: NDArray[np.int64],
    paths: Sequence[str],
    class_names: Sequence[str],
    ids: NDArray[np.int64],
    *,
    shots: Sequence[int],
    seeds: Sequence[int],
) -> str:
    """Selections for all seeds and numbers of shots, as comma-separated text.

    Args:
        labels: Classes of all rows, [N].
        paths: Path of each row, by which rows are put in order.
        class_names: Names of the classes.
        ids: Id of each row, [N], by which a feature store knows it.
        shots: Numbers of rows of each class.
        seeds: Seeds of the selections.

    Raises:
        ConfigError: If a number of shots is below 1 or a seed below 0.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for seed in seeds:
        for number in shots:
            for row in few_shot_rows(labels, paths, shots=number, seed=seed):
                label = int(labels[row])
                what = (label, class_names[label], paths[row], int(ids[row]))
                writer.writerow(("train", seed, number, *what))
    return text.getvalue()


def listed_paths(content: str, where: str, *, shots: int | None, seed: int | None) -> list[str]:
    """Paths of one selection of a table, or of several together, each path once.

    Args:
        content: The table; columns other than path may be missing.
        where: Its name in messages.
        shots: Number of shots to take, where the table has this column; None takes all rows.
        seed: Seed to take, where the table has this column; None takes all.

    Raises:
        DataError: If it is not a table, or there is no column path or no such row.
    """
    _, rows = parse_table(content, where, "correct the file or the setting")
    if not rows or "path" not in rows[0]:
        raise DataError(f"{where} has no column path; its columns are {', '.join(COLUMNS)}.")
    asked = {"seed": seed, "shots": shots}
    wanted = {key: str(value) for key, value in asked.items() if value is not None}
    kept = [
        row["path"]
        for row in rows
        if row.get("split", "train") == "train"
        and all(row[key] == value for key, value in wanted.items() if key in row)
    ]
    if not kept:
        sought = " with " + ", ".join(f"{key} {wanted[key]}" for key in wanted) if wanted else ""
        raise DataError(f"{where} has no row of the split train{sought}; correct the setting.")
    return list(dict.fromkeys(kept))
