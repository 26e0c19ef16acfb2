"""From a feature store to the head that stage two reads, never touching an image.

The head is made of text, or is a linear layer that is learned from the stored features.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.adapting.learning import Learner
from ltood.adapting.probing import ProbeLearner
from ltood.adapting.rows import TrainingRows, training_rows
from ltood.adapting.steps import StepLearner
from ltood.adapting.texts import TextEncoder, prompt_names, template_head
from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.core.words import counted
from ltood.networks.training_state import HistoryRow, history_csv, load_state
from ltood.recipes import (
    HeadRecipe,
    ProbeRecipe,
    PromptRecipe,
    Recipe,
    TemplateRecipe,
    build_recipe,
)
from ltood.runtime.console import log
from ltood.runtime.devices import choose_device, deterministic
from ltood.runtime.kept import FINISHED, link_folder
from ltood.runtime.provenance import code_digest
from ltood.store.adapted import AdaptedHead, read_adapted, weights_digest, write_adapted
from ltood.store.chunks import checksum, raw_bytes
from ltood.store.features import FeatureStore

_STATE = "state"
#: Arrays of a head that come from the backbone, and stay where the layer is another.
_OF_BACKBONE = ("bn_weight", "bn_bias")


class _Made(NamedTuple):
    """Arrays of a head, and the epochs of its learning; none where nothing was learned."""

    arrays: dict[str, NDArray[Any]]
    history: list[HistoryRow]


@dataclass(frozen=True)
class _Plan:
    """What decides a head, and how it is made.

    Attributes:
        inputs: Plain values that decide its arrays.
        weights_sha256: Digest of the backbone whose features it reads.
        rows: What it is learned from, or None.
        make: Makes the arrays, and what is known of every epoch of learning.
    """

    inputs: dict[str, Any]
    weights_sha256: str
    rows: TrainingRows | None
    make: Callable[[], _Made]


def adapt(
    store: FeatureStore,
    recipe_name: str,
    settings: Mapping[str, Any],
    encoder: TextEncoder | None,
    out: Path,
    *,
    state_folder: Path,
    seed: int = 0,
    device_name: str = "auto",
) -> AdaptedHead:
    """Make the head of a recipe, continuing where a killed run of the same inputs stopped.

    Args:
        store: Features and the class names; for a recipe whose head comes from text, of a CLIP
            model.
        recipe_name: A recipe whose head this stage makes.
        settings: Its settings.
        encoder: Text side of the same CLIP model; None for a recipe without text.
        out: Folder of the head. One of the same inputs is left as it is, another is replaced.
        state_folder: Where an unfinished run keeps its state, and a finished one a second name of
            its files, as `ltood/runtime/kept.py` says.
        seed: Decides drawn rows, start, order and views of what is learned.
        device_name: As `runtime.devices.choose_device` takes it.

    Returns:
        The head.

    Raises:
        ConfigError: If a setting or the device is wrong, or the recipe trains a backbone.
        DataError: If names or prompts are wrong, or text and features have different widths.
        MissingNeedError: If the store lacks rows or local features that are learned from, or an
            encoder for a recipe that needs one is missing.
        StoreError: If the features were made with other weights, or `out` cannot be written.
        TrainingError: If a loss is not finite.
    """
    recipe = build_recipe(recipe_name, settings, store.prior())
    if not isinstance(recipe, HeadRecipe):
        raise ConfigError(
            f"recipe {recipe_name} makes no head from stored features or text; there is nothing "
            "to adapt, so choose zero_shot, coop, locoop, sct, fa or linear_probe."
        )
    device = choose_device(device_name)
    inputs: dict[str, Any] = {
        "recipe": {"name": recipe_name, "settings": _plain(settings)},
        "code_sha256": code_digest("ltood.adapting.adapt", f"ltood.recipes.{recipe_name}"),
    }
    state = state_folder / _STATE
    if isinstance(recipe, ProbeRecipe):
        plan = _from_rows(store, recipe, inputs, seed, state, device)
    else:
        plan = _from_text(store, recipe, _checked(store, encoder), inputs, seed, state, device)
    if plan.rows is not None:
        where = f"{plan.rows.split.name} with {counted(plan.rows.num_views, 'view')} each"
        log(f"{recipe_name}: learning from {counted(len(plan.rows), 'row')} of {where}")
    kept = _kept(out, state_folder, plan.inputs)
    if kept is not None:
        return kept
    with deterministic(device):
        made = plan.make()
    head = AdaptedHead(tuple(store.class_names), plan.weights_sha256, plan.inputs, made.arrays)
    listed = None if plan.rows is None else plan.rows.to_csv(seed, store.class_names)
    write_adapted(
        state_folder / FINISHED, head, listed, history_csv=history_csv(made.history) or None
    )
    link_folder(state_folder / FINISHED, out)
    shutil.rmtree(state, ignore_errors=True)
    return head


def _from_text(
    store: FeatureStore,
    recipe: Recipe,
    encoder: TextEncoder,
    inputs: dict[str, Any],
    seed: int,
    state: Path,
    device: torch.device,
) -> _Plan:
    """A head of text embeddings, of templates or of learned prompts."""
    assert isinstance(recipe, TemplateRecipe | PromptRecipe)
    names = prompt_names(recipe.class_names, store.class_names)
    inputs |= {"names": names, "weights_sha256": encoder.weights_sha256}
    rows = None
    # A template's head depends on no feature and no draw.
    if isinstance(recipe, PromptRecipe):
        rows = training_rows(store, recipe.config, seed, local=recipe.needs_local)
        for key, number in recipe.derived.items():
            log(f"{recipe.config.section}: {key} in use {number:g} of {len(names)} classes")
        inputs |= {"rows": rows.fingerprint, "seed": seed, "in_use": recipe.derived}

    def make() -> _Made:
        moved = TextEncoder(encoder.tower.to(device), encoder.vocabulary, encoder.weights_sha256)
        if isinstance(recipe, TemplateRecipe):
            weight = template_head(moved, names, recipe.templates).cpu().numpy()
            arrays, history = _Made({"weight": weight}, [])
        else:
            assert rows is not None  # found above for every recipe that learns
            arrays, history = _learned(Learner(recipe, names, moved, rows, seed), inputs, state)
        scale = np.array(moved.tower.logit_scale, dtype=np.float32)
        bias = np.zeros(len(names), np.float32)
        return _Made({**arrays, "bias": bias, "logit_scale": scale}, history)

    return _Plan(inputs, encoder.weights_sha256, rows, make)


def _from_rows(
    store: FeatureStore,
    recipe: ProbeRecipe,
    inputs: dict[str, Any],
    seed: int,
    state: Path,
    device: torch.device,
) -> _Plan:
    """A linear head, with the arrays of the stored head that belong to the backbone."""
    rows = training_rows(store, recipe.config, seed, local=False)
    own = store.head_arrays()
    carried = {name: own[name] for name in _OF_BACKBONE if name in own}
    sums = {name: checksum(raw_bytes(values)) for name, values in carried.items()}
    weights = weights_digest(store)
    inputs |= {"text": False, "rows": rows.fingerprint, "seed": seed}
    inputs |= {"weights_sha256": weights, "carried": sums}
    val = store.split("val") if "val" in store.splits else None
    if val is not None and {"features", "labels"} <= set(val.arrays):
        inputs |= {"val": val.spec.fingerprint}  # The history tells of it.
    else:
        val = None

    def make() -> _Made:
        learner = ProbeLearner(recipe, len(store.class_names), rows, seed, device, val)
        arrays, history = _learned(learner, inputs, state)
        return _Made({**arrays, **carried}, history)

    return _Plan(inputs, weights, rows, make)


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


def _learned(learner: StepLearner, inputs: Mapping[str, Any], state_folder: Path) -> _Made:
    """What a run of learning leaves, continued where a killed one stopped."""
    state = load_state(state_folder)
    if state is not None and state["inputs"] == inputs:
        learner.restore(state)
    try:
        learner.run(state_folder, inputs)
    finally:
        learner.close()
    return _Made(learner.arrays(), learner.progress.history)


def _checked(store: FeatureStore, encoder: TextEncoder | None) -> TextEncoder:
    """The text encoder, if there is one and it belongs to the features."""
    if encoder is None:
        raise MissingNeedError(
            "this recipe makes its head of text, and there is no text encoder; give the checkpoint "
            "of the CLIP model that the features were made with (ltood adapt --checkpoint)."
        )
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
    return encoder


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
    # Negative labels are added to a head afterwards, and change nothing of it.
    return found if found is not None and found.bare.inputs == inputs else None
