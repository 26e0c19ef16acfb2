"""Training from start to end, resumable to the bit.

A run that is killed at any moment and started again ends with the same bytes as an unbroken
one on the same kind of device. The last epoch is kept, or with `training.early_stopping` the best
on the validation split; test and OOD splits are never looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.core.settings import to_section
from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.networks.checkpoint_files import read_meta
from ltood.networks.training_state import HistoryRow, history_csv, load_state
from ltood.recipes import Recipe, TrainingRecipe, build_recipe
from ltood.runtime.console import log
from ltood.runtime.devices import Precision, choose_device, deterministic, resolve_precision
from ltood.runtime.distributed import Ranks
from ltood.runtime.provenance import code_digest, digest, library_versions
from ltood.training import work
from ltood.training.counted import derive_seed
from ltood.training.initial_weights import GivenWeights, build, inputs_of_given
from ltood.training.loop import Run
from ltood.training.outlier_counts import count_outliers
from ltood.training.plan import Plan
from ltood.training.stopping import require_validation

#: Settings that decide when work is saved, not what comes out; precision stands for amp, and
#: the digest of the weights for their path.
_NOT_SETTINGS = ("amp", "checkpoint_epochs", "checkpoint_minutes", "live", "weights")


def train(
    plan: Plan,
    data: ImageData,
    out: Path,
    device_name: str = "auto",
    *,
    state_folder: Path,
    weights_sha256: str | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Train to the end, continuing where a killed run of the same plan stopped.

    A recipe that trains no backbone gives a checkpoint of the weights as they are.

    Args:
        plan: What to train.
        data: Gives train, optionally val, and aux if the recipe uses outliers.
        out: Folder of the checkpoint, which appears whole at the end. A finished one of the same
            inputs is left as it is; one of other inputs is removed before training starts.
        device_name: As `runtime.devices.choose_device` takes it.
        state_folder: Where an unfinished run keeps its state, and a finished one a second name of
            its files, as `ltood/training/work.py` says.
        weights_sha256: Digest of the weights that `plan` names, as `weights_digest` gives it;
            taken of the file if not given. With it a finished checkpoint is found without them.
        ranks: This process among those that train together; alone if not given.

    Returns:
        The description in checkpoint.json.

    Raises:
        ConfigError: If a setting or the device is wrong, another rank has the same GPU, there are
            no weights to take, or they lie in a folder that training writes.
        DataError: If the weights to start from cannot be read or do not fit.
        MissingNeedError: If the recipe needs outliers and there is no split aux.
        TrainingError: If a loss term or a weight is not finite.
        StoreError: If `out` holds something else, or cannot be written.
    """
    ranks = ranks or Ranks()
    given = GivenWeights.of(plan.training.weights, weights_sha256, avoid=(out, state_folder))
    device = choose_device(ranks.device_name(device_name))
    ranks.check_gpu(device)
    with deterministic(device, enabled=plan.training.deterministic):
        torch.manual_seed(derive_seed(plan.seed, "init"))
        prior = ClassPrior(data.class_counts, data.class_names)
        recipe = build_recipe(plan.recipe, plan.recipe_settings, prior)
        if not isinstance(recipe, TrainingRecipe):
            # Weights that are taken do not depend on the seed, and neither does a head beside them.
            torch.manual_seed(derive_seed(0, "init"))
        if _wants_aux(recipe) and "aux" not in data.splits():
            raise MissingNeedError(
                f"recipe {plan.recipe} needs auxiliary outliers (split aux), which the prepared "
                "data do not hold; add them or choose another recipe (`ltood list`)."
            )
        if isinstance(recipe, TrainingRecipe):
            require_validation(plan.training, data.splits())
        precision = resolve_precision(plan.training.amp, device)
        inputs = _inputs(plan, data, recipe, precision, given)
        if plan.training.amp == "auto":
            own = inputs
            inputs = ranks.on_rank_zero(lambda: _as_begun(out, state_folder, own))
            precision = inputs.get("precision", precision)
        found = ranks.on_rank_zero(lambda: work.take_finished(out, state_folder, inputs))
        if found is not None:
            return found
        state = ranks.on_rank_zero(lambda: _state(out, state_folder, inputs))
        backbone, extras = build(plan, recipe, data, given)
        ranks.on_rank_zero(lambda: work.clear(out, state_folder, state=not state))
        if not isinstance(recipe, TrainingRecipe):
            extras = {**extras, **_counted(recipe)}
            return ranks.on_rank_zero(
                lambda: _finish(backbone, extras, [], inputs, state_folder, out)
            )
        recipe.attach(backbone)
        recipe.start_from(extras)
        run = Run(plan, data, backbone, recipe, device, precision, ranks)
        try:
            run.restore(state)
            if not state:
                count_outliers(run)
            run.run(state_folder, inputs)
        finally:
            run.close()
        run.end()
        recipe.finish()
        extras = {**recipe.head_extras(), **_counted(recipe)}
        history, kept = run.progress.history, run.kept
        return ranks.on_rank_zero(
            lambda: _finish(backbone, extras, history, inputs, state_folder, out, kept)
        )


def _inputs(
    plan: Plan, data: ImageData, recipe: Recipe, precision: Precision, given: GivenWeights | None
) -> dict[str, Any]:
    """Everything that decides the weights, as plain values; neither names nor places of data."""
    trains = isinstance(recipe, TrainingRecipe)
    # Without training the pixel statistics of train, which weights may not bring along.
    used = ("train", *(("val",) if trains else ()), *(("aux",) if _wants_aux(recipe) else ()))
    splits = data.manifest["splits"]
    common = {
        "backbone": {"name": plan.backbone, "settings": dict(plan.backbone_settings)},
        "data": {name: splits[name]["content"] for name in used if name in splits},
        "class_names": list(data.class_names),
        "class_counts": data.class_counts.tolist(),
        **({} if given is None else {"weights": {"sha256": given.sha256}}),
    }
    backbone = f"ltood.backbones.{plan.backbone}"
    if not trains:
        code = {"code_sha256": code_digest("ltood.training.initial_weights", backbone)}
        return {**common, **inputs_of_given(recipe), **code}
    settings = to_section(plan.training)
    return {
        **common,
        "recipe": {"name": plan.recipe, "settings": dict(plan.recipe_settings)},
        "training": {key: settings[key] for key in settings if key not in _NOT_SETTINGS},
        "precision": precision,
        "seed": plan.seed,
        "code_sha256": code_digest(
            "ltood.training.train", backbone, f"ltood.recipes.{plan.recipe}"
        ),
    }


def _stops_early(inputs: Mapping[str, Any]) -> bool:
    """Whether the best epoch is kept and not the last."""
    return inputs["training"].get("early_stopping") is not None


def _wants_aux(recipe: Recipe) -> bool:
    """Whether training sees auxiliary outliers."""
    return isinstance(recipe, TrainingRecipe) and recipe.aux_per_image > 0


def _counted(recipe: Recipe) -> dict[str, NDArray[np.float32]]:
    """The number of classes of outliers as an array of the head, where there are any."""
    num = recipe.num_outlier_classes
    return {"outlier_classes": np.array(num, dtype=np.float32)} if num else {}


def _as_begun(out: Path, folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with the precision of the work that is there, where `auto` now means another.

    What a GPU has trained in bfloat16 is not trained anew on a machine that has none.
    """
    if "precision" not in inputs:
        return inputs
    own = inputs["precision"]
    state = load_state(folder / work.STATE) or {}
    for precision in dict.fromkeys((own, "bfloat16", "float32")):
        tried = {**inputs, "precision": precision}
        if state.get("inputs") == tried or work.is_finished(out, folder, tried):
            if precision != own:
                log(
                    f"training.amp is auto, which here means {own}, but the weights that are there "
                    f"were trained in {precision}; they are kept, and training goes on in it. Set "
                    "amp to off or bf16 to start over."
                )
            return tried
    return inputs


def _state(out: Path, folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """State to continue from; empty for a fresh start, whose reason is logged."""
    state = load_state(folder / work.STATE) or {}
    if state.get("inputs") == inputs:
        return state
    work.say_why(out, folder, state, inputs)
    return {}


def _finish(
    backbone: Backbone,
    extras: Mapping[str, NDArray[np.float32]],
    history: list[HistoryRow],
    inputs: Mapping[str, Any],
    folder: Path,
    out: Path,
    kept: HistoryRow | None = None,
) -> dict[str, Any]:
    """Write the checkpoint and drop the state; without a kept epoch nothing was trained."""
    content = {
        **inputs,
        "fingerprint": digest(inputs),
        "libraries": library_versions(),
        "val_accuracy": kept["val_accuracy"] if kept else None,
        **({"kept_epoch": kept["epoch"]} if kept and _stops_early(inputs) else {}),
    }
    with work.publishing(out, folder) as building:
        write_checkpoint(building, backbone, content, extras, history_csv(history))
    return read_meta(out)
