"""What a stage depends on besides its own settings: files that settings name, and wishes of others.

Files count by digest: the data set, weights, and what recipes read. Extraction computes the extra
arrays that methods read.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.core.registry import flag
from ltood.pipeline._code import wanted_extras
from ltood.pipeline._params import Params
from ltood.runtime.workspace import locate

#: Digests by path and time; shared with experiments that DVC runs in folders of their own.
HASHES = Path("data/work/hashes.sqlite")
#: Class names that open_clip brings along, in the place of a file.
_BUNDLED = "imagenet"


def data(params: Params) -> dict[str, Any]:
    """Inputs of the stage prepare.

    Raises:
        DataError: If a file is missing or unusable.
        ConfigError: If a setting is wrong.
    """
    from ltood.preparing.watch import manifest

    chosen = params.chosen("dataset")
    dataset = chosen.module.Dataset(chosen.config)
    found = manifest(dataset, chosen.name, chosen.settings, _hashes())
    # Images above the limit may be skipped.
    return {**found, "max_pixels": os.environ.get("LTOOD_MAX_PIXELS")}


def weights(params: Params) -> dict[str, Any]:
    """Inputs of the stage train besides the data: weights, and files of the backbone.

    Raises:
        DataError: If a file is missing or unusable.
        ConfigError: If a setting is wrong.
    """
    from ltood.training.plan import TrainingConfig

    source = params.section("training", TrainingConfig).weights
    backbone = params.name("backbone")
    model = params.section_of("backbones", backbone).get("model")
    return {
        "weights": None if source is None else _weights("training.weights", source),
        "model": _file(f"backbones.{backbone}.model", model)
        if isinstance(model, str) and model.endswith(".json")
        else None,
    }


def texts(params: Params) -> dict[str, Any]:
    """Files that the stage adapt reads: those of the recipe, and the words of negative labels.

    Raises:
        DataError: If a file is missing or unusable.
        ConfigError: If a setting is wrong, or there are words but no head from text.
    """
    recipe = params.name("recipe")
    section = params.section_of("recipes", recipe)
    given = {key: section.get(key) for key in ("class_names", "rows")}
    found = {
        key: _file(f"recipes.{recipe}.{key}", path)
        if isinstance(path, str) and path != _BUNDLED
        else None
        for key, path in given.items()
    }
    from ltood.negatives.settings import NegativesConfig

    words = params.section("negatives", NegativesConfig).words
    if words is None:
        return found
    if not flag("recipes", recipe, "ADAPTS_HEAD"):
        raise ConfigError(
            f"negatives.words is {words!r}, but the recipe {recipe} makes no head from text, which "
            "negative labels belong to; set it to null or the recipe to one that does, such as "
            "zero_shot, coop, locoop, sct or fa."
        )
    return {**found, "words": _file("negatives.words", words)}


def extras(params: Params) -> dict[str, list[str]]:
    """Inputs of the stage extract besides images and network: groups of extra arrays.

    Raises:
        ConfigError: If a setting is wrong.
        UnknownNameError: If there is no method of a name.
    """
    return {"groups": wanted_extras(params)}


#: By stage, the file below data/work/inputs, what it describes, and what gives its content.
WATCHED: Mapping[str, tuple[str, str, Callable[[Params], dict[str, Any]]]] = {
    "prepare": ("data", "the data", data),
    "train": ("weights", "a file of weights", weights),
    "extract": ("extras", "the extra arrays that methods read", extras),
    "adapt": ("texts", "a file of class names, rows or words", texts),
}


def _hashes() -> Path:
    return locate(HASHES)


def _file(setting: str, path: str) -> str:
    from ltood.runtime.file_hashes import FileHashes

    found = locate(path)
    if not found.is_file():
        raise DataError(
            f"{setting} is {path!r}, and there is no such file; put it there or correct the "
            "setting."
        )
    return FileHashes(_hashes()).digest(found)


def _weights(setting: str, path: str) -> str:
    """Digest of a file of weights, or the one that follows from what a checkpoint records."""
    from ltood.networks.checkpoint_files import META, recorded_weights_digest

    found = locate(path)
    if not (found / META).is_file():
        return _file(setting, path)
    try:
        return recorded_weights_digest(found)
    except StoreError as error:
        raise DataError(
            f"{setting} is {path!r}, whose {META} is damaged or of another version; name another "
            "folder or file."
        ) from error
