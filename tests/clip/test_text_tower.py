import math

import numpy as np
import pytest
import torch

from ltood.clip.text_tower import Group, TextTower
from ltood.core.errors import DataError
from tests import prompt_samples


def open_clip_model(**text):
    from open_clip.model import CLIP

    vision = {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 32}
    settings = {"context_length": 12, "vocab_size": 70, "width": 48, "heads": 4, "layers": 3}
    model = CLIP(8, vision, {**settings, **text}, quick_gelu=text.pop("quick_gelu", True))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens_and_ends(rng, num=7, length=12, vocabulary=70):
    ends = torch.tensor(rng.integers(4, length, size=num))
    tokens = torch.tensor(rng.integers(1, vocabulary - 1, size=(num, length)))
    tokens[:, :3] = tokens[0, :3]
    tokens[torch.arange(num), ends] = vocabulary - 1
    return tokens, ends


def test_encodes_the_published_tokens():
    g, tower = prompt_samples.golden(), prompt_samples.tower()
    tokens, ends = torch.tensor(g["prompt/tokens"]), torch.tensor(g["prompt/eot_index"])
    found = tower.encode(tower.embed(tokens), ends)
    np.testing.assert_allclose(found.numpy(), g["prompt/text_features_raw_tokens"], atol=1e-5)
    assert tower.logit_scale == pytest.approx(100, rel=1e-6)
    assert (tower.context_length, tower.width) == (16, 64)


@pytest.mark.parametrize("quick", [True, False])
def test_equals_open_clip_with_several_heads(rng, quick):
    model = open_clip_model()
    if not quick:
        for block in model.transformer.resblocks:
            block.mlp.gelu = torch.nn.GELU()
    tower = TextTower.from_module(model)
    assert tower.num_heads == 4
    tokens, ends = tokens_and_ends(rng)
    with torch.inference_mode():
        expected = model.encode_text(tokens)
    found = tower.encode(tower.embed(tokens), ends)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    assert not found.requires_grad


@pytest.mark.parametrize("shared", [1, 3])
def test_a_shared_beginning_changes_neither_features_nor_gradients(rng, shared):
    tower = TextTower.from_module(open_clip_model())
    tokens, ends = tokens_and_ends(rng)
    whole = tower.embed(tokens).requires_grad_()
    aim = torch.tensor(rng.normal(size=(len(tokens), 8)), dtype=torch.float32)
    expected = tower.encode(whole, ends)
    (expected * aim).sum().backward()

    parts = tower.embed(tokens).requires_grad_()
    groups = []
    for end in ends.unique().tolist():
        rows = (ends == end).nonzero().flatten()
        groups.append(Group(rows, parts[rows, shared : end + 1]))
    prefix = parts[0, :shared]
    found = tower.encode_after(prefix, groups)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found * aim).sum().backward()
    scale = whole.grad.norm()
    assert (parts.grad[:, shared:] - whole.grad[:, shared:]).norm() < 1e-5 * scale
    # The one beginning collects what every prompt asks of it.
    summed = whole.grad[:, :shared].sum(dim=0)
    assert (parts.grad[0, :shared] - summed).norm() < 1e-5 * scale


def test_moves_to_a_device_with_all_parameters():
    moved = prompt_samples.tower().to("meta")
    assert moved.device.type == "meta"
    assert {value.device.type for value in moved.parameters.values()} == {"meta"}


def test_weights_without_a_text_encoder_are_refused():
    state = prompt_samples.state()
    lacking = {name: state[name] for name in state if name != "text_projection"}
    with pytest.raises(DataError, match=r"no text encoder of CLIP \(text_projection is missing\)"):
        TextTower.from_state(lacking)
    outer = {name: state[name] for name in state if "resblocks" not in name}
    with pytest.raises(DataError, match=r"\(transformer.resblocks is missing\)"):
        TextTower.from_state(outer)


def test_unknown_parts_are_refused():
    state = {**prompt_samples.state(), "transformer.resblocks.0.ls_1.gamma": torch.ones(64)}
    with pytest.raises(DataError, match=r"has transformer\.resblocks\.0\.ls_1\.gamma, which"):
        TextTower.from_state(state)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(DataError, match="64 wide, which 5 heads do not divide"):
        TextTower.from_state(prompt_samples.state(), num_heads=5)


def test_other_modules_are_refused():
    with pytest.raises(DataError, match="text encoder of this Linear is not a plain CLIP"):
        TextTower.from_module(torch.nn.Linear(1, 1))
    model = open_clip_model()
    model.text_pool_type = "last"
    with pytest.raises(DataError, match="that reads its end token"):
        TextTower.from_module(model)
    model = open_clip_model()
    model.transformer.resblocks[0].mlp.gelu = torch.nn.ReLU()
    with pytest.raises(DataError, match="has the activation ReLU"):
        TextTower.from_module(model)


def test_the_scale_is_an_exponential():
    state = {**prompt_samples.state(), "logit_scale": torch.tensor(math.log(7.0))}
    assert TextTower.from_state(state).logit_scale == pytest.approx(7)
