import numpy as np
import pytest
import torch
from reference.dice_react import dice_react as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.dice import DICE
from ltood.methods.dice import Config as DiceConfig
from ltood.methods.dice_react import Config, DICEReAct


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


def test_golden(himplos_golden, inputs):
    g = himplos_golden
    detector = DICEReAct(Config(float(g["p"]), float(g["clip"]))).fit(inputs)
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(g[f"{prefix}features"]))
        expected = -g[f"{prefix}dice_react"]
        np.testing.assert_allclose(detector.score(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, scorer):
    g, features = himplos_golden, himplos_golden["features"][:4]
    detector = DICEReAct(Config(70.0, 0.5, scorer=scorer)).fit(inputs)
    rows = (g["W"], g["b"], g["train_features"], 70.0, 0.5, scorer)
    expected = [reference(f, *rows) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_no_clip_is_dice(himplos_golden, inputs):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]))
    detector = DICEReAct(Config(clip=None)).fit(inputs)
    assert detector.derived() == {}
    assert torch.equal(detector.score(batch), DICE(DiceConfig()).fit(inputs).score(batch))


def test_the_clip_in_use_is_a_percentile_of_training(himplos_golden, inputs):
    expected = np.percentile(himplos_golden["train_features"].astype(np.float64), 98)
    assert DICEReAct().fit(inputs).derived() == {"clip": pytest.approx(expected, rel=1e-6)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": -1.0}, r"methods.dice_react.percentile is -1.0"),
        ({"clip": 0.0}, r"methods.dice_react.clip is 0.0"),
        ({"clip_percentile": 101.0}, r"methods.dice_react.clip_percentile is 101.0"),
        ({"scorer": "odin"}, r"methods.dice_react.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.dice_react.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
