"""Training recipes, one published training each."""

from ltood.recipes._base import (
    FrozenRecipe,
    Recipe,
    StepBatch,
    TrainingRecipe,
    build_recipe,
)
from ltood.recipes._text_heads import (
    PromptConfig,
    PromptRecipe,
    TemplateRecipe,
    TextHeadRecipe,
    prompt_learning_rate,
)

__all__ = [
    "FrozenRecipe",
    "PromptConfig",
    "PromptRecipe",
    "Recipe",
    "StepBatch",
    "TemplateRecipe",
    "TextHeadRecipe",
    "TrainingRecipe",
    "build_recipe",
    "prompt_learning_rate",
]
