"""Training on a GPU: the losses of a CPU, equal weights every time, number formats, resuming."""

import shutil
from typing import Any

import torch
from image_samples import TinyImages, make_plan, state_of, train_tiny
from safetensors.torch import load_file

from benchmarks.gpu.acceptance import Acceptance, gap
from ltood.core.registry import available, load
from ltood.recipes import TrainingRecipe
from ltood.training.loop import Run
from ltood.training.plan import Plan
from ltood.training.train import train

#: Largest difference of a loss term of the first step, relative to it.
LOSS_TOLERANCE = 1e-4
#: Recipes that continue what another one began.
CONTINUES = {"pascl_finetune": "pascl", "eat_finetune": "eat"}
#: Settings of training that need a GPU, or that it may not survive.
VARIANTS: dict[str, dict[str, Any]] = {
    "bf16": {"amp": "bf16"},
    "fp16": {"amp": "fp16"},
    "compile": {"compile": True},
    "autoaugment": {"augmentation": "autoaugment"},
    "jitter": {"augmentation": "jitter"},
    "accumulate, clip, ema": {"accumulate": 2, "clip_norm": 1.0, "ema": 0.9},
}


class Stopped(Exception):
    """Stands for a kill."""


def images() -> TinyImages:
    """What all of them are trained on."""
    return TinyImages(channels=3, rows=12)


def trained(run: Acceptance, name: str, plan: Plan) -> dict[str, torch.Tensor]:
    """Weights after training on the GPU, from scratch."""
    out = run.folder / name
    for folder in (out, state_of(out)):
        shutil.rmtree(folder, ignore_errors=True)
    train(plan, images(), out, "cuda", state_folder=state_of(out))
    return load_file(out / "model.safetensors")


def first_losses(plan: Plan, device: str, run: Acceptance) -> dict[str, float]:
    """Terms of the loss of an epoch that is one step."""
    out = run.folder / f"first-{device}"
    for folder in (out, state_of(out)):
        shutil.rmtree(folder, ignore_errors=True)
    train(plan, images(), out, device, state_folder=state_of(out))
    lines = (out / "history.csv").read_text().splitlines()
    row = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    kept = {"epoch", "learning_rate", "val_accuracy", "val_loss", ""}
    return {key: float(value) for key, value in row.items() if key not in kept}


def losses(run: Acceptance) -> None:
    """Every recipe: its losses beside the CPU's, and its weights twice."""
    names = [
        n for n in available("recipes") if issubclass(load("recipes", n).Entry, TrainingRecipe)
    ]
    names = [name for name in names if not run.quick or name in ("cross_entropy", "patt")]
    gaps, unequal = {}, []
    for name in names:
        with run.part(f"recipe {name}"):
            weights = {}
            if name in CONTINUES:
                begun = run.folder / CONTINUES[name]
                if not begun.is_dir():
                    train_tiny(begun, make_plan(recipe=CONTINUES[name], epochs=1), images())
                weights = {"weights": str(begun)}
            common = {"recipe": name, "epochs": 1, "learning_rate": 0.01, "amp": "off", **weights}
            one_step = make_plan(**common, batch_size=1_000)
            own, there = (first_losses(one_step, device, run) for device in ("cpu", "cuda"))
            gaps[name] = max(
                abs(there[key] - value) / max(abs(value), 1e-3) for key, value in own.items()
            )
            plan = make_plan(**common, batch_size=16)
            first, second = trained(run, "once", plan), trained(run, "twice", plan)
            if any(not torch.equal(first[key], second[key]) for key in first):
                unequal.append(name)
    what = f"losses of {len(gaps)} of {len(names)} recipes"
    run.agree(what, gaps, LOSS_TOLERANCE, len(names))
    run.check(
        "training repeats", f"differ: {unequal or 'none'}", "equal bytes twice", holds=not unequal
    )


def variants(run: Acceptance) -> None:
    """Number formats, compiling and what else a GPU treats in its own way."""
    base = trained(run, "plain", make_plan(epochs=1, amp="off", learning_rate=0.01))
    for name, settings in VARIANTS.items():
        if run.pretends and name in ("bf16", "fp16", "compile"):
            run.say("note", f"training with {name}", "left out: it cannot be pretended")
            continue
        with run.part(f"training with {name}"):
            plan = make_plan(**{"epochs": 1, "amp": "off", "learning_rate": 0.01, **settings})
            found = trained(run, "variant", plan)
            finite = all(bool(torch.isfinite(value.float()).all()) for value in found.values())
            text = "finite weights" if finite else "NaN or infinite weights"
            if name in ("bf16", "fp16", "compile"):
                far = max(gap(found[key], base[key]) for key in base if base[key].ndim > 1)
                text += f", {far:.1e} from those of float32"
                finite = finite and far < 0.1
            run.check(f"training with {name}", text, "finite, and within 0.1", holds=finite)


def resuming(run: Acceptance) -> None:
    """A training that is killed ends with the bytes of one that is not."""
    plan = make_plan(epochs=2, amp="off" if run.pretends else "bf16", batch_size=8)
    expected = trained(run, "unbroken", plan)
    step, out = Run._step, run.folder / "stopped"
    for folder in (out, state_of(out)):
        shutil.rmtree(folder, ignore_errors=True)

    def stopping(own: Run) -> int:
        if own.progress.epoch == 1 and own.progress.step == 2:
            raise Stopped
        return step(own)

    Run._step = stopping  # type: ignore[method-assign]
    try:
        train(plan, images(), out, "cuda", state_folder=state_of(out))
    except Stopped:
        pass
    finally:
        Run._step = step  # type: ignore[method-assign]
    train(plan, images(), out, "cuda", state_folder=state_of(out))
    found = load_file(out / "model.safetensors")
    same = all(torch.equal(found[key], expected[key]) for key in expected)
    run.check(
        "training resumes to the bit", "equal" if same else "differs", "equal bytes", holds=same
    )
