import pytest
import torch
from image_samples import GreedyRecipe, make_plan

from ltood.core.errors import ConfigError
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.training.plan import TrainingConfig
from ltood.training.scaling import aux_scaling, mean_pixel
from training.test_batches import make_batches

CPU = torch.device("cpu")
#: The means and deviations of PATT's code: images by CIFAR's, outliers by ImageNet's.
OURS = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
THEIRS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(name="cifar_resnet", channels=3, mean=OURS[0], std=OURS[1]):
    spec = ImageSpec(channels, 8, 8, (0.4,) * channels, (0.2,) * channels, 3)
    extra = {"variant": "small"} if name == "cifar_resnet" else {}
    return build_backbone(name, {**extra, "mean": mean, "std": std}, spec)


def test_outliers_reach_the_first_layer_scaled_by_their_own_numbers():
    backbone, images = network(), torch.rand(4, 3, 8, 8)
    rescaled = aux_scaling(TrainingConfig(aux_mean=THEIRS[0], aux_std=THEIRS[1]), backbone, CPU)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in THEIRS)
    found = backbone.scaled(rescaled(images))
    torch.testing.assert_close(found, (images - mean) / std, rtol=1e-5, atol=1e-6)
    assert aux_scaling(TrainingConfig(), backbone, CPU)(images) is images


def test_only_outliers_are_rescaled():
    plain, other = (
        make_batches(GreedyRecipe, **settings).batch(0, 0)
        for settings in ({}, {"aux_mean": [0.1], "aux_std": [0.5]})
    )
    assert all(torch.equal(*pair) for pair in zip(plain.views, other.views, strict=True))
    assert not torch.equal(plain.aux, other.aux)
    assert other.aux.shape == plain.aux.shape


def test_numbers_that_do_not_fit_are_refused():
    config = TrainingConfig(aux_mean=[0.5], aux_std=[0.5])
    with pytest.raises(ConfigError, match=r"training\.aux_mean has 1 values"):
        aux_scaling(config, network(), CPU)
    with pytest.raises(ConfigError, match=r"training\.aux_mean is set, but resnet50"):
        aux_scaling(config, network("resnet50", 1, *THEIRS), CPU)
    for alone in ({"aux_mean": [0.5]}, {"aux_std": [0.5]}):
        with pytest.raises(ConfigError, match="give both"):
            TrainingConfig(**alone)


def test_the_mean_pixel_is_that_of_the_backbone():
    assert mean_pixel(network(mean=THEIRS[0], std=THEIRS[1])) == (124, 116, 104)
    assert mean_pixel(network(channels=1, mean=[0.5], std=[0.5])) == (128,)
    assert mean_pixel(network("resnet50", 1, *THEIRS)) == (114,)


def test_a_plan_without_other_numbers_is_as_before():
    assert make_plan().training.aux_mean is None
