"""Settings of a new repository for pictures of one's own: a frozen network and a linear head."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Small, and fast on a CPU; docs/how-to/start-from-pictures.md says what it was seen to reach.
MODEL = "tf_efficientnet_lite0"
METHOD = "hpm"
#: Of the method. With few pictures of each class its covariance is chance.
METHOD_SETTINGS: Mapping[str, Any] = {"ridge": "auto"}
#: Of the head. Rows of rare classes weigh as they would in balanced test data.
PROBE: Mapping[str, Any] = {
    "standardise": True,
    "tau": 1.0,
    "epochs": 100,
    "learning_rate": 0.01,
    "weight_decay": 0.001,
}


def settings_of(
    pictures: Path, ood: Sequence[str], model: str | None, weights: Path | None
) -> dict[str, Any]:
    """What params.yaml is to hold besides its defaults, with whole paths.

    Args:
        pictures: Folder of class folders, or a list of pictures.
        ood: OOD sets, each NAME=PATH, a path, or the name of a folder in `pictures`.
        model: A model of timm; None takes `MODEL`.
        weights: File of its weights; None asks timm for them.

    Raises:
        ConfigError: If timm has no such model, or a name of an OOD set is unusable or comes twice.
        DataError: If something that is named does not exist, or a file of weights is cut off or
            of another kind. Whether it fits the network, the stage train says.
    """
    _must_exist("--pictures", pictures)
    if weights is not None:
        _must_exist("--weights", weights)
        _must_be_weights(weights)
    own = {"model": model or MODEL, "pretrained": weights is None}
    if model is not None:  # Asking timm takes seconds, and it has the other one.
        _must_be_known(own)
    sets = [_ood_set(given, pictures) for given in ood]
    _must_differ([each.partition("=")[0] for each in sets])
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
                "ood": sets,
            }
        },
        "backbones": {"timm_model": own},
        "methods": {METHOD: dict(METHOD_SETTINGS)},
        "report": {"images": _called(pictures.resolve())},
        "recipes": {"linear_probe": dict(PROBE)},
    }


def _called(pictures: Path) -> str | None:
    """What the pictures are called: the name of their folder; None where they have none."""
    folder = pictures if pictures.is_dir() else pictures.parent
    return folder.name.strip() or None


def _ood_set(given: str, pictures: Path) -> str:
    """An OOD set as the setting `ood` has it, with a whole path."""
    from ltood.core.errors import ConfigError
    from ltood.store.layout import OOD_PREFIX, may_name_split

    if (pictures / given).is_dir():
        if may_name_split(f"{OOD_PREFIX}{given}"):
            return given
        given = str(pictures / given)
    name, is_named, path = given.partition("=")
    if not is_named:
        name, path = _name_of(Path(given)), given
    elif not may_name_split(f"{OOD_PREFIX}{name}"):
        raise ConfigError(
            f"--ood names a set {name!r}; take a name of letters, digits, - and _, such as "
            f"{_name_of(Path(name))}, or give the folder alone."
        )
    place, mark, rows = path.partition("#")
    _must_exist("--ood", Path(place))
    return f"{name}={Path(place).resolve()}{mark}{rows}"


def _name_of(path: Path) -> str:
    """Name of an OOD set after its folder or file, in letters that a split name may have."""
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    return re.sub(r"\W+", "_", plain).strip("_") or "ood"


def _must_be_known(own: Mapping[str, Any]) -> None:
    from ltood.backbones.timm_model import Config
    from ltood.core.settings import parse

    parse(own, Config, Config.section).look_up()


def _must_be_weights(path: Path) -> None:
    from ltood.networks.weight_files import read_weights

    read_weights(path)


def _must_differ(names: Sequence[str]) -> None:
    from ltood.core.errors import ConfigError

    twice = [name for row, name in enumerate(names) if name in names[:row]]
    if twice:
        raise ConfigError(f"--ood names {twice[0]!r} twice; give each set its own name.")


def _must_exist(option: str, path: Path) -> None:
    from ltood.core.errors import DataError

    if not path.exists():
        raise DataError(f"{option} is {str(path)!r}, and there is no such file or folder.")
