"""Training recipes, one published training each."""

from ltood.recipes._base import Recipe, StepBatch, build_recipe
from ltood.recipes._text_heads import (
    PromptConfig,
    PromptRecipe,
    TemplateRecipe,
    prompt_learning_rate,
)

__all__ = [
    "PromptConfig",
    "PromptRecipe",
    "Recipe",
    "StepBatch",
    "TemplateRecipe",
    "build_recipe",
    "prompt_learning_rate",
]
