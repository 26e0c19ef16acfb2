"""Ceilings of the card, a training step and a step of prompt learning beside plain ones."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.gpu.acceptance import CUDA, Acceptance, gap
from benchmarks.gpu.stores import random_images
from ltood.adapting.learning import Learner
from ltood.adapting.texts import TextEncoder
from ltood.core.prior import ClassPrior
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.recipes import build_recipe
from ltood.runtime.devices import autocast, deterministic
from ltood.training.initial_weights import build
from ltood.training.loop import Run
from ltood.training.plan import Plan, TrainingConfig

#: Time of a plain step by the time of ours.
TARGET = 0.95
#: Memory from which on the official step of 1,000 classes fits.
LARGE = 100 << 30


def ceilings(run: Acceptance) -> None:
    """Products by number format, copies on the card and to it."""
    size = run.size(8_192, 256)
    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
    with deterministic(CUDA):
        for name, dtype in kinds.items():
            side = size if name == "bfloat16" else size // 2
            left = torch.randn(side, side, device=CUDA).to(dtype)
            seconds = run.clock(lambda x=left: x @ x)
            run.ceilings[name] = 2 * side**3 / seconds / 1e12
        tf32 = torch.backends.cuda.matmul.allow_tf32
    source = torch.zeros(run.size(1 << 28, 1 << 16), device=CUDA)
    target = torch.empty_like(source)
    bytes_of = source.numel() * 4
    run.ceilings["copy"] = 2 * bytes_of / run.clock(lambda: target.copy_(source)) / 1e9
    host = torch.zeros(run.size(1 << 27, 1 << 14)).pin_memory()
    upload = run.clock(lambda: host.to(CUDA, non_blocking=True))
    run.ceilings["upload"] = host.numel() * 4 / upload / 1e9
    shown = ", ".join(f"{name} {value:,.0f}" for name, value in run.ceilings.items())
    run.say("note", "ceilings", f"{shown} (TFLOP/s; copy and upload GB/s)")
    run.check("no TF32", f"matmul.allow_tf32 is {tf32}", "False", holds=not tf32)


def training_step(run: Acceptance) -> None:
    """CIFAR ResNet-18, batches of 128, beside a plain loop whose batch lies on the card."""
    size, side = run.size(128, 12), run.size(32, 8)
    data = random_images(run.size(5_000, 60), side)
    precision: Any = "float32" if run.pretends else "bfloat16"
    settings: dict[str, Any] = {
        "variant": "small" if run.quick else "18",
        "mean": None,
        "std": None,
    }
    plain = _plain_step(run, settings, size, side, precision)
    for kind in ("basic", "jitter", "autoaugment"):
        config = TrainingConfig(epochs=50, batch_size=size, augmentation=kind)  # type: ignore[arg-type]
        plan = Plan("cifar_resnet", settings, "cross_entropy", {}, config)
        with run.part(f"training step, {kind}"), deterministic(CUDA):
            recipe: Any = build_recipe("cross_entropy", {}, ClassPrior(data.class_counts))
            backbone, _ = build(plan, recipe, data, None)
            loop = Run(plan, data, backbone, recipe, CUDA, precision)
            waits = run.waits(loop._step)
            ours = run.clock(loop._step, 30, 5)
            loop.close()
            run.check(f"waits of a step, {kind}", f"{waits}", "0", holds=waits == 0)
            share = plain / ours
            run.measure(
                f"training step, {kind}",
                f"{ours * 1e3:.2f} ms, {size / ours:,.0f} images/s, {share:.2f} of a plain step",
                f"{TARGET}" if kind == "basic" else "0.5",
                holds=share >= (TARGET if kind == "basic" else 0.5),
            )


def _plain_step(run: Acceptance, settings: Any, size: int, side: int, precision: Any) -> float:
    """Seconds of forward, backward and SGD on one batch, without augmentation."""
    net = build_backbone(
        "cifar_resnet", settings, ImageSpec(3, side, side, (0.5,) * 3, (0.25,) * 3, 10)
    )
    net = net.to(CUDA).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(
        net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    images = torch.rand(size, 3, side, side, device=CUDA).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.randint(10, (size,)).to(CUDA)

    def step() -> None:
        with autocast(CUDA, precision):
            logits = net(images).logits
        optimiser.zero_grad()
        cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    with deterministic(CUDA):
        return run.clock(step, 30, 5)


class _Rows:
    """Stored rows in memory, so that reading takes no part."""

    def __init__(self, num: int, classes: int, width: int, patches: int) -> None:
        self.labels, self.num_views = np.arange(num) % classes, 1
        rng = np.random.default_rng(0)
        self._local = rng.standard_normal((32, patches, width), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, array: str, chosen: Any, views: Any) -> Any:
        """Some of them, as float32."""
        del views
        local = self._local[: len(chosen)]
        return local if array == "local" else local[:, 0]


def prompt_step(run: Acceptance) -> None:
    """LoCoOp, beside the computation of its official code (`benchmarks/locoop_step.py`)."""
    from ltood.clip.prompts import clip_vocabulary
    from ltood.clip.text_tower import TextTower

    if run.quick:
        from tests import prompt_samples

        tower, vocabulary = prompt_samples.tower().to(CUDA), prompt_samples.vocabulary()
        names, batch, patches, official = ["cat", "11 12", "emu"], 4, 5, None
    else:
        import open_clip

        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-16-quickgelu").float().eval().to(CUDA)
        model.requires_grad_(requires_grad=False)
        tower, vocabulary = TextTower.from_module(model), clip_vocabulary(77)
        large = torch.cuda.get_device_properties(CUDA).total_memory >= LARGE
        names = [name.replace("_", " ") for name in open_clip.IMAGENET_CLASSNAMES]
        names, batch, patches = names[: 1_000 if large else 100], 32, 196
        official = _official_step(run, model, tower, names, batch)
    texts = {}
    for mode in ("prefix", "cut"):
        settings = {
            "shots": 16,
            "text_mode": mode,
            "topk": max(1, len(names) // 5),
            "batch_size": batch,
            "n_ctx": 4 if run.quick else 16,
        }
        recipe: Any = build_recipe("locoop", settings, ClassPrior(np.full(len(names), 16)))
        width = int(tower.parameters["text_projection"].shape[1])
        rows: Any = _Rows(16 * len(names), len(names), width, patches)
        learner = Learner(recipe, names, TextEncoder(tower, vocabulary, "x"), rows, 0)
        with torch.no_grad():
            texts[mode] = learner.text()
        waits = run.waits(learner._epoch_step)
        ours = run.clock(learner._epoch_step, 10, 2)
        found = f"{ours * 1e3:.1f} ms, {waits} waits of the host"
        if official is None:
            run.say("note", f"LoCoOp step, {mode}", found)
        else:
            times = official / ours
            run.measure(
                f"LoCoOp step, {mode}", f"{found}, {times:.1f} times faster", "1", holds=times >= 1
            )
    far = gap(texts["prefix"], texts["cut"])
    run.check("LoCoOp's text modes agree", f"{far:.1e}", "1e-4", holds=far < 1e-4)


def _official_step(run: Acceptance, model: Any, tower: Any, names: list[str], batch: int) -> float:
    """Seconds of the official computation, which encodes images and whole prompts in each step."""
    from benchmarks.locoop_step import CONTEXT, loss_of, official_image, official_text
    from ltood.clip.prompts import PromptBatch, clip_vocabulary, learned_prompts

    prompts = learned_prompts(names, CONTEXT, clip_vocabulary(77))
    whole = PromptBatch(prompts, "end", tower, "full")
    images = torch.randn(batch, 3, 224, 224, device=CUDA)
    labels = torch.randint(len(names), (batch,)).to(CUDA)
    context = torch.nn.Parameter(0.02 * torch.randn(CONTEXT, tower.width).to(CUDA))
    ends = prompts.ends.to(CUDA)

    def step() -> None:
        with torch.no_grad():
            features, local = official_image(model.visual, images)
        text = official_text(model, whole.arrange(context), ends)
        loss_of(text, features, local, labels, tower.logit_scale).backward()

    return run.clock(step, 3, 1)
