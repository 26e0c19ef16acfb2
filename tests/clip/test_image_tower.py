"""Features of both kinds of towers are those of the official code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ltood.clip.image_tower import _last_block, image_features
from ltood.clip.models import ClipSpec, build_clip

GOLDEN = Path(__file__).parents[1] / "golden"
VIT = ClipSpec(
    "golden",
    32,
    {"image_size": 32, "layers": 2, "width": 64, "head_width": 64, "patch_size": 8},
    {"context_length": 16, "vocab_size": 64, "width": 64, "heads": 1, "layers": 2},
    quick_gelu=True,
)
RESNET = ClipSpec(
    "golden",
    24,
    {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 1, "layers": 1},
    quick_gelu=True,
)


def arrays(start):
    with np.load(GOLDEN / "image_towers.npz") as held:
        return {k.removeprefix(start): torch.tensor(held[k]) for k in held if k.startswith(start)}


def golden_tower(kind, spec=None):
    """An image tower with the golden weights, and the golden arrays of its images."""
    visual = build_clip(spec or {"vit": VIT, "rn": RESNET}[kind]).visual.eval()
    state = arrays(f"{kind}_w/visual.")
    counters = {k: v for k, v in visual.state_dict().items() if k.endswith("num_batches_tracked")}
    visual.load_state_dict({**counters, **state}, strict=True)
    return visual, arrays(f"{kind}/")


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_both_features_are_the_official_ones(kind):
    visual, golden = golden_tower(kind)
    with torch.no_grad():
        pooled, local = image_features(visual, golden["image"], local=True)
    torch.testing.assert_close(pooled, golden["global"], rtol=0, atol=1e-5)
    torch.testing.assert_close(local, golden["local"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_the_global_feature_is_that_of_open_clip_with_and_without_local_ones(kind):
    visual, golden = golden_tower(kind)
    with torch.no_grad():
        plain = visual(golden["image"])
        alone, nothing = image_features(visual, golden["image"], local=False)
        beside, _ = image_features(visual, golden["image"], local=True)
    assert nothing is None
    torch.testing.assert_close(alone, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)


def test_another_activation_shows():
    # QuickGELU and GELU differ so little that only a tight tolerance tells them apart.
    fields = {name: getattr(VIT, name) for name in ("name", "embed_dim", "vision", "text")}
    visual, golden = golden_tower("vit", ClipSpec(**fields, quick_gelu=False))
    with torch.no_grad():
        pooled, _ = image_features(visual, golden["image"], local=False)
    assert 1e-4 < (pooled - golden["global"]).abs().max() < 0.2


def test_patches_do_not_see_one_another():
    visual, golden = golden_tower("vit")
    block = visual.transformer.resblocks[-1]
    seen = golden["last_block_input"].clone()
    changed = seen.clone()
    changed[:, 5] = seen[:, 5].flip(-1)

    def local_of(tokens):
        with torch.no_grad():
            return _last_block(block, tokens, local=True)

    (before_all, before), (after_all, after) = local_of(seen), local_of(changed)
    assert not torch.allclose(before_all, after_all)
    same = [patch for patch in range(16) if torch.equal(before[:, patch], after[:, patch])]
    assert same == [patch for patch in range(16) if patch != 4]
