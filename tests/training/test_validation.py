"""The look at the validation split shows what the finished network gives there."""

import csv

import pytest
import torch
from image_samples import TinyImages, make_plan, train_tiny

from ltood.networks.checkpoint import load_checkpoint
from ltood.networks.checkpoint_files import HISTORY


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_accuracy_and_loss_are_those_of_the_finished_network(tmp_path, ema):
    meta = train_tiny(tmp_path, make_plan(epochs=2, ema=ema))
    last = list(csv.DictReader((tmp_path / HISTORY).read_text().splitlines()))[-1]
    backbone, _ = load_checkpoint(tmp_path)
    val = TinyImages().split("val")
    images = torch.from_numpy(val.images.copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = backbone(images).logits.double()
    losses = [
        -float(torch.log_softmax(row, dim=0)[label])
        for row, label in zip(logits, val.labels.tolist(), strict=True)
    ]
    assert float(last["val_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    right = (logits.argmax(dim=1).numpy() == val.labels).mean()
    assert float(last["val_accuracy"]) == meta["val_accuracy"] == pytest.approx(right)


def test_without_a_split_val_there_is_nothing_to_see(tmp_path):
    train_tiny(tmp_path, make_plan(epochs=1), TinyImages(splits_held=("train",)))
    (row,) = csv.DictReader((tmp_path / HISTORY).read_text().splitlines())
    assert row["val_accuracy"] == row["val_loss"] == ""
