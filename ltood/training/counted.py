"""Random numbers that are counted, not streamed: each draw has a seed of its own."""

import hashlib

import torch


def derive_seed(seed: int, *counters: int | str) -> int:
    """Number from 0 to 2^63 - 1 that depends on the seed and the counters only."""
    text = "/".join(str(counter) for counter in (seed, *counters))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def derive_generator(seed: int, *counters: int | str) -> torch.Generator:
    """Random numbers on the CPU that depend on the seed and the counters only."""
    return torch.Generator().manual_seed(derive_seed(seed, *counters))
