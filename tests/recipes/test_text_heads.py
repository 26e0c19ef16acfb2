import dataclasses
import math

import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.recipes._text_heads import PromptConfig, prompt_learning_rate


def test_the_schedule_is_the_published_one():
    """Rates of the official log: 50 epochs, a constant first one, and a last one above 0."""
    rates = [prompt_learning_rate(epoch, PromptConfig()) for epoch in range(50)]
    assert rates[:4] == pytest.approx([1e-5, 2e-3, 1.998027e-3, 1.992115e-3], rel=1e-6)
    assert rates[-1] == pytest.approx(7.885e-6, rel=1e-4)


def test_the_schedule_equals_the_chained_one_of_torch():
    config = PromptConfig(epochs=12, learning_rate=0.3)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=config.epochs)
    for epoch in range(1, config.epochs):
        found = prompt_learning_rate(epoch, config)
        assert found == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        cosine.step()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_ctx": 0}, r"\.n_ctx is 0"),
        ({"shots": 0}, r"\.shots is 0"),
        ({"epochs": 0}, r"\.epochs is 0"),
        ({"batch_size": -1}, r"\.batch_size is -1"),
        ({"learning_rate": 0.0}, r"\.learning_rate is 0\.0"),
        ({"warmup_learning_rate": math.inf}, r"\.warmup_learning_rate is inf"),
        ({"momentum": 1.0}, r"\.momentum is 1\.0"),
        ({"weight_decay": -0.1}, r"\.weight_decay is -0\.1"),
        ({"ctx_init": "  "}, r"\.ctx_init is '  '"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PromptConfig(**settings)


def test_subclasses_name_their_own_section():
    @dataclasses.dataclass(frozen=True)
    class Other(PromptConfig):
        section = "recipes.other"

    with pytest.raises(ConfigError, match=r"recipes\.other\.n_ctx is 0"):
        Other(n_ctx=0)
