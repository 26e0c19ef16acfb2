"""Processes that share rows, played by threads of one process: as many as a test likes, at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from ltood.core.crew import Part
from ltood.runtime.crew import RankCrew
from ltood.runtime.distributed import LostRankError, Ranks

_own = threading.local()

#: Seconds after which a thread that waits for another gives up.
PATIENCE = 60


class Threads:
    """A wire between threads; see `ltood.runtime.wires.Wire`."""

    def __init__(self, part, barrier, places):
        self.part, self.barrier, self.places = part, barrier, places

    def everyone(self, value):
        try:
            self.places[self.part.number] = value
            self.barrier.wait(PATIENCE)
            found = list(self.places)
            self.barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:
            raise LostRankError("another process of this run has ended") from None
        return found

    def to_first(self, value):
        found = self.everyone(value)
        return found if self.part.number == 0 else None

    def add(self, tensor):
        return torch.stack(self.everyone(tensor.clone())).sum(dim=0)

    def gather(self, tensor):
        return self.everyone(tensor.clone())

    def swap(self, parts, counts):
        found = [given[self.part.number] for given in self.everyone([p.clone() for p in parts])]
        assert [len(rows) for rows in found] == list(counts)
        return found


def crews(world, **settings):
    """A crew for each of `world` processes."""
    barrier, places = threading.Barrier(world), [None] * world
    parts = [Part(number, world) for number in range(world)]
    cpu = torch.device("cpu")
    return [RankCrew(part, cpu, Threads(part, barrier, places), **settings) for part in parts]


def run_crew(world, work, **settings):
    """What `work` gives for each of `world` crews, or the error that it raised."""
    members = crews(world, **settings)

    def run(crew):
        _own.crew = crew
        try:
            return work(crew)
        except BaseException as error:
            crew._wire.barrier.abort()  # As the end of a process does to those who wait for it.
            return error

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(run, members))


def own_crew(ranks, device, *, shares_banks=False):
    """What `ltood.runtime.crew.crew_of` gives in a thread of `run_crew`."""
    _own.crew.shares_banks = shares_banks
    return _own.crew


def ranks_of(crew):
    """The ranks that a crew stands for."""
    return Ranks(crew.part.number, crew.part.count, crew.part.number)
