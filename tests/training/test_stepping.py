"""Settings of a step change memory, precision or the weights that are kept, and nothing else."""

import pytest
import torch
from image_samples import GreedyRecipe, make_plan, train_tiny, tree
from safetensors.torch import load_file

from ltood.core.errors import ConfigError
from ltood.networks.checkpoint_files import HISTORY, WEIGHTS
from ltood.recipes._base import StepBatch
from ltood.runtime.devices import resolve_precision
from ltood.training import train as driver
from ltood.training.loop import Run
from ltood.training.stepping import ExponentialMovingAverage, micro_batches


def weights(out, **training):
    train_tiny(out, make_plan(**training))
    return load_file(out / WEIGHTS)


def batch(num=7, aux=11):
    rng = torch.Generator().manual_seed(0)
    views = tuple(torch.rand(num, 1, 4, 4, generator=rng) for _ in range(2))
    outliers = torch.rand(aux, 1, 4, 4, generator=rng)
    return StepBatch(views, torch.arange(num), outliers, 0, 1, rng, torch.nn.Identity())


def test_parts_of_a_batch_hold_every_row_once():
    whole = batch()
    parts = list(micro_batches(whole, 3))
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert [len(part.labels) for part, _ in parts] == [3, 2, 2]
    for view in range(2):
        joined = torch.cat([part.views[view] for part, _ in parts])
        assert torch.equal(joined, whole.views[view])
    assert torch.equal(torch.cat([part.aux for part, _ in parts]), whole.aux)
    assert torch.equal(torch.cat([part.labels for part, _ in parts]), whole.labels)


@pytest.mark.parametrize(("num", "aux", "parts"), [(7, 14, 3), (10, 5, 4), (8, 2, 5), (3, 40, 2)])
def test_outliers_go_with_the_share_of_the_images(num, aux, parts):
    found = list(micro_batches(batch(num, aux), parts))
    assert len(found) == min(parts, aux)
    for part, share in found:
        assert abs(len(part.aux) - share * aux) < 1
        assert len(part.aux) > 0
        if aux % num == 0:
            assert len(part.aux) == aux // num * len(part.labels)


def test_one_part_is_the_batch_itself():
    whole = batch()
    assert list(micro_batches(whole, 1)) == [(whole, 1.0)]
    assert len(list(micro_batches(batch(num=2), 9))) == 2


def test_accumulation_keeps_the_mean_of_losses_of_single_images(tmp_path, monkeypatch):
    # Without batch norm in training mode the parts do not see one another.
    monkeypatch.setattr(
        "ltood.recipes._base.TrainingRecipe.set_modes", lambda recipe, backbone: backbone.eval()
    )
    whole = weights(tmp_path / "whole", epochs=1)
    parts = weights(tmp_path / "parts", epochs=1, accumulate=3)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-4)


def test_accumulation_with_outliers_and_views_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "build_recipe", lambda name, settings, prior: GreedyRecipe(prior))
    train_tiny(tmp_path / "out", make_plan(epochs=1, accumulate=2))
    assert (tmp_path / "out" / WEIGHTS).exists()


def test_clipping_bounds_the_gradient(tmp_path, monkeypatch):
    lengths, step = [], torch.optim.SGD.step

    def noting(optimiser, *arguments, **named):
        gradients = [
            value.grad.flatten() for group in optimiser.param_groups for value in group["params"]
        ]
        lengths.append(float(torch.cat(gradients).norm()))
        return step(optimiser, *arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", noting)
    weights(tmp_path / "free", epochs=1)
    assert max(lengths) > 0.1
    lengths.clear()
    weights(tmp_path / "clipped", epochs=1, clip_norm=0.01)
    assert max(lengths) <= 0.0101


def test_averages_follow_their_definition():
    layer = torch.nn.Linear(2, 1)
    averaged = ExponentialMovingAverage((layer,), 0.75)
    expected = layer.weight.detach().clone()
    for number in range(3):
        with torch.no_grad():
            layer.weight.fill_(number)
        averaged.update()
        expected = 0.75 * expected + 0.25 * number
    torch.testing.assert_close(averaged.weights["0.weight"], expected)
    with averaged.applied():
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert (layer.weight == 2).all()
    averaged.apply()
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_averaged_weights_are_written_and_survive_a_stop(tmp_path, monkeypatch):
    plain = weights(tmp_path / "plain")
    averaged = weights(tmp_path / "averaged", ema=0.9)
    assert not torch.equal(plain["head.weight"], averaged["head.weight"])
    with monkeypatch.context() as patch:
        step, left = Run._step, [9]

        def counting(run):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return step(run)

        patch.setattr(Run, "_step", counting)
        with pytest.raises(KeyboardInterrupt):
            weights(tmp_path / "stopped", ema=0.9, checkpoint_epochs=1)
    weights(tmp_path / "stopped", ema=0.9, checkpoint_epochs=1)
    assert tree(tmp_path / "stopped") == tree(tmp_path / "averaged")


def test_bfloat16_gives_losses_in_float32(tmp_path, monkeypatch):
    seen = []

    class Looking(GreedyRecipe):
        def losses(self, batch):
            output = batch.forward(batch.images)
            seen.append((output.pooled.dtype, output.logits.dtype))
            return {"loss": output.logits.square().mean()}

    monkeypatch.setattr(driver, "build_recipe", lambda name, settings, prior: Looking(prior))
    half = train_tiny(tmp_path / "half", make_plan(epochs=1, amp="bf16"))
    assert half["precision"] == "bfloat16"
    assert set(seen) == {(torch.float32, torch.float32)}
    whole = train_tiny(tmp_path / "whole", make_plan(epochs=1))
    assert whole["precision"] == "float32"
    first = load_file(tmp_path / "half" / WEIGHTS)["head.weight"]
    second = load_file(tmp_path / "whole" / WEIGHTS)["head.weight"]
    assert not torch.equal(first, second)
    losses = [
        float((tmp_path / name / HISTORY).read_text().splitlines()[1].split(",")[-3])
        for name in ("half", "whole")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_float16_is_for_gpus():
    with pytest.raises(ConfigError, match=r"training\.amp is 'fp16' but the device is cpu"):
        resolve_precision("fp16", torch.device("cpu"))
    assert resolve_precision("fp16", torch.device("cuda")) == "float16"


def test_compiling_is_asked_for_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: asked.append(type(module)))
    first = weights(tmp_path / "compiled", epochs=1, compile=True)
    assert len(asked) == 1
    for name, value in weights(tmp_path / "plain", epochs=1).items():
        assert torch.equal(first[name], value)
    assert len(asked) == 1


@pytest.mark.slow
def test_compiled_networks_train_alike(tmp_path):
    compiled = weights(tmp_path / "compiled", epochs=1, compile=True, deterministic=False)
    for name, value in weights(tmp_path / "plain", epochs=1).items():
        torch.testing.assert_close(compiled[name], value, atol=1e-4, rtol=1e-3)
