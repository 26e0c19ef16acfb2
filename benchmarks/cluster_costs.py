"""What ImageNet-1k costs on one GPU, on one node and on several, predicted from stated rates.

    python -m benchmarks.cluster_costs [--tflops 19.5] [--share 0.5] [--decode-ms 2.36] ...

Nothing is measured here. Images a second are the smallest of what the GPUs compute, what the
cores decode and what the disk takes; time is images over that. Put in the rates of your machine:
those of the spec sheet, of `python -m benchmarks.gpu` and of `benchmarks/file_training.py`. The
page goes to docs/results/cluster-costs.md.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULT = Path(__file__).resolve().parents[1] / "docs" / "results" / "cluster-costs.md"
#: Training and validation images.
TRAIN, VAL = 1_281_167, 50_000
#: A backward pass takes twice the operations of a forward pass.
FORWARD_AND_BACKWARD, EPOCHS = 3, 90
#: Labels and row numbers.
_COLUMNS = 16


@dataclass(frozen=True)
class Rates:
    """Assumptions, which the page states.

    Attributes:
        tflops: Peak of one GPU at the precision in use.
        share: Share of it that is reached.
        decode_ms: Processor time of one JPEG, in ms.
        write: Bytes a second that the disk or object store takes, of all machines together.
    """

    tflops: float
    share: float
    decode_ms: float
    write: float


@dataclass(frozen=True)
class Machine:
    """GPUs and cores of all nodes together."""

    name: str
    gpus: int
    cores: int


@dataclass(frozen=True)
class Work:
    """One pass or several over images.

    Attributes:
        name: What it is.
        images: Images that go through the network, once for each pass.
        gflop: Operations of one image, in 10^9.
        stored: Bytes written for one image.
        rows: Images of which something is written.
    """

    name: str
    images: int
    gflop: float
    stored: int = 0
    rows: int = 0


MACHINES = (
    Machine("workstation, 1 GPU, 16 cores", 1, 16),
    Machine("node, 8 GPUs, 128 cores", 8, 128),
    Machine("4 nodes, 32 GPUs, 512 cores", 32, 512),
)
_ALL = TRAIN + VAL
WORKS = (
    Work("extract ResNet-50, 2,048 float16", _ALL, 8.18, 2 * 2048 + 4 * 1000 + _COLUMNS, _ALL),
    Work("extract ViT-B/16, 768 float16", _ALL, 35.1, 2 * 768 + 4 * 1000 + _COLUMNS, _ALL),
    Work(
        "extract CLIP ViT-B/16, 512 float32 and 196 x 512 local float16",
        VAL,
        35.1,
        4 * 512 + 2 * 196 * 512 + _COLUMNS,
        VAL,
    ),
    Work(f"train ResNet-50, {EPOCHS} epochs", EPOCHS * TRAIN, FORWARD_AND_BACKWARD * 8.18),
)


def limits(work: Work, machine: Machine, rates: Rates) -> dict[str, float]:
    """Images a second that each part of a machine could do, were the others free."""
    found = {
        "compute": machine.gpus * rates.tflops * 1e3 * rates.share / work.gflop,
        "decode": machine.cores * 1e3 / rates.decode_ms,
    }
    if work.stored:
        found["write"] = rates.write / work.stored
    return found


def hours(work: Work, machine: Machine, rates: Rates) -> tuple[float, str]:
    """Hours of the work, and the part that decides them."""
    found = limits(work, machine, rates)
    slowest = min(found, key=found.__getitem__)
    return work.images / found[slowest] / 3600, slowest


def page(rates: Rates) -> str:
    """The page as Markdown."""
    lines = [
        "# Costs of ImageNet-1k on a cluster",
        "",
        "**Predictions, not measurements.** Hours are `images / min(compute, decode, write)`, with",
        "",
        "- compute = GPUs x peak x share / operations of an image: "
        f"{rates.tflops:g} TFLOPS (float32) a GPU, of which {rates.share:.0%} is assumed;",
        f"- decode = cores / {rates.decode_ms:g} ms, which "
        "[one JPEG of 500 x 375 pixels took here](file-training.md);",
        f"- write = {rates.write / 1e9:g} GB/s (assumed) / bytes of a stored row.",
        "",
        "Start-up, and waiting for a file system of many nodes, are left out. Training adds",
        "the exchange of gradients, which is not modelled: count on more on several nodes.",
        "`python -m benchmarks.cluster_costs --tflops 19.5` writes this page with other rates.",
        "",
        "| work | machine | time | GPU hours | limited by | GB stored |",
        "|---|---|---:|---:|---|---:|",
    ]
    for work in WORKS:
        for machine in MACHINES:
            taken, slowest = hours(work, machine, rates)
            stored = f"{work.rows * work.stored / 1e9:.1f}" if work.rows else ""
            lines.append(
                f"| {work.name} | {machine.name} | {_time(taken)} | {taken * machine.gpus:.1f} "
                f"| {slowest} | {stored} |"
            )
    return "\n".join([*lines, ""])


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 2 else f"{60 * hours:.1f} min"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=19.5, help="peak of one GPU")
    parser.add_argument("--share", type=float, default=0.5, help="share of it that is reached")
    parser.add_argument("--decode-ms", type=float, default=2.36, help="processor time of one JPEG")
    parser.add_argument("--write-gb", type=float, default=0.5, help="GB/s that the disk takes")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    rates = Rates(given.tflops, given.share, given.decode_ms, given.write_gb * 1e9)
    if min(rates.tflops, rates.share, rates.decode_ms, rates.write) <= 0:
        parser.error("rates must be above 0")
    given.out.write_text(page(rates))


if __name__ == "__main__":
    main()
