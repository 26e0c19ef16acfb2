import itertools
import math

import pytest

from ltood.core.errors import ConfigError
from ltood.core.settings import parse
from ltood.training.plan import Plan, TrainingConfig, learning_rate


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, r"training\.epochs is 0"),
        ({"batch_size": -1}, r"training\.batch_size is -1"),
        ({"validation_epochs": 0}, r"training\.validation_epochs is 0"),
        ({"checkpoint_epochs": 0}, r"training\.checkpoint_epochs is 0"),
        ({"weight_decay": -0.1}, r"training\.weight_decay is -0\.1"),
        ({"weight_decay": math.inf}, r"training\.weight_decay is inf"),
        ({"crop_area": 0.0}, r"training\.crop_area is 0\.0"),
        ({"crop_padding": -1}, r"training\.crop_padding is -1"),
        ({"checkpoint_minutes": math.nan}, r"checkpoint_minutes is nan"),
        ({"warmup_epochs": -1.0}, r"training\.warmup_epochs is -1\.0"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0"),
        ({"learning_rate": math.inf}, r"learning_rate is inf"),
        ({"momentum": 1.0}, r"training\.momentum is 1\.0"),
        ({"epochs": 2, "warmup_epochs": 2.0}, r"is 2\.0; it must be below epochs \(2\)\."),
        ({"accumulate": 0}, r"training\.accumulate is 0"),
        ({"ema": 1.0}, r"training\.ema is 1\.0"),
        ({"clip_norm": 0.0}, r"training\.clip_norm is 0\.0"),
        ({"factor": 1.0}, r"training\.factor is 1\.0"),
        ({"milestones": [80, 60]}, r"training\.milestones is \[80, 60\]"),
        ({"milestones": [0]}, r"training\.milestones is \[0\]"),
        ({"optimiser": "lion"}, r"training\.optimiser is 'lion'"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, TrainingConfig, "training")


def test_cosine_falls_from_the_set_rate_to_nearly_zero():
    config = TrainingConfig(epochs=4, learning_rate=0.2)
    rates = [learning_rate(step, 5, config) for step in range(20)]
    assert rates[0] == 0.2
    assert rates[10] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.005


def test_warm_up_rises_linearly_to_the_schedule():
    config = TrainingConfig(epochs=4, learning_rate=0.2, warmup_epochs=1.0)
    rates = [learning_rate(step, 4, config) for step in range(16)]
    assert rates[:5] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    assert max(rates) == rates[4]


def test_constant_stays():
    config = TrainingConfig(epochs=2, learning_rate=0.3, schedule="constant")
    assert {learning_rate(step, 3, config) for step in range(6)} == {0.3}


@pytest.mark.parametrize("seed", ["0", 0.0, None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match=rf"seed is {seed!r}; it must be a whole number"):
        Plan("cifar_resnet", {}, "cross_entropy", {}, TrainingConfig(), seed)


def test_multistep_falls_before_each_milestone():
    settings = {"epochs": 10, "schedule": "multistep", "milestones": (3, 7), "learning_rate": 2.0}
    config = TrainingConfig(**settings)
    rates = [learning_rate(step, 5, config) for step in range(50)]
    assert rates[:15] == [2.0] * 15
    assert rates[15:35] == pytest.approx([0.2] * 20)
    assert rates[35:] == pytest.approx([0.02] * 15)


def test_a_cosine_by_epochs_is_that_of_each_first_step():
    by_step = TrainingConfig(epochs=10, schedule="cosine", learning_rate=1.0)
    by_epoch = TrainingConfig(epochs=10, schedule="cosine_epoch", learning_rate=1.0)
    for epoch in range(10):
        rates = {learning_rate(epoch * 7 + step, 7, by_epoch) for step in range(7)}
        assert rates == {learning_rate(epoch * 7, 7, by_step)}
        assert rates.pop() == pytest.approx((1 + math.cos(math.pi * epoch / 10)) / 2)


def test_warm_up_comes_before_a_cosine_by_epochs():
    config = TrainingConfig(
        epochs=10, schedule="cosine_epoch", learning_rate=1.0, warmup_epochs=1.5
    )
    rates = [learning_rate(step, 4, config) for step in range(40)]
    assert rates[:6] == pytest.approx([(step + 1) / 7 for step in range(6)])
    assert max(rates) == rates[6] == 1.0
    assert all(first >= second for first, second in itertools.pairwise(rates[6:]))
