"""Training recipes, one published training each."""

from ltood.recipes._base import (
    FrozenRecipe,
    HeadRecipe,
    Recipe,
    StepBatch,
    TrainingRecipe,
    build_recipe,
)
from ltood.recipes._probes import ProbeConfig, ProbeRecipe, probe_learning_rate
from ltood.recipes._text_heads import (
    PromptConfig,
    PromptRecipe,
    TemplateRecipe,
    TextHeadRecipe,
    prompt_learning_rate,
)

__all__ = [
    "FrozenRecipe",
    "HeadRecipe",
    "ProbeConfig",
    "ProbeRecipe",
    "PromptConfig",
    "PromptRecipe",
    "Recipe",
    "StepBatch",
    "TemplateRecipe",
    "TextHeadRecipe",
    "TrainingRecipe",
    "build_recipe",
    "probe_learning_rate",
    "prompt_learning_rate",
]
