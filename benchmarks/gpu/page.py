"""The page of one run."""

import platform
from collections import Counter

import torch

from benchmarks.gpu.acceptance import CUDA, Acceptance

SHOWN = {"pass": "kept", "fail": "**missed**", "note": "-"}


def page(run: Acceptance, cores: int) -> str:
    """All findings as Markdown."""
    counts = Counter(finding.verdict for finding in run.findings)
    card = "a pretended GPU" if run.pretends else torch.cuda.get_device_name(CUDA)
    lines = [
        "# Acceptance on a GPU",
        "",
        f"`python -m benchmarks.gpu` on {card}, {cores} cores, torch {torch.__version__} (CUDA "
        f"{torch.version.cuda}), Python {platform.python_version()}: {counts['pass']} bounds kept, "
        f"{counts['fail']} missed, in {run.elapsed():.0f} s.",
        "",
    ]
    if run.pretends:
        lines += [
            "Nothing here ran on a GPU: numbers are those of a CPU, and times mean nothing.",
            "",
        ]
    elif run.quick:
        lines += ["Small sizes (`--quick`): times mean nothing.", ""]
    lines += ["| What | Found | Asked | |", "|---|---|---|---|"]
    for finding in run.findings:
        found = finding.found.replace("|", "\\|")
        verdict = SHOWN[finding.verdict]
        lines.append(f"| {finding.name} | {found} | {finding.bound or '-'} | {verdict} |")
    return "\n".join([*lines, ""])
