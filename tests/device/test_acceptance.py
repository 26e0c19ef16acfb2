"""The acceptance script: small on the pretended GPU, whole on a real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import main

ROOT = Path(__file__).parents[2]


def accepted(*options):
    """Run it in a process of its own, as users do."""
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main() == 2
    assert "ltood doctor" in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs_on_the_pretended_gpu(tmp_path):
    found = accepted("--pretend", "--out", str(tmp_path / "gpu.md"))
    assert found.returncode == 0, found.stdout + found.stderr
    page = (tmp_path / "gpu.md").read_text()
    assert "Nothing here ran on a GPU" in page
    assert "methods agree with the CPU" in page
    assert "missed" not in page.split("|", 1)[1]


@pytest.mark.gpu
@pytest.mark.timeout(900)
def test_it_holds_on_this_gpu(tmp_path):
    found = accepted("--out", str(tmp_path / "gpu.md"))
    assert found.returncode == 0, found.stdout + found.stderr
