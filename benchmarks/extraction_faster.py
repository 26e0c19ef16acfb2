"""What extraction gains by compiled networks, folded batch norms and JPEGs decoded at part size.

    python benchmarks/extraction_faster.py [--network NAME]... [--rounds 7] [--no-jpeg]

Random weights whose batch norms have seen two batches; one thread. Each network, its compiled and
its folded form get the same batch in turn, and the ratio of processor seconds is taken round by
round, so that other programs on the machine matter little. The difference is that of features,
over the largest one. JPEG files are smooth noise with grain. Tables in Markdown go to standard
output; those of docs/how-to/extraction.md come from here.
"""

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ltood.core.errors import ConfigError
from ltood.extraction.compiled import Compiled
from ltood.images.decoding import Geometry, decode_image
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.networks.folding import folded
from ltood.runtime.devices import deterministic

CPU = torch.device("cpu")
#: Entry, settings, side of the images, images of a batch.
NETWORKS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "DenseNet-BC-100": ("densenet_bc100", {}, 32, 32),
    "MobileNetV2": ("mobilenet_v2", {}, 224, 4),
    "EfficientNet-B0 of timm": ("timm_model", {"model": "efficientnet_b0"}, 224, 4),
    "CIFAR ResNet-18": ("cifar_resnet", {"variant": "18"}, 32, 32),
    "ResNet-50": ("resnet50", {}, 224, 4),
    "WideResNet-40-2": ("wide_resnet", {}, 32, 8),
    "ViT-B/16": ("timm_model", {"model": "vit_base_patch16_224"}, 224, 4),
}
#: Width and height of JPEG files, and how many.
JPEGS = ((4000, 3000, 4), (1600, 1200, 8), (500, 375, 40))
SIDES = (None, 512, 256)
Embed = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]


def spent(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def network(entry: str, settings: dict[str, Any], images: torch.Tensor) -> Backbone:
    """A network in evaluation mode whose batch norms are not those of a fresh one."""
    torch.manual_seed(0)
    height, width = images.shape[2:]
    spec = ImageSpec(3, height, width, (0.5,) * 3, (0.25,) * 3, 10)
    net = build_backbone(entry, settings, spec).train()
    with torch.no_grad():
        for _ in range(2):
            net.embed(images)
    return net.eval().requires_grad_(False)


def network_line(name: str, rounds: int) -> str:
    """A row of the table of networks."""
    entry, settings, side, num = NETWORKS[name]
    images = torch.rand(num, 3, side, side, generator=torch.Generator().manual_seed(1))
    net = network(entry, settings, images)
    forms: dict[str, Embed] = {"compiled": Compiled(net, num, CPU, torch.contiguous_format)}
    with contextlib.suppress(ConfigError):
        forms["folded"] = folded(net).embed
    with torch.inference_mode(), deterministic(CPU):
        start = time.perf_counter()
        forms["compiled"](images)
        seconds = time.perf_counter() - start
        expected, cells = net.embed(images)[0], [name]
        for form in ("compiled", "folded"):
            if form not in forms:
                cells += ["refused", ""]
                continue
            run = forms[form]
            run(images)
            ratios = [
                spent(lambda: net.embed(images)) / spent(lambda run=run: run(images))  # type: ignore[misc]
                for _ in range(rounds)
            ]
            far = (run(images)[0] - expected).abs().amax() / expected.abs().amax()
            cells += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
            cells += [f"{float(far):.0e}"]
    return f"| {' | '.join([*cells, f'{seconds:.0f} s'])} |"


def picture(width: int, height: int, rng: np.random.Generator) -> bytes:
    """A JPEG file of smooth colours with grain."""
    from PIL import Image

    small = rng.integers(256, size=(height // 40, width // 40, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    grain = smooth.astype(np.int16) + rng.integers(-12, 13, smooth.shape)
    file = io.BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def jpeg_line(width: int, height: int, num: int, rounds: int) -> str:
    """A row of the table of JPEG files."""
    rng, geometry = np.random.default_rng(0), Geometry((224, 224), "centre_crop", 256)
    contents = [picture(width, height, rng) for _ in range(num)]

    def pixels(side: int | None) -> np.ndarray:
        images = (decode_image(content, "", side) for content in contents)
        return np.stack([geometry(image, 0) for image in images]).astype(np.int16)

    times: dict[int | None, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            times[side].append(spent(lambda side=side: pixels(side)) / num)  # type: ignore[misc]
    whole, cells = pixels(None), [f"{width} x {height}, {len(contents[0]) / 1e6:.2f} MB"]
    for side in SIDES:
        off = np.abs(pixels(side) - whole)
        cells += [f"{1e3 * statistics.median(times[side]):.1f} ms, {off.mean():.1f} ({off.max()})"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=tuple(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-jpeg", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| network | compiled | off by | folded | off by | compiling takes |\n"
        "|---|---|---|---|---|---|"
    )
    for name in options.network or NETWORKS:
        print(network_line(name, options.rounds), flush=True)
    if not options.no_jpeg:
        print("\n| JPEG | whole | jpeg_side: 512 | jpeg_side: 256 |\n|---|---|---|---|")
        for width, height, num in JPEGS:
            print(jpeg_line(width, height, num, options.rounds), flush=True)


if __name__ == "__main__":
    main()
