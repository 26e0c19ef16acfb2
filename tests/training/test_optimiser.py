import pytest
import torch

from ltood.training.optimising import build_optimiser, parameter_groups
from ltood.training.plan import TrainingConfig


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_takes_the_steps_of_its_formula(nesterov, momentum):
    settings = {"learning_rate": 0.1, "momentum": momentum, "weight_decay": 0.01}
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    config = TrainingConfig(optimiser="sgd", nesterov=nesterov, **settings)
    optimiser = build_optimiser(parameter_groups([weight], [], [], 1.0), config)
    expected, velocity = weight.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for step in range(4):
        gradient = torch.tensor([0.5, step], dtype=torch.float64)
        weight.grad = gradient.clone()
        optimiser.step()
        decayed = gradient + 0.01 * expected
        velocity = momentum * velocity + decayed
        looks_ahead = nesterov and momentum > 0
        expected -= 0.1 * (decayed + momentum * velocity if looks_ahead else velocity)
        torch.testing.assert_close(weight.detach(), expected)
