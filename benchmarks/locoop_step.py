"""One LoCoOp training step from cached features, beside the official computation.

    python benchmarks/locoop_step.py [--classes 64] [--images 2] [--rounds 3] [--device cpu]

ViT-B/16 in its real shape with random weights, ImageNet's class names, 16 shared context vectors
before the name; as many classes for each image as ImageNet has in batches of 32. The official
step is computed as its code does it: every step encodes the images, every block of both towers
also computes a value branch (three projections and a second MLP) of which only the last image
block's is used, and all 77 positions of a prompt are encoded. Ours reads image features from
memory, as from a store, and encodes the text in each of the three modes. All run in one process
in turn; loss and gradient are compared, FLOPs counted by torch. The times are processor seconds (on
a GPU, wall seconds), each round is compared with its own official step, and the table shows
smallest, median and largest ratio. It goes to docs/results/locoop-step.md.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ltood.clip.prompts import PromptBatch, clip_vocabulary, learned_prompts
from ltood.clip.text_tower import TextTower
from ltood.losses.local_entropy import local_entropy_loss

RESULT = Path(__file__).parents[1] / "docs" / "results" / "locoop-step.md"
CONTEXT, LAMBDA = 16, 0.25


def official_block(block: Any, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """A block's output and its value branch, [B, L, W] each."""
    attention = block.attn
    normed = block.ln_1(x)
    packed = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    # The official code projects queries and keys too, and uses the values only.
    projected = [attention.out_proj(part) for part in packed.chunk(3, dim=-1)]
    mixed = attention(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
    out = x + mixed
    out = out + block.mlp(block.ln_2(out))
    values = x + projected[2]
    values = values + block.mlp(block.ln_2(values))
    return out, values


def official_image(visual: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Global [B, D] and local [B, P, D] features, not normalised."""
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    start = visual.class_embedding.expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([start, x], 1) + visual.positional_embedding)
    values = x
    for block in visual.transformer.resblocks:
        x, values = official_block(block, x, None)
    return visual.ln_post(x[:, 0]) @ visual.proj, visual.ln_post(values[:, 1:]) @ visual.proj


def official_text(model: Any, embeddings: Tensor, ends: Tensor) -> Tensor:
    """Text features of prompts of full length, [C, D], not normalised."""
    x = embeddings + model.positional_embedding
    for block in model.transformer.resblocks:
        x, _ = official_block(block, x, model.attn_mask)
    x = model.ln_final(x)
    return x[torch.arange(len(x)), ends] @ model.text_projection


def loss_of(text: Tensor, whole: Tensor, local: Tensor, labels: Tensor, scale: float) -> Tensor:
    """LoCoOp's loss from features that are not normalised."""
    head = F.normalize(text, dim=1)
    logits = scale * F.normalize(whole, dim=1) @ head.T
    patches = scale * F.normalize(local, dim=2) @ head.T
    entropy = local_entropy_loss(patches, labels, topk=max(1, round(0.2 * len(text))))
    return F.cross_entropy(logits, labels) + LAMBDA * entropy


def main() -> None:
    """Time every way of one step and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=64)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    import open_clip

    torch.manual_seed(0)
    device = torch.device(options.device)
    model = open_clip.create_model("ViT-B-16-quickgelu").float().eval().to(device)
    model.requires_grad_(requires_grad=False)
    tower = TextTower.from_module(model)
    names = open_clip.IMAGENET_CLASSNAMES
    chosen = [names[number * len(names) // options.classes] for number in range(options.classes)]
    vocabulary = clip_vocabulary(tower.context_length)
    prompts = learned_prompts(chosen, CONTEXT, vocabulary)
    batches = {mode: PromptBatch(prompts, "end", tower, mode) for mode in ("full", "cut", "prefix")}
    images = torch.randn(options.images, 3, 224, 224, device=device)
    labels = torch.randint(options.classes, (options.images,), device=device)
    context = torch.nn.Parameter(0.02 * torch.randn(CONTEXT, tower.width, device=device))
    scale, ends = tower.logit_scale, prompts.ends.to(device)
    with torch.no_grad():
        cached = official_image(model.visual, images)

    def official() -> Tensor:
        with torch.no_grad():
            whole, local = official_image(model.visual, images)
        text = official_text(model, batches["full"].arrange(context), ends)
        return loss_of(text, whole, local, labels, scale)

    def ours(mode: str) -> Callable[[], Tensor]:
        return lambda: loss_of(batches[mode].encode(context), *cached, labels, scale)

    ways: dict[str, Callable[[], Tensor]] = {
        "official": official,
        "cached images, full": ours("full"),
        "cached images, cut": ours("cut"),
        "cached images, prefix": ours("prefix"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    flops, losses, gradients = {}, {}, {}
    for number in range(options.rounds + 1):
        for name, way in ways.items():
            context.grad = None
            if number == 0:  # the first round warms up and counts
                with FlopCounterMode(display=False) as counter:
                    loss = way()
                    loss.backward()
                flops[name] = counter.get_total_flops()
                losses[name] = float(loss.detach())
                gradients[name] = context.grad.clone()
                continue
            clock = time.process_time if device.type == "cpu" else time.perf_counter
            start = clock()
            way().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
            print(f"round {number}, {name}: {seconds[name][-1]:.2f} s", flush=True)
    write(options, seconds, flops, losses, gradients)


def write(
    options: argparse.Namespace,
    seconds: dict[str, list[float]],
    flops: dict[str, int],
    losses: dict[str, float],
    gradients: dict[str, Tensor],
) -> None:
    """Write the table."""
    reference = gradients["official"]
    cpu = options.device == "cpu"
    threads = f"{torch.get_num_threads()} thread(s)" if cpu else options.device
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [
        "# One training step of LoCoOp",
        "",
        f"`python benchmarks/locoop_step.py --classes {options.classes} --images "
        f"{options.images}`: ViT-B/16, random weights, {threads}, float32, forward and backward, "
        f"{options.rounds} rounds after one that warms up; peak memory of the process "
        f"{peak:.1f} GiB. Cached images are read from memory.",
        "",
        f"| step | GFLOP | FLOPs, official over this | {'processor' if cpu else 'wall'} seconds, "
        "median | official over this: median (smallest to largest) | loss | gradient, relative "
        "difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, times in seconds.items():
        apart = float((gradients[name] - reference).norm() / reference.norm())
        ratios = [base / own for base, own in zip(seconds["official"], times, strict=True)]
        lines.append(
            f"| {name} | {flops[name] / 1e9:.0f} | {flops['official'] / flops[name]:.1f} | "
            f"{statistics.median(times):.2f} | {statistics.median(ratios):.1f} "
            f"({min(ratios):.1f} to {max(ratios):.1f}) | {losses[name]:.6f} | {apart:.1e} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
