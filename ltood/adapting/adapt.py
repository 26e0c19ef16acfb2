"""From a feature store to the head that stage two reads, never touching an image."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.adapting.learning import Learner
from ltood.adapting.rows import training_rows
from ltood.adapting.texts import TextEncoder, prompt_names, template_head
from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.networks.training_state import load_state
from ltood.recipes import PromptRecipe, TemplateRecipe, build_recipe
from ltood.runtime.console import log
from ltood.runtime.devices import choose_device, deterministic
from ltood.runtime.kept import FINISHED, link_folder
from ltood.runtime.provenance import code_digest
from ltood.store.adapted import AdaptedHead, read_adapted, weights_digest, write_adapted
from ltood.store.features import FeatureStore

_STATE = "state"


def adapt(
    store: FeatureStore,
    recipe_name: str,
    settings: Mapping[str, Any],
    encoder: TextEncoder,
    out: Path,
    *,
    state_folder: Path,
    seed: int = 0,
    device_name: str = "auto",
) -> AdaptedHead:
    """Make the head of a text recipe, continuing where a killed run of the same inputs stopped.

    Args:
        store: Features of a CLIP model, and the class names.
        recipe_name: A recipe whose head comes from text.
        settings: Its settings.
        encoder: Text side of the same CLIP model.
        out: Folder of the head. One of the same inputs is left as it is, another is replaced.
        state_folder: Where an unfinished run keeps its state, and a finished one a second name of
            its files, as `ltood/runtime/kept.py` says.
        seed: Decides drawn rows, start, order and views of learned prompts.
        device_name: As `runtime.devices.choose_device` takes it.

    Returns:
        The head.

    Raises:
        ConfigError: If a setting or the device is wrong, or the recipe trains a backbone.
        DataError: If names or prompts are wrong, or text and features have different widths.
        MissingNeedError: If the store lacks rows or local features that are learned from.
        StoreError: If the features were made with other weights, or `out` cannot be written.
        TrainingError: If a loss is not finite.
    """
    recipe = build_recipe(recipe_name, settings, store.prior())
    if not isinstance(recipe, TemplateRecipe | PromptRecipe):
        raise ConfigError(
            f"recipe {recipe_name} makes no head from text; there is nothing to adapt, so choose "
            "zero_shot, coop or locoop."
        )
    _check_encoder(store, encoder)
    device = choose_device(device_name)
    names = prompt_names(recipe.class_names, store.class_names)
    inputs: dict[str, Any] = {
        "recipe": {"name": recipe_name, "settings": _plain(settings)},
        "names": names,
        "weights_sha256": encoder.weights_sha256,
        "code_sha256": code_digest("ltood.adapting.adapt", f"ltood.recipes.{recipe_name}"),
    }
    rows = None
    # A template's head depends on no feature and no draw.
    if isinstance(recipe, PromptRecipe):
        rows = training_rows(store, recipe.config, seed, local=recipe.needs_local)
        for key, number in recipe.derived.items():
            log(f"{recipe_name}: {key} in use {number:g} of {len(names)} classes")
        where = f"{rows.split.name} with {rows.num_views} views each"
        log(f"{recipe_name}: learning from {len(rows)} rows of {where}")
        inputs |= {
            "rows": rows.fingerprint,
            "seed": seed,
            "in_use": recipe.derived,
        }
    kept = _kept(out, state_folder, inputs)
    if kept is not None:
        return kept
    moved = TextEncoder(encoder.tower.to(device), encoder.vocabulary, encoder.weights_sha256)
    with deterministic(device):
        if isinstance(recipe, TemplateRecipe):
            arrays = {"weight": template_head(moved, names, recipe.templates).cpu().numpy()}
        else:
            assert rows is not None  # found above for every recipe that learns
            learner = Learner(recipe, names, moved, rows, seed)
            arrays = _learned(learner, inputs, state_folder / _STATE)
    arrays["bias"] = np.zeros(len(names), dtype=np.float32)
    arrays["logit_scale"] = np.array(moved.tower.logit_scale, dtype=np.float32)
    head = AdaptedHead(tuple(store.class_names), encoder.weights_sha256, inputs, arrays)
    listed = rows.to_csv(seed, store.class_names) if rows is not None else None
    write_adapted(state_folder / FINISHED, head, listed)
    link_folder(state_folder / FINISHED, out)
    shutil.rmtree(state_folder / _STATE, ignore_errors=True)
    return head


def _kept(out: Path, state_folder: Path, inputs: Mapping[str, Any]) -> AdaptedHead | None:
    """The head of an earlier run with the same inputs, then at `out`; None if there is none."""
    for folder in (out, state_folder / FINISHED):
        found = _finished(folder, inputs)
        if found is not None:
            if folder != out:
                link_folder(folder, out)
            shutil.rmtree(state_folder / _STATE, ignore_errors=True)
            return found
    return None


def _learned(
    learner: Learner, inputs: Mapping[str, Any], state_folder: Path
) -> dict[str, NDArray[Any]]:
    """What a run of learning leaves, continued where a killed one stopped."""
    state = load_state(state_folder)
    if state is not None and state["inputs"] == inputs:
        learner.restore(state)
    learner.run(state_folder, inputs)
    return learner.arrays()


def _check_encoder(store: FeatureStore, encoder: TextEncoder) -> None:
    """Refuse a text encoder that does not belong to the features."""
    made_with = weights_digest(store)
    if made_with != encoder.weights_sha256:
        raise StoreError(
            f"{store.path} was made with weights {made_with[:12]}… but the text encoder has "
            f"{encoder.weights_sha256[:12]}…; run the extract stage again."
        )
    text = int(encoder.tower.parameters["text_projection"].shape[1])
    split = store.split(store.splits[0])
    image = split.array_spec("features").shape[-1]
    if text != image:
        raise DataError(
            f"features of {store.path} have width {image} but text embeddings have {text}; only "
            "features of a CLIP model and its own text encoder fit together (backbone: clip)."
        )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read back from JSON: lists for tuples."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()
    }


def _finished(out: Path, inputs: Mapping[str, Any]) -> AdaptedHead | None:
    """The head at `out`, if it was made from these inputs."""
    if not out.is_dir():
        return None
    try:
        found = read_adapted(out)
    except StoreError as error:
        log(f"{error} It is made again.")
        return None
    return found if found is not None and found.inputs == inputs else None
