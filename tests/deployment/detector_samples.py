"""Archives, images and detectors that several tests of deployment read."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from conftest import COUNTS, make_toy
from PIL import Image

from ltood.core.building import EntrySpec
from ltood.deployment.exporting import fit_detector
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.store.exchange import import_folder

NAMES = [str(number) for number in range(len(COUNTS))]


def write_folder(folder: Path, *, val: bool = True) -> None:
    """The toy data of all tests as archives to import."""
    toy = make_toy()
    head = {
        field.name: value.numpy()
        for field in dataclasses.fields(toy.head)
        if (value := getattr(toy.head, field.name)) is not None
    }
    np.savez(folder / "head.npz", **head, class_counts=np.array(COUNTS))
    (train,) = toy.inputs.require_train().batches()
    (aux,) = toy.inputs.require_aux().batches()
    parts = {"train": train, "aux": aux, "test": toy.id_batch, "ood_far": toy.ood_batch}
    if val:
        parts["val"] = toy.id_batch
    for name, batch in parts.items():
        arrays = {"features": batch.features.numpy(), "local": batch.local.numpy()}
        if name in ("train", "val", "test"):
            arrays["labels"] = batch.labels.numpy()
        np.savez(folder / f"{name}.npz", **arrays)


SPEC = ImageSpec(3, 8, 8, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), num_classes=3)

BACKBONE = {"variant": "small", "mean": None, "std": None}


@dataclasses.dataclass
class ImageSamples:
    folder: Path
    images: np.ndarray
    checkpoint: Path
    detector: object
    weights_sha256: str

    def recorded(self, **provenance: object) -> object:
        """The detector as if its features had been extracted, not imported."""
        description = self.detector.description
        merged = {**description["provenance"], **provenance}
        return dataclasses.replace(self.detector, description={**description, "provenance": merged})


def make_image_samples(root: Path, seed: int = 0) -> ImageSamples:
    """A backbone with random weights, a detector on its features, and images as files."""
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    backbone = build_backbone("cifar_resnet", BACKBONE, SPEC).eval()
    (root / "checkpoint").mkdir()
    content = {"backbone": {"name": "cifar_resnet", "settings": BACKBONE}}
    write_checkpoint(root / "checkpoint", backbone, content)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        features = backbone(pixels).pooled.numpy()
    (root / "arrays").mkdir()
    head = backbone.head_arrays()
    np.savez(root / "arrays" / "head.npz", weight=head["weight"], bias=head["bias"])
    labels = np.arange(24) % 3
    for split in ("train", "val"):
        np.savez(root / "arrays" / f"{split}.npz", features=features, labels=labels)
    store = import_folder(root / "arrays", root / "features.zarr")
    (root / "images" / "b").mkdir(parents=True)
    for number, image in enumerate(images[:3]):
        Image.fromarray(image).save(root / "images" / ("b" if number else "") / f"{number}.png")
    np.savez(root / "images.npz", images=images)
    meta = json.loads((root / "checkpoint" / "checkpoint.json").read_text())
    detector = fit_detector(store, EntrySpec("energy"), device="cpu")
    return ImageSamples(
        root / "images", images, root / "checkpoint", detector, meta["weights_sha256"]
    )
