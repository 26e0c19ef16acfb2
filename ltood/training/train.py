"""Training from start to end, resumable to the bit.

A run that is killed at any moment and started again ends with the same bytes as an unbroken
one on the same kind of device. The last epoch is kept; the validation split is only looked
at, test and OOD splits never.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import IncompleteStoreError, MissingNeedError, StoreError
from ltood.core.prior import ClassPrior
from ltood.core.settings import to_section
from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone
from ltood.networks.checkpoint import (
    EXTRAS,
    HISTORY,
    META,
    STATE,
    WEIGHTS,
    read_meta,
    write_checkpoint,
)
from ltood.networks.training_state import load_state
from ltood.recipes import Recipe, build_recipe
from ltood.runtime.console import log
from ltood.runtime.devices import Precision, choose_device, deterministic, resolve_precision
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import is_temporary, write_atomically
from ltood.runtime.provenance import code_digest, differences, digest, library_versions
from ltood.training.counted import derive_seed
from ltood.training.given import build, check_source, describe_weights, inputs_of_given
from ltood.training.loop import Run, history_csv
from ltood.training.plan import Plan

#: Settings that decide when work is saved, not what comes out; precision stands for amp, and
#: the digest of the weights for their path.
_NOT_SETTINGS = ("amp", "checkpoint_epochs", "checkpoint_minutes", "weights")


def train(
    plan: Plan,
    data: ImageData,
    out: Path,
    device_name: str = "auto",
    *,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Train to the end, going on where a killed run of the same plan stopped.

    A recipe that trains no backbone gives a checkpoint of the weights as they are.

    Args:
        plan: What to train.
        data: Gives train, optionally val, and aux where the recipe wants outliers.
        out: Folder of the checkpoint. A finished one of the same inputs is left as it is; one
            of other inputs is replaced.
        device_name: As `runtime.devices.choose_device` takes it.
        ranks: This process among those that train together; alone if not given.

    Returns:
        The description in checkpoint.json.

    Raises:
        ConfigError: If a setting or the device is wrong, another rank has the same GPU, there are
            no weights to take, or they lie in `out`.
        DataError: If the weights to start from cannot be read or do not fit.
        MissingNeedError: If the recipe needs outliers and there is no split aux.
        TrainingError: If a loss term or a weight is no finite number.
        StoreError: If `out` holds something else, or cannot be written.
    """
    ranks = ranks or Ranks()
    check_source(plan.training.weights, out)
    device = choose_device(ranks.device_name(device_name))
    ranks.check_gpu(device)
    with deterministic(device, enabled=plan.training.deterministic):
        torch.manual_seed(derive_seed(plan.seed, "init"))
        prior = ClassPrior(data.class_counts)
        recipe = build_recipe(plan.recipe, plan.recipe_settings, prior)
        if recipe.aux_per_image > 0 and "aux" not in data.splits():
            raise MissingNeedError(
                f"recipe {plan.recipe} needs auxiliary outliers (split aux), which the prepared "
                "data do not hold; add them or choose another recipe (`ltood list`)."
            )
        precision = resolve_precision(plan.training.amp, device)
        inputs = _inputs(plan, data, recipe, precision)
        state = ranks.on_rank_zero(lambda: _open(out, inputs))
        if state is None:
            return ranks.on_rank_zero(lambda: read_meta(out))
        backbone, extras = build(plan, recipe, data)
        if not recipe.trains_backbone:
            return ranks.on_rank_zero(lambda: _finish(backbone, extras, None, out, inputs))
        recipe.attach(backbone)
        run = Run(plan, data, backbone, recipe, device, precision, ranks)
        try:
            run.restore(state)
            run.go(out, inputs)
        finally:
            run.close()
        run.averaged.apply()
        extras, history = recipe.head_extras(), run.at.history
        return ranks.on_rank_zero(lambda: _finish(backbone, extras, history, out, inputs))


def _inputs(plan: Plan, data: ImageData, recipe: Recipe, precision: Precision) -> dict[str, Any]:
    """Everything that decides the weights, as plain values."""
    used: tuple[str, ...] = ("train", "val", "aux")[: 3 if recipe.aux_per_image > 0 else 2]
    if not recipe.trains_backbone:
        used = ("train",)  # its pixel statistics, which weights may not bring along
    splits = {name: data.manifest["splits"][name] for name in used if name in data.splits()}
    common = {
        "backbone": {"name": plan.backbone, "settings": dict(plan.backbone_settings)},
        "dataset": {
            "name": data.manifest["dataset"],
            "settings": dict(data.manifest["settings"]),
            "sha256": digest(splits),
        },
        "class_names": list(data.class_names),
        "class_counts": data.class_counts.tolist(),
    }
    backbone = f"ltood.backbones.{plan.backbone}"
    if not recipe.trains_backbone:
        code = {"code_sha256": code_digest("ltood.training.given", backbone)}
        return {**common, **inputs_of_given(plan, recipe), **code}
    settings = to_section(plan.training)
    source = plan.training.weights
    return {
        **common,
        "recipe": {"name": plan.recipe, "settings": dict(plan.recipe_settings)},
        "training": {key: settings[key] for key in settings if key not in _NOT_SETTINGS},
        "precision": precision,
        "seed": plan.seed,
        **({} if source is None else {"weights": describe_weights(source)}),
        "code_sha256": code_digest(
            "ltood.training.train", backbone, f"ltood.recipes.{plan.recipe}"
        ),
    }


def _open(out: Path, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """State to go on from, empty for a fresh start; None where training has finished."""
    found: Mapping[str, Any] | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = read_meta(out)
    except OSError as error:
        raise StoreError(
            f"cannot make {out}: {error.strerror or error}; choose another folder."
        ) from error
    except IncompleteStoreError:
        state = load_state(out / STATE)
        if state is not None and state["inputs"] == inputs:
            return state
        found = None if state is None else state["inputs"]
    except StoreError as error:
        _refuse_strangers(out)
        if (out / META).is_file():
            log(f"{error} Training starts over.")
    if found is not None:
        differing = differences({key: found.get(key, "absent") for key in inputs}, inputs)
        if not differing:
            shutil.rmtree(out / STATE, ignore_errors=True)
            return None
        log(f"training starts over ({'; '.join(differing[:3])}).")
    # The description goes first: without it no half-deleted folder passes for a checkpoint.
    for name in (META, WEIGHTS, EXTRAS, HISTORY):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / STATE, ignore_errors=True)
    return {}


def _refuse_strangers(out: Path) -> None:
    """Refuse a folder that holds something which no training wrote."""
    ours = {META, WEIGHTS, EXTRAS, HISTORY, STATE}
    names = {path.name for path in out.iterdir() if not is_temporary(path.name)}
    strangers = sorted(names - ours)
    if strangers:
        raise StoreError(
            f"{out} holds {strangers[0]!r} and no checkpoint; move it away or choose another "
            "folder."
        )


def _finish(
    backbone: Backbone,
    extras: Mapping[str, NDArray[np.float32]],
    history: list[dict[str, float | None]] | None,
    out: Path,
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the checkpoint and drop the state; without a history nothing was trained."""
    content = {
        **inputs,
        "fingerprint": digest(inputs),
        "libraries": library_versions(),
        "val_accuracy": history[-1]["val_accuracy"] if history else None,
    }
    if history:
        # Written once more: a killed run may have left the rows of a later epoch.
        write_atomically(out / HISTORY, history_csv(history).encode())
    write_checkpoint(out, backbone, content, extras)
    shutil.rmtree(out / STATE, ignore_errors=True)
    return read_meta(out)
