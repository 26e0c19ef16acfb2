"""Exact neighbours on the CPU: our blocked product beside FAISS's flat index, same run.

    python benchmarks/neighbours.py

Prints processor and wall seconds for 4,096 queries and the share of equal neighbours.
"""

import time

import faiss
import torch
from torch.nn.functional import normalize

from ltood.ops.neighbours import Nearest, search

QUERIES = 4096


def main() -> None:
    torch.manual_seed(0)
    print(f"{'bank':>14} {'k':>5} {'ours cpu':>9} {'wall':>6} {'faiss cpu':>10} {'wall':>6}  ratio")
    for rows, dim in ((50_000, 512), (20_000, 2048)):
        bank = normalize(torch.randn(rows, dim), dim=1)
        queries = normalize(torch.randn(QUERIES, dim), dim=1)
        for k in (1, 50, 200, 1000):
            ours, first = _time(search, queries, bank, k)
            theirs, second = _time(search_with_faiss, queries, bank, k)
            equal = (first.indices == second.indices).float().mean()
            assert equal > 0.99, equal
            print(
                f"{rows:>7}x{dim:<6} {k:>5} {ours[0]:>9.2f} {ours[1]:>6.2f} {theirs[0]:>10.2f} "
                f"{theirs[1]:>6.2f}  {theirs[0] / ours[0]:.1f}"
            )


def search_with_faiss(queries: torch.Tensor, bank: torch.Tensor, k: int) -> Nearest:
    """Exact search by FAISS's flat index on the CPU."""
    squared, indices = faiss.knn(queries.contiguous().numpy(), bank.numpy(), k)
    return Nearest(torch.from_numpy(squared).clamp(min=0).sqrt(), torch.from_numpy(indices))


def _time(search, queries, bank, k) -> tuple[tuple[float, float], Nearest]:
    cpu, wall = time.process_time(), time.perf_counter()
    found = search(queries, bank, k)
    return (time.process_time() - cpu, time.perf_counter() - wall), found


if __name__ == "__main__":
    main()
