"""Extraction on a GPU: equal bytes, whole logits, prediction alike, and its rates."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.acceptance import CUDA, Acceptance
from benchmarks.gpu.stores import Images, random_checkpoint, random_images
from ltood.core.building import EntrySpec
from ltood.deployment.exporting import fit_detector
from ltood.deployment.images import Embedder
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.images.checking import check_files
from ltood.images.decoding import decode, decoding_threads
from ltood.images.files import ImageFiles
from ltood.networks.checkpoint import load_checkpoint
from ltood.runtime.devices import autocast, deterministic
from ltood.store.features import FeatureStore

#: Of the slowest of network, decoding and writing alone.
TARGET = 0.95
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNet-50": ("resnet50", {}),
    "ViT-B/16": ("timm_model", {"model": "vit_base_patch16_224"}),
}
SMALL = ("cifar_resnet", {"variant": "small", "mean": None, "std": None})


def _store(run: Acceptance, trained: Path, data: Images, config: ExtractionConfig) -> FeatureStore:
    out = run.folder / "extracted.zarr"
    for folder in (out, out.with_name("extracting")):
        shutil.rmtree(folder, ignore_errors=True)
    extract(trained, data, out, config, device_name="cuda")
    return FeatureStore.open(out)


def results(run: Acceptance) -> None:
    """What extraction stores: twice the same, logits of the head, and what predict computes."""
    side, rows, batch = run.size(64, 16), run.size(512, 24), run.size(64, 8)
    trained = random_checkpoint(run.folder / "small", *SMALL, side)
    data = random_images(rows, side)
    for amp in ("off",) if run.pretends else ("off", "bf16"):
        config = ExtractionConfig(amp=amp, batch_size=batch, rows_per_chunk=batch)  # type: ignore[arg-type]
        first, second = (
            _store(run, trained, data, config).split("train").load(["features", "logits"])
            for _ in range(2)
        )
        same = all(np.array_equal(first[key], second[key]) for key in first)
        run.check(
            f"extraction repeats, amp {amp}",
            "equal" if same else "differs",
            "equal bytes",
            holds=same,
        )
        store = FeatureStore.open(run.folder / "extracted.zarr")
        head = {key: value.astype(np.float64) for key, value in store.head_arrays().items()}
        logits = first["features"].astype(np.float64) @ head["weight"].T + head["bias"]
        far = float(np.abs(logits - first["logits"]).max() / np.ptp(logits))
        run.check(
            f"logits are the head's, amp {amp}",
            f"{far:.1e} of their range",
            "1e-5",
            holds=far < 1e-5,
        )
        detector = fit_detector(store, EntrySpec("energy"), device="cuda", threshold_split="train")
        pixels = np.array(data.source("train").pixels[:batch])
        found = Embedder.open(trained, detector).features(pixels)[0].cpu().numpy()
        stored = first["features"][:batch]
        far = float(np.abs(found - stored).max() / np.abs(stored).max())
        run.check(
            f"predict gives stored features, amp {amp}", f"{far:.1e}", "1e-6", holds=far <= 1e-6
        )


def faster(run: Acceptance) -> None:
    """Compiled and folded networks: the features of the plain one, and how fast they are."""
    side, batch = run.size(64, 16), run.size(64, 8)
    trained = random_checkpoint(run.folder / "faster", *SMALL, side)
    data = random_images(run.size(512, 24), side)
    # The pretended device has nothing to compile for.
    forms = ("fold_batch_norm",) if run.pretends else ("fold_batch_norm", "compile")
    plain = _stored(run, trained, data, ExtractionConfig(batch_size=batch))
    for form in forms:
        config = ExtractionConfig(batch_size=batch, **{form: True})  # type: ignore[arg-type]
        first, second = (_stored(run, trained, data, config) for _ in range(2))
        far = float(np.abs(first - plain).max() / np.abs(plain).max())
        run.check(f"{form} gives stored features", f"{far:.1e}", "1e-4", holds=far <= 1e-4)
        same = np.array_equal(first, second)
        found = "equal" if same else "differs"
        run.check(f"{form} repeats", found, "equal bytes", holds=same)
    if run.quick:
        return
    name, settings = NETWORKS["ResNet-50"]
    trained = random_checkpoint(run.folder / "ResNet-50-faster", name, settings, 224)
    arrays = random_images(6_144, 224)
    rates = {
        compiles: _rate(run, trained, arrays, ExtractionConfig(amp="bf16", compile=compiles))
        for compiles in (False, True)
    }
    gain = rates[True] / rates[False]
    run.say(
        "note", "ResNet-50, bf16, compiled", f"{rates[True]:,.0f} images/s, {gain:.2f} of plain"
    )


def _stored(run: Acceptance, trained: Path, data: Images, config: ExtractionConfig) -> np.ndarray:
    (found,) = _store(run, trained, data, config).split("train").load(["features"]).values()
    return np.array(found)


def rates(run: Acceptance) -> None:
    """Images a second of the stage, beside network, decoding and writing alone."""
    side = run.size(224, 16)
    networks = {"small ResNet": SMALL} if run.quick else NETWORKS
    rows = run.size(6_144, 24)
    arrays, files = random_images(rows, side), _jpegs(run, run.size(4_096, 12))
    decoding = _decoding_rate(run, files, side)
    for title, (name, settings) in networks.items():
        trained = random_checkpoint(run.folder / title.replace("/", "-"), name, settings, side)
        for amp in ("off",) if run.pretends else ("off", "bf16"):
            with run.part(f"extraction of {title}, amp {amp}"):
                config = ExtractionConfig(amp=amp, batch_size=run.size(256, 8))  # type: ignore[arg-type]
                bare = _bare_rate(run, trained, amp, side)
                rate = _rate(run, trained, arrays, config)
                _say(run, f"{title}, amp {amp}, from arrays", rate, {"network": bare})
                if name != SMALL[0]:  # It takes images as they are.
                    rate = _rate(run, trained, files, config)
                    _say(
                        run,
                        f"{title}, amp {amp}, from JPEG",
                        rate,
                        {"network": bare, "decoding": decoding},
                    )


def _say(run: Acceptance, title: str, rate: float, alone: dict[str, float]) -> None:
    slowest = min(alone, key=lambda name: alone[name])
    share = rate / alone[slowest]
    parts = ", ".join(f"{name} alone {value:,.0f}" for name, value in alone.items())
    run.measure(
        f"extraction of {title}",
        f"{rate:,.0f} images/s, {share:.2f} of {slowest} ({parts})",
        f"{TARGET}",
        holds=share >= TARGET,
    )


def _rate(run: Acceptance, trained: Path, data: Images, config: ExtractionConfig) -> float:
    """Images a second, without what a run costs once."""
    source = data.source("train")
    part = Images(source.take(np.arange(len(source) // 4)))

    def seconds(images: Images) -> float:
        start = time.perf_counter()
        _store(run, trained, images, config)
        return time.perf_counter() - start

    seconds(part)
    once, whole = seconds(part), seconds(data)
    more = len(source) - len(part.source("train"))
    return more / max(whole - once, 1e-9)


def _bare_rate(run: Acceptance, trained: Path, amp: str, side: int) -> float:
    """Images a second of the network on a batch that lies on the card."""
    backbone, _ = load_checkpoint(trained, CUDA)
    backbone = backbone.to(memory_format=torch.channels_last)
    images = torch.rand(run.size(256, 8), 3, side, side, device=CUDA)
    images = images.contiguous(memory_format=torch.channels_last)
    precision = "bfloat16" if amp == "bf16" else "float32"
    with torch.inference_mode(), deterministic(CUDA), autocast(CUDA, precision):  # type: ignore[arg-type]
        return len(images) / run.clock(lambda: backbone.embed(images), 10, 3)


def _jpegs(run: Acceptance, rows: int) -> Images:
    """A folder of JPEG files of about ImageNet's size; few contents, many files."""
    from benchmarks.file_training import drawn

    root, rng = run.folder / "jpeg", np.random.default_rng(0)
    root.mkdir()
    kinds = min(rows, 32)
    for row in range(rows):
        path = root / f"{row}.jpg"
        if row < kinds:
            drawn(rng, (500, 375), row).save(path, quality=90)
        else:
            path.write_bytes((root / f"{row % kinds}.jpg").read_bytes())
    paths = tuple(f"{row}.jpg" for row in range(rows))
    numbers = np.arange(rows, dtype=np.int64)
    return Images(check_files(ImageFiles(root, paths, numbers % 10, numbers)).files)


def _decoding_rate(run: Acceptance, files: Images, side: int) -> float:
    """Images a second of decoding and resizing alone."""
    from ltood.images.decoding import Geometry

    source, geometry = (
        files.source("train"),
        Geometry((side, side), "centre_crop", run.size(256, 18)),
    )
    rows, size = len(source), run.size(256, 6)
    decode(source, range(min(size, rows)), geometry)
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:  # The next batch begins while the last images are done.
        blocks = [range(first, min(first + size, rows)) for first in range(0, rows, size)]
        list(pool.map(lambda block: len(decode(source, block, geometry)), blocks))
    rate = rows / (time.perf_counter() - start)
    run.say("note", "decoding of JPEG", f"{rate:,.0f} images/s by {decoding_threads()} threads")
    return rate
