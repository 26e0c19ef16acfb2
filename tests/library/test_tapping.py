import pytest
import torch

from ltood.core.errors import DataError
from ltood.library.tapping import Tap


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("test_resnet", "fc"),
        ("test_vit", "head"),
        ("test_convnext", "head.fc"),
        ("test_efficientnet", "classifier"),
        ("test_mambaout", "head.fc"),
    ],
)
def test_heads_of_timm_are_found(name, layer):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=7).eval()
    size = model.default_cfg["input_size"]
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tap = Tap(model, images)
        with tap.reading() as reader:
            logits = tap.linear(reader(images))
        assert tap.layer == layer
        torch.testing.assert_close(logits, model(images))


def test_heads_of_torchvision_are_found():
    models = pytest.importorskip("torchvision.models")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert Tap(models.mobilenet_v3_small(num_classes=7).eval(), images).layer == "classifier.3"
        squeezenet = models.squeezenet1_1(num_classes=7).eval()
        with pytest.raises(DataError, match="ran no linear layer"):
            Tap(squeezenet, images)
        tap = Tap(squeezenet, images, layer="classifier.1", pool="mean")
        with tap.reading() as reader:
            assert reader(images).shape == (2, 512)
    assert tap.head() == {}
