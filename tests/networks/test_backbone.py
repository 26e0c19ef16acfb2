import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError, UnknownNameError
from ltood.networks.backbone import ImageSpec, build_backbone

GREY = ImageSpec(1, 8, 8, (0.5,), (0.25,), 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_all_pixels(rng, channels):
    images = rng.integers(0, 256, (5000, 4, 6, channels)).astype(np.uint8)
    spec = ImageSpec.of(images, 7, num_aux_outputs=2)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(spec.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(spec.std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)
    assert (spec.channels, spec.height, spec.width) == (channels, 4, 6)
    assert (spec.num_classes, spec.num_aux_outputs) == (7, 2)


def test_nearly_constant_images_keep_a_positive_deviation():
    images = np.full((300, 32, 32, 1), 200, dtype=np.uint8)
    images[0, 0, 0] = 201
    assert 0 < ImageSpec.of(images, 2).std[0] < 1e-4


@pytest.mark.parametrize("name", ["mean", "std"])
def test_one_value_for_each_channel(name):
    values = {"mean": (0.5,), "std": (0.5,), name: (0.5, 0.5)}
    with pytest.raises(DataError, match=rf"image {name} has 2 values but images have 1 channels"):
        ImageSpec(1, 8, 8, values["mean"], values["std"], 3)


def test_images_without_contrast_are_refused():
    with pytest.raises(DataError, match=r"the image std is \[0\.0\]; pixels are divided by it"):
        ImageSpec.of(np.full((2, 4, 4, 1), 9, dtype=np.uint8), 3)


def test_names_and_settings_are_checked():
    with pytest.raises(UnknownNameError, match="Did you mean cifar_resnet"):
        build_backbone("cifar_resnets", {}, GREY)
    with pytest.raises(ConfigError, match=r"backbones\.cifar_resnet has no key 'depth'"):
        build_backbone("cifar_resnet", {"depth": 18}, GREY)
