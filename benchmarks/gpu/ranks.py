"""NCCL: with one rank what training sends, with two GPUs a whole training."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.gpu.acceptance import CUDA, Acceptance, gap

ROOT = Path(__file__).parents[2]
#: Two trainings of two epochs, which differ by rounding only.
TOLERANCE = 1e-2
_TRAINING = """
import sys
sys.path[:0] = [".", "tests"]
from pathlib import Path
from image_samples import TinyImages, make_plan, state_of
from ltood.runtime.distributed import ranks_from_environment
from ltood.training.train import train
out = Path(sys.argv[1])
with ranks_from_environment() as ranks:
    plan = make_plan(epochs=2, amp="off", learning_rate=0.01)
    train(plan, TinyImages(channels=3), out, "auto", state_folder=state_of(out), ranks=ranks)
"""


def one_rank(run: Acceptance) -> None:
    """Gathering, adding and shared norms through NCCL, by themselves."""
    if run.pretends or not dist.is_nccl_available():
        run.say("note", "NCCL with one rank", "left out: there is no NCCL here")
        return
    from ltood.training.buckets import add_up, take_from_first
    from ltood.training.sharing import AllGather, AllReduce

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl", init_method=f"file://{folder}/ranks", rank=0, world_size=1
        )
        try:
            rows = torch.randn(8, 5, device=CUDA, requires_grad=True)
            gathered = AllGather.apply(rows, [8], 0)
            total = AllReduce.apply(gathered.sum())
            total.backward()
            assert rows.grad is not None
            exact = torch.equal(gathered, rows) and bool((rows.grad == 1).all())
            parameters = [nn.Parameter(torch.randn(7, 3, device=CUDA)) for _ in range(3)]
            kept = [value.detach().clone() for value in parameters]
            add_up(value.data for value in parameters)
            take_from_first(value.data for value in parameters)
            exact &= all(map(torch.equal, parameters, kept))
        finally:
            dist.destroy_process_group()
    run.check(
        "NCCL with one rank",
        f"rows, gradients and buckets {'equal' if exact else 'differ'}",
        "equal",
        holds=exact,
    )


def two_ranks(run: Acceptance) -> None:
    """A training that two GPUs share."""
    if torch.cuda.device_count() < 2:
        run.say("note", "two GPUs", "left out: there is one; several ranks and cuda:1 are unproved")
        return
    from safetensors.torch import load_file

    found = []
    script = run.folder / "train_ranks.py"
    script.write_text(_TRAINING)
    for num in (1, 2):
        out = run.folder / f"ranks-{num}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={num}", str(script), str(out)]
        subprocess.run(command, check=True, timeout=180, cwd=ROOT)
        found.append(load_file(out / "model.safetensors"))
    one, two = found
    far = max(gap(two[key], one[key]) for key in one if one[key].ndim > 1)
    run.check(
        "two GPUs train as one",
        f"{far:.1e} of the weights' range",
        f"{TOLERANCE:g}",
        holds=far < TOLERANCE,
    )
