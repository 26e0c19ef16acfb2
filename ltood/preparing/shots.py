"""A list of few training images of each class, for a dataset and for the recipes that read it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ltood.core.errors import DataError
from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.datasets import ImageFolderConfig
from ltood.images.fewshot import split_table
from ltood.images.files import ImageFiles


def list_shots(
    dataset: str, settings: Mapping[str, Any], shots: Sequence[int], seeds: Sequence[int]
) -> tuple[str, int]:
    """Draw training images from all that a dataset has, whatever its settings cut.

    Args:
        dataset: Name of a dataset of image files.
        settings: Its section.
        shots: Numbers of images of each class.
        seeds: Seeds of the selections.

    Returns:
        All selections as comma-separated text, and the number of classes.

    Raises:
        ConfigError: On an unknown name, a bad setting or number.
        DataError: If the dataset is not one of image files, or its files are missing.
    """
    module = load("datasets", dataset)
    config = parse(settings, module.Config, f"datasets.{dataset}")
    if not isinstance(config, ImageFolderConfig):
        raise DataError(
            f"dataset {dataset} is not one of image files; its shots need no list, set "
            "recipes.locoop.shots, by which they are drawn."
        )
    whole = dataclasses.replace(
        config, size=None, imbalance="none", shots=None, shots_list=None, ood=(), aux=None
    )
    source = module.Dataset(whole)
    files, names = source.split("train"), source.class_names
    assert isinstance(files, ImageFiles)
    table = split_table(files.labels, files.paths, names, files.ids, shots=shots, seeds=seeds)
    return table, len(names)
