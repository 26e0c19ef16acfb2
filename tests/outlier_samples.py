"""What tests of recipes with outliers share: a linear net for golden batches, and tiny runs."""

import csv

import torch
from conftest import load_golden
from image_samples import TinyImages, extract_tiny, make_plan, train_tiny
from torch import nn

from ltood.core.prior import ClassPrior
from ltood.networks.backbone import Backbone, ImageSpec
from ltood.recipes._base import StepBatch
from ltood.store.features import FeatureStore


class LinearNet(Backbone):
    """Pixels as features, and a head."""

    def __init__(self, weight, bias, num_aux_outputs=0):
        num_classes = len(bias) - num_aux_outputs
        super().__init__(ImageSpec(1, 8, 8, (0.5,), (0.3,), num_classes, num_aux_outputs))
        self.head = nn.Linear(weight.shape[1], len(bias)).double()
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(weight))
            self.head.bias.copy_(torch.tensor(bias))

    @property
    def feature_dim(self):
        return self.head.in_features

    @property
    def preprocessing(self):
        return {}

    def embed(self, images):
        return images.flatten(1), None

    def classify(self, pooled):
        return self.head(pooled)

    def head_arrays(self):
        return {}


class GoldenStep:
    """The published step: two views of 24 rows, 24 outliers and a head, in float64."""

    def __init__(self, num_aux_outputs=0):
        self.arrays = golden = load_golden("losses")
        weight = torch.tensor(golden["W_in"]), torch.tensor(golden["W_extra"][:num_aux_outputs])
        bias = torch.tensor(golden["b_in"]), torch.tensor(golden["b_extra"][:num_aux_outputs])
        self.backbone = LinearNet(
            torch.cat(weight).numpy(), torch.cat(bias).numpy(), num_aux_outputs
        )
        self.prior = ClassPrior(golden["class_counts"])
        self.rows = torch.tensor(golden["train_feats"], dtype=torch.float64, requires_grad=True)
        first, second, aux = self.rows.view(3, 24, 1, 8, 8)
        labels = torch.tensor(golden["train_labels"])
        self.batch = StepBatch((first, second), labels, aux, 0, 1, torch.Generator(), self.backbone)

    def terms(self, recipe):
        recipe.double()
        # The official code divides by counts in float64, which the float32 buffer rounds.
        recipe.shift = torch.tensor(recipe.config.tau * self.prior.log())
        return recipe.losses(self.batch)

    def assert_gradients(self, terms, name):
        """Compare the gradients of the sum with the published ones of `name`."""
        sum(terms.values()).backward()
        pairs = ((self.rows.grad, "feats"), (self.backbone.head.weight.grad, "head"))
        for found, kind in pairs:
            expected = torch.tensor(self.arrays[f"f64_train_{name}_grad_{kind}"])
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def train_and_extract(folder, recipe, settings=None, **training):
    """Train the tiny net with `recipe`; rows of its history and the store of its features."""
    images = TinyImages()
    plan = make_plan(recipe=recipe, recipe_settings=settings, **training)
    train_tiny(folder / "checkpoint", plan, images)
    assert "aux" in images.read
    with (folder / "checkpoint" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    extract_tiny(folder / "checkpoint", folder / "features", {}, images)
    return history, FeatureStore.open(folder / "features")
