import math

import pytest
import torch

from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.types import FitInputs
from ltood.ops.shaping import check_clip, clip_above, clip_ceiling


def test_clipping_makes_a_new_tensor():
    features = torch.tensor([[-5.0, 0.5, 2.0]])
    assert clip_above(features, 1.0).tolist() == [[-5.0, 0.5, 1.0]]
    assert clip_above(features, torch.tensor(math.inf)).tolist() == features.tolist()
    assert features[0, 2] == 2


def test_a_ceiling_comes_from_the_setting():
    inputs = FitInputs.of(torch.arange(101.0)[:, None], torch.zeros(101, dtype=torch.int64))
    assert clip_ceiling(1.5, 98.0, FitInputs()) == 1.5
    assert clip_ceiling(None, 98.0, FitInputs()) == math.inf
    assert clip_ceiling("auto", 98.0, inputs) == pytest.approx(98.0)
    with pytest.raises(MissingNeedError, match="training features are needed"):
        clip_ceiling("auto", 98.0, FitInputs())


def test_ranges():
    for clip in (0.5, "auto", None, math.inf):
        check_clip(clip, 98.0, "methods.x", "p")
    with pytest.raises(ConfigError, match=r"methods.x.clip is 0; give the largest activation"):
        check_clip(0, 98.0, "methods.x", "p")
    with pytest.raises(ConfigError, match=r"methods.x.p is -2; a percentile lies between"):
        check_clip(None, -2, "methods.x", "p")
