"""Processes that share stage two, as `torchrun` starts them: what they send, and how one dies."""

import signal

import pytest
from rank_samples import run_ranks

from tests.comparing.compare_samples import make_store

PROGRAM = """
import os, signal
import torch
from ltood.core.crew import Part
from ltood.runtime.console import one_line_errors
from ltood.runtime.crew import crew_of
from ltood.runtime.distributed import LostRankError, ranks_from_environment
from ltood.runtime.wires import Gloo

with one_line_errors(), ranks_from_environment() as ranks:
    own, world = ranks.rank, ranks.world_size
    wire = Gloo(Part(own, world))
    assert wire.everyone({"rank": own}) == [{"rank": 0}, {"rank": 1}]
    assert wire.to_first(own) == (None if own else [0, 1])
    assert wire.add(torch.tensor([own + 1.5])).tolist() == [4.0]
    for dtype in (torch.bool, torch.int64, torch.float32, torch.float64):
        gathered = wire.gather(torch.tensor([own], dtype=dtype))
        assert [part.tolist() for part in gathered] == [[0], [1]]
    # Process i gives i + j rows of its number to process j.
    parts = [torch.full((own + to, 2), own) for to in range(world)]
    found = wire.swap(parts, [by + own for by in range(world)])
    assert [part.tolist() for part in found] == [[[by, by]] * (by + own) for by in range(world)]
    crew = crew_of(ranks, torch.device("cpu"))
    if own == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        crew.agreed(lambda: crew.summed(lambda: (torch.ones(3),)))
    except LostRankError:
        # Training and extraction have no crew; they meet so.
        ranks.barrier()
"""


def test_what_is_sent_arrives_and_a_death_ends_the_others_in_a_sentence():
    said, _ = run_ranks(PROGRAM, codes=[1, -signal.SIGKILL])
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "process 0 of 2 cannot go on: process 1 has ended" in line
    assert "Traceback" not in said


COMPARED = """
import os, signal, sys
from pathlib import Path
from ltood.cli import main
from ltood.methods import energy

take = energy.Entry._score

def dies(self, batch):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, batch)

if sys.argv[3] == "dies":
    energy.Entry._score = dies
import ltood.scoring.sources
ltood.scoring.sources.BATCH_BYTES = 500
sys.argv = ["ltood", "compare", "--store", sys.argv[1], "--out", sys.argv[2]]
sys.argv += ["--method", "energy", "--method", "knn", "--set", "knn.k=3"]
main()
"""


@pytest.mark.slow
def test_a_killed_comparison_leaves_nothing_and_runs_again(tmp_path):
    store, out = make_store(tmp_path), tmp_path / "out put"
    said, _ = run_ranks(COMPARED, store.path, out, "dies", codes=[1, -signal.SIGKILL])
    assert "process 0 of 2" in said
    assert not (out / "leaderboard.json").exists()
    run_ranks(COMPARED, store.path, out, "lives")
    assert (out / "leaderboard.json").exists()
