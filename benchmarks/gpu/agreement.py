"""Stage two on a GPU: the scores of a CPU, and the same ones every time."""

import torch
from conftest import make_toy

from benchmarks.gpu.acceptance import CUDA, Acceptance, gap
from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.batches import FeatureBatch
from ltood.core.registry import available, load
from ltood.ops.logits import energy
from ltood.ops.neighbours import Neighbours, _faiss_has_gpus, search
from ltood.ops.pairs import SimilarityBank
from ltood.runtime.devices import scoring_on
from ltood.store.features import FeatureStore
from tests.device.moving import moved, moved_inputs
from tests.methods.test_contract import METHODS, fitted, joined, raw_scores

#: Largest difference from a CPU's scores, relative to their range.
TOLERANCE = 1e-4
#: Largest difference of an AUROC of a real-sized store, in fractions.
AUROC_TOLERANCE = 2e-4
#: Share of neighbours that must be the exact ones: the others are ties to rounding.
SAME_NEIGHBOURS = 0.999


def methods(run: Acceptance) -> None:
    """Every method against the CPU, and twice against itself."""
    toy = make_toy()
    gaps, unequal = {}, []
    for name in METHODS:
        with run.part(f"method {name}"):
            expected = raw_scores(fitted(name, toy.inputs), joined(toy))
            with scoring_on(CUDA):
                first, second = (
                    raw_scores(fitted(name, moved_inputs(toy)), moved(joined(toy))).cpu()
                    for _ in range(2)
                )
            gaps[name] = gap(first, expected)
            if not torch.equal(first, second):
                unequal.append(name)
    run.agree(f"{len(gaps)} of {len(METHODS)} methods", gaps, TOLERANCE, len(METHODS))
    run.check(
        "scores repeat", f"differ: {unequal or 'none'}", "equal bits twice", holds=not unequal
    )


def calibrators_and_normalisers(run: Acceptance) -> None:
    """Every calibrator and normaliser against the CPU."""
    toy = make_toy()
    gaps: dict[str, float] = {}
    with torch.no_grad():
        for name in available("calibrators"):
            with run.part(f"calibrator {name}"):
                entry = load("calibrators", name).Entry
                own = entry().fit(toy.inputs)
                with scoring_on(CUDA):
                    there = entry().fit(moved_inputs(toy))
                    batch = moved(toy.id_batch)
                    found = there._transform(batch.features), there._adjust_logits(batch.logits)
                gaps[name] = max(
                    gap(found[0], own._transform(toy.id_batch.features)),
                    gap(found[1], own._adjust_logits(toy.id_batch.logits)),
                )
        for name in available("normalisers"):
            with run.part(f"normaliser {name}"):
                entry = load("normalisers", name).Entry
                base = energy(toy.id_batch.logits)
                expected = entry(base="energy").fit(toy.inputs)._normalise(base, toy.id_batch)
                with scoring_on(CUDA):
                    batch = moved(toy.id_batch)
                    normaliser = entry(base="energy").fit(moved_inputs(toy))
                    there = normaliser._normalise(energy(batch.logits), batch)
                gaps[name] = gap(there, expected)
    run.agree(f"{len(gaps)} calibrators and normalisers", gaps, TOLERANCE)


def comparing(run: Acceptance) -> None:
    """The leaderboard of a store with many rows and classes, on both devices and twice."""
    from benchmarks.gpu.stores import random_store

    rows, dim, classes = run.size(3_000, 120), run.size(128, 12), run.size(20, 4)
    path = random_store(run.folder / "compared.zarr", rows, dim, classes, dtype="float32")
    store = FeatureStore.open(path)
    config = Config(methods=("energy", "knn", "mahalanobis", "react") if run.quick else "all")
    boards = []
    for device in ("cpu", "cuda", "cuda"):
        board, _ = compare(store, config, {"methods": {"knn": {"k": 5}}}, device=device)
        done = [row for row in board["rows"] if row["status"] == "ok"]
        boards.append({row["method"]: row["ood"]["random"]["auroc"] for row in done})
    own, there, again = boards
    gaps = {name: abs(own[name] - there[name]) for name in own if name in there}
    far = {name: f"{value:.1e}" for name, value in gaps.items() if value > AUROC_TOLERANCE}
    lone = sorted(set(own) ^ set(there))
    run.check(
        f"compare over {len(own)} methods agrees with the CPU",
        f"largest difference of an AUROC {max(gaps.values(), default=1.0):.1e}, beyond: "
        f"{far or 'none'}, on one device only: {lone or 'none'}",
        f"{AUROC_TOLERANCE:g}",
        holds=bool(gaps) and not far and not lone,
    )
    same = there == again
    run.check("leaderboards repeat", "equal" if same else "differ", "equal twice", holds=same)


def neighbours(run: Acceptance) -> None:
    """The search on the card against exact products, and the memory that it takes."""
    rows, dim = run.size(400_000, 3_000), run.size(2_048, 16)
    bank, queries = torch.randn(rows, dim, device=CUDA), torch.randn(2_048, dim, device=CUDA)
    run.say(
        "note",
        "FAISS",
        "searches on the GPU" if _faiss_has_gpus() else "has no GPU; torch searches",
    )
    flop = 2.0 * len(queries) * rows * dim
    for k in (50,) if run.quick else (50, 1_000):
        searcher = Neighbours(SimilarityBank(bank, normalise=False), k)
        few = queries[:64]
        found = searcher.search(FeatureBatch.of(few)).indices.sort(dim=1).values
        same = float((found == search(few, bank, k).indices.sort(dim=1).values).float().mean())
        extra = run.peak(lambda s=searcher: s.search(FeatureBatch.of(queries))) / (rows * dim * 4)
        seconds = run.clock(lambda s=searcher: s.search(FeatureBatch.of(queries + 0)), 3, 1)
        run.check(
            f"{k} neighbours of {rows:,}",
            f"{same:.5f} the same",
            f"{SAME_NEIGHBOURS}",
            holds=same > SAME_NEIGHBOURS,
        )
        share = flop / seconds / 1e12 / run.ceilings.get("float32", 1.0)
        run.measure(
            f"{k} neighbours, speed",
            f"{share:.2f} of the card's float32 products",
            "0.4",
            holds=share >= 0.4,
        )
        run.measure(f"{k} neighbours, memory", f"{extra:.2f} banks more", "0.3", holds=extra <= 0.3)
