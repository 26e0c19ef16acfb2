"""Rows whose cosines with the head are those of the golden files."""

from pathlib import Path

import numpy as np
import torch

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs


def golden(case):
    """Arrays of one case by name, `T1` or `T0.01`."""
    with np.load(Path(__file__).parent / "golden" / "clip_scores.npz") as archive:
        start = f"score_{case}_"
        return {k.removeprefix(start): archive[k] for k in archive if k.startswith(start)}


def unit(logits):
    """Unit features of which the first C coordinates are the cosines, at scale 100."""
    cosines = torch.tensor(logits).double() / 100
    rest = (1 - cosines.square().sum(dim=-1, keepdim=True)).sqrt()
    return torch.cat([cosines, rest], dim=-1).float()


def head_of(num_classes):
    weight = torch.eye(num_classes, num_classes + 1)
    return ClassifierHead(weight, torch.zeros(num_classes), logit_scale=torch.tensor(100.0))


def inputs_and_batch(case):
    g = golden(case)
    head = head_of(g["logits_global"].shape[1])
    batch = FeatureBatch.of(unit(g["logits_global"]), local=unit(g["logits_local"]))
    return FitInputs(head=head), batch


def random_rows(rng, num_classes=6, dim=8, rows=9, patches=4):
    """A head, features and local features of any length."""
    weight = rng.normal(size=(num_classes, dim)).astype(np.float32)
    features = 3 * rng.normal(size=(rows, dim)).astype(np.float32)
    local = rng.normal(size=(rows, patches, dim)).astype(np.float32)
    head = ClassifierHead(torch.tensor(weight), torch.ones(num_classes))
    batch = FeatureBatch.of(torch.tensor(features), local=torch.tensor(local))
    return FitInputs(head=head), batch, weight, features, local
