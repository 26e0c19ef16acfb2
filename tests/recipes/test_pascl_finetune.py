import numpy as np
import pytest
import torch
from image_samples import make_plan, train_tiny
from safetensors.torch import load_file

from ltood.core.errors import ConfigError, DataError
from ltood.core.prior import ClassPrior
from ltood.networks.checkpoint_files import WEIGHTS
from ltood.recipes._base import StepBatch
from ltood.recipes.pascl_finetune import Config, PasclFinetune


@pytest.fixture(scope="module")
def stage_one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "checkpoint"
    train_tiny(out, make_plan(recipe="pascl", epochs=1))
    return out


def test_only_batch_norms_and_head_are_tuned(tmp_path, stage_one):
    plan = make_plan(
        recipe="pascl_finetune", epochs=1, weights=str(stage_one), optimiser="adam",
        learning_rate=5e-4, weight_decay=5e-4,
    )  # fmt: skip
    train_tiny(tmp_path / "two", plan)
    before, after = (load_file(folder / WEIGHTS) for folder in (stage_one, tmp_path / "two"))
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    kept = set(before) - changed
    # A batch norm has statistics, a convolution does not.
    norms = {name.rpartition(".")[0] for name in before if name.endswith("running_mean")}
    assert {name for name in kept if name.rpartition(".")[0] in norms} == set()
    assert {"head.weight", "head.bias"} <= changed
    assert all(name.rpartition(".")[0] in {*norms, "head"} for name in changed)
    assert kept


def test_it_goes_on_from_weights_only(tmp_path):
    with pytest.raises(ConfigError, match="recipe pascl_finetune"):
        train_tiny(tmp_path / "out", make_plan(recipe="pascl_finetune"))


class Table:
    """Answers with fixed logits."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, images):
        return type("Output", (), {"logits": self.logits})()


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_the_loss_is_that_of_adjusted_logits(tau):
    rng = np.random.default_rng(0)
    counts, labels = np.array([50, 9, 2]), np.array([0, 2, 1, 2])
    logits = rng.normal(size=(4, 4))  # one node more than classes
    recipe = PasclFinetune(Config(tau), ClassPrior(counts))
    table = Table(torch.tensor(logits))
    batch = StepBatch((torch.zeros(4, 1, 2, 2),), torch.tensor(labels), None, 0, 1, None, table)
    found = recipe.losses(batch)["cross_entropy"]
    expected = 0.0
    for row, label in enumerate(labels):
        shifted = logits[row, :3] + tau * np.log(counts / counts.sum())
        expected += (np.log(np.exp(shifted).sum()) - shifted[label]) / 4
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_backbone_without_a_linear_head_is_refused():
    recipe = PasclFinetune(Config(), ClassPrior(np.array([3, 2])))
    backbone = torch.nn.Identity()
    backbone.entry_name = "clip"
    with pytest.raises(ConfigError, match="tunes the linear head, which clip"):
        recipe.trainable(backbone)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match=r"recipes\.pascl_finetune\.tau is -1"):
        Config(-1.0)
    with pytest.raises(DataError):
        PasclFinetune(Config(), ClassPrior(np.array([3, 0])))
