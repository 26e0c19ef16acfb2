import torch
from torch import nn

from ltood.backbones.mobilenet_v2 import Config, Entry
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import assign_weights

RGB = ImageSpec(3, 32, 32, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 10)


def test_published_number_of_parameters():
    with torch.device("meta"):
        net = Entry(Config(), ImageSpec(3, 224, 224, RGB.mean, RGB.std, 1000))
    assert sum(p.numel() for p in net.parameters()) == 3_504_872
    assert net.feature_dim == 1280


def test_last_norm_stands_before_pooling():
    net = Entry(Config(), RGB)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert net.last_norm is norms[-1]
    assert net.head_arrays()["bn_weight"].shape == (1280,)


def test_features_lie_between_0_and_6():
    net = Entry(Config(), RGB).eval()
    with torch.inference_mode():
        pooled = net(torch.rand(2, 3, 32, 32)).pooled
    assert (pooled >= 0).all()
    assert (pooled <= 6).all()


def test_dropout_acts_only_in_training():
    net = Entry(Config(), RGB)
    pooled = torch.rand(2, 1280)
    assert not torch.equal(net.classify(pooled), net.classify(pooled))
    net.eval()
    assert torch.equal(net.classify(pooled), net.classify(pooled))


def test_names_of_torchvision_are_translated():
    published, net = Entry(Config(), RGB), Entry(Config(), RGB)
    state = {
        name.replace("head.", "classifier.1.").removeprefix("net."): value
        for name, value in published.state_dict().items()
        if name not in ("mean", "std")
    }
    assert {"features.0.0.weight", "features.18.1.bias", "classifier.1.bias"} < set(state)
    assign_weights(net, state, "published")
    for name, value in published.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
