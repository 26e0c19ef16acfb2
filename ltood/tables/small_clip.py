"""A small CLIP for trying the pipeline without published weights, trained on the demo images.

The text side takes CLIP's own vocabulary. It is trained to find the sentence about each of the
demo's training images among those of all classes; 0 steps leave it random. It knows the demo's
classes and little else: no figure made with it says anything about CLIP.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ltood.clip.image_tower import image_features
from ltood.clip.models import build_clip, clip_spec
from ltood.datasets.demo import Config, Dataset
from ltood.runtime.console import progress
from ltood.runtime.files import writing

NAME = "small_clip"
CONFIG = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 96, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
TEMPLATES = ("a photo of a {}.", "a picture of the {}.", "{}.", "an image that shows a {}.")
BATCH, RATE = 128, 1e-3


def make(folder: Path, steps: int = 300, seed: int = 0) -> tuple[Path, Path]:
    """Write configuration and weights, the configuration first.

    Args:
        folder: Where small_clip.json and small_clip.safetensors go.
        steps: Steps of training; 0 leaves the weights random.
        seed: Of weights and batches.

    Returns:
        Both files.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{NAME}.json"
    config.write_text(json.dumps(CONFIG, indent=2) + "\n")
    spec = clip_spec(str(config))
    torch.manual_seed(seed)
    model = build_clip(spec)
    if steps:
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
        learn(model, mean, std, steps, seed)
    weights = folder / f"{NAME}.safetensors"
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    with writing(weights) as file:
        file.write(save(state))
    return config, weights


def tokens(class_names: tuple[str, ...]) -> Tensor:
    """Token ids of every template and class, [T, C, 77]."""
    from open_clip import tokenize

    rows = [tokenize([template.format(name) for name in class_names]) for template in TEMPLATES]
    return torch.stack(rows)


def learn(
    model: Any,  # noqa: ANN401 - open_clip has no types
    mean: Tensor,
    std: Tensor,
    steps: int,
    seed: int,
) -> float:
    """Train both towers in place; returns the last loss."""
    data = Dataset(Config(root=None))
    train = data.split("train")
    pixels = torch.from_numpy(np.array(train.images)).permute(0, 3, 1, 2).float() / 255
    images = (pixels.expand(-1, 3, -1, -1) - mean) / std
    labels, sentences = torch.from_numpy(train.labels), tokens(data.class_names)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss = torch.zeros(())
    with progress("train the small CLIP", steps, "steps") as advance:
        for _ in range(steps):
            rows = torch.from_numpy(rng.integers(len(labels), size=BATCH))
            batch = images[rows]
            if rng.random() < 0.5:
                batch = batch.flip(3)
            pooled, _ = image_features(model.visual, batch, local=False)
            text = model.encode_text(sentences[int(rng.integers(len(TEMPLATES)))])
            scale = model.logit_scale.exp().clamp(max=100)
            cosines = normalize(pooled, dim=1) @ normalize(text, dim=1).T
            loss = cross_entropy(scale * cosines, labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            advance(1)
    return float(loss.detach())
