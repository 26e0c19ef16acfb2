"""Settings of a new repository for pictures of one's own: a frozen network and a linear head."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Small, and fast on a CPU; docs/how-to/start-from-pictures.md says what it was seen to reach.
MODEL = "tf_efficientnet_lite0"
METHOD = "hpm"
#: Of the head. Rows of rare classes weigh as they would in balanced test data.
PROBE: Mapping[str, Any] = {
    "standardise": True,
    "tau": 1.0,
    "epochs": 100,
    "learning_rate": 0.01,
    "weight_decay": 0.001,
}


def settings_of(
    pictures: Path, ood: Sequence[str], model: str, weights: Path | None
) -> dict[str, Any]:
    """What params.yaml is to hold besides its defaults, with whole paths.

    Args:
        pictures: Folder of class folders, or a list of pictures.
        ood: OOD sets, each NAME=PATH, a path, or the name of a folder in `pictures`.
        model: A model of timm.
        weights: File of its weights; None asks timm for them.

    Raises:
        DataError: If something that is named does not exist.
    """
    _must_exist("--pictures", pictures)
    if weights is not None:
        _must_exist("--weights", weights)
    own = {"model": model, "pretrained": weights is None}
    return {
        "dataset": "folder",
        "backbone": "timm_model",
        "recipe": "linear_probe",
        "method": METHOD,
        # Extra arrays take several passes, some with gradients: minutes become hours on a CPU.
        "extraction": {"extras": [], "batch_size": 64},
        "training": {} if weights is None else {"weights": str(weights.resolve())},
        "datasets": {
            "folder": {
                "root": str(pictures.resolve()),
                "ood": [_ood_set(given, pictures) for given in ood],
            }
        },
        "backbones": {"timm_model": own},
        "report": {"images": _name_of(pictures.resolve())},
        "recipes": {"linear_probe": dict(PROBE)},
    }


def _name_of(pictures: Path) -> str | None:
    """What the pictures are called: the name of their folder; None where they have none."""
    folder = pictures if pictures.is_dir() else pictures.parent
    return folder.name.strip() or None


def _ood_set(given: str, pictures: Path) -> str:
    """An OOD set as the setting `ood` has it, with a whole path."""
    if (pictures / given).is_dir():
        if re.fullmatch(r"\w+", given):
            return given
        given = str(pictures / given)
    name, is_named, path = given.partition("=")
    if not is_named:
        name, path = re.sub(r"\W+", "_", Path(given).stem).strip("_") or "ood", given
    place, mark, rows = path.partition("#")
    _must_exist("--ood", Path(place))
    return f"{name}={Path(place).resolve()}{mark}{rows}"


def _must_exist(option: str, path: Path) -> None:
    from ltood.core.errors import DataError

    if not path.exists():
        raise DataError(f"{option} is {str(path)!r}, and there is no such file or folder.")
