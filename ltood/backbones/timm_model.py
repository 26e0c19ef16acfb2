"""Any image classifier of timm by its name, with its weights where asked for.

Source: Wightman, "PyTorch Image Models", https://doi.org/10.5281/zenodo.4414861 (the package
timm); each model cites its own paper there.

The features are what the model's last layer reads (`forward_head(..., pre_logits=True)`), so that
layer must be one linear layer and nothing may follow it. Both are tried on one image when the
model is built, and models that end otherwise are refused by name.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

import torch
from torch import Tensor, nn

from ltood.core.errors import ConfigError, DataError
from ltood.core.limits import Limits, Positive
from ltood.core.settings import Settings
from ltood.images.decoding import Geometry, Interpolation
from ltood.networks.backbone import ImageSpec, Pretrained
from ltood.networks.scaled import ScaledBackbone
from ltood.networks.transformers import from_torchvision
from ltood.networks.weights import HeadPolicy, assign_weights
from ltood.runtime.extras import require
from ltood.runtime.reaching import hub_or_cache

_WHERE = "backbones.timm_model"


@dataclass(frozen=True)
class Config(Settings):
    """Settings of timm's models.

    Attributes:
        model: Name in timm, such as "resnet18" or "vit_tiny_patch16_224.augreg_in21k_ft_in1k";
            what follows the point chooses among published weights.
        pretrained: Start from timm's weights. The head comes along where the data have as many
            classes as it.
        mean: Subtracted from each channel of images in [0, 1]; null takes the model's own.
        std: Divides each channel after that.
        resize: Shorter side in pixels before the centre crop; null takes the model's own. For
            weights from elsewhere, such as torchvision's.
        interpolation: Between pixels of a scaled image; null takes the model's own.
    """

    model: str = "resnet18"
    pretrained: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    resize: Annotated[int, Limits(at_least=1, at_most=8192)] | None = None
    interpolation: Interpolation | None = None

    def check(self) -> None:
        """Refuse a name that timm would download from elsewhere."""
        if ":" in self.model:
            raise self.fault(
                "model",
                f"is {self.model!r}; give a name that timm lists, and set training.weights "
                "for weights from elsewhere.",
            )

    def look_up(self) -> None:
        """Refuse a name that timm does not know, and weights that it does not have.

        Raises:
            ConfigError: If timm has no such model.
            MissingPackageError: If timm is not installed.
        """
        require("timm", "backbone timm_model")
        import timm

        try:
            known = timm.is_model(self.model.partition(".")[0])
            timm.models.get_pretrained_cfg(self.model)
        except RuntimeError as error:  # A tag that the model does not have.
            raise _unknown(self.model) from error
        if not known:
            raise _unknown(self.model)
        if self.pretrained and not timm.models.is_model_pretrained(self.model):
            raise self.fault(
                "model",
                f"is {self.model!r}, of which timm has no weights; name a file of them in "
                f"training.weights, with {_WHERE}.pretrained false, or choose another model.",
            )


class TimmNetwork(Protocol):
    """Interface of timm's classifiers."""

    pretrained_cfg: Mapping[str, Any]
    num_classes: int

    def forward_features(self, images: Tensor) -> Tensor:
        """Feature maps or tokens."""

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features or logits."""

    def get_classifier(self) -> nn.Module:
        """The last layer."""


class TimmModel(ScaledBackbone, Pretrained):
    """A model of timm; grey images are repeated to three channels.

    Attributes:
        net: The whole model.
    """

    def __init__(self, config: Config, images: ImageSpec) -> None:
        """Build the model with fresh weights.

        Args:
            config: Settings.
            images: Channels, size and numbers of outputs.

        Raises:
            ConfigError: If timm has no such model, its last layer is not one linear layer, it
                cannot see images of this size, its images are framed in a way that is not
                offered, or mean or std have another number of channels.
            MissingPackageError: If timm is not installed.
        """
        outputs = images.num_classes + images.num_aux_outputs
        net = _create(config.model, num_classes=outputs)
        own = _data_config(net)
        if own["crop_mode"] not in ("center", "squash"):
            raise ConfigError(
                f"{_WHERE}.model is {config.model!r}, whose images timm crops by "
                f"{own['crop_mode']!r}; ltood offers a centre crop and squashing, so choose "
                "another model."
            )
        mean = own["mean"] if config.mean is None else config.mean
        std = own["std"] if config.std is None else config.std
        super().__init__(images, mean, std, channels=3)
        self.config = config
        self.net = net
        self.data_config = own
        self._last_norm_name = self._probe(outputs)

    @property
    def timm(self) -> TimmNetwork:
        """The model, as timm describes it."""
        return cast("TimmNetwork", self.net)

    @property
    def linear_head(self) -> nn.Linear:
        """The last layer."""
        head = self.timm.get_classifier()
        assert isinstance(head, nn.Linear)
        return head

    @property
    def last_norm(self) -> nn.BatchNorm2d | None:
        """The batch norm that acts last before pooling, if it has the features' width."""
        if self._last_norm_name is None:
            return None
        norm = self.net.get_submodule(self._last_norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

    @property
    def geometry(self) -> Geometry:
        """Crops as timm evaluates the model."""
        _, height, width = self.data_config["input_size"]
        own: Interpolation = (
            "bicubic" if self.data_config["interpolation"] == "bicubic" else "bilinear"
        )
        kind = self.config.interpolation or own
        shorter = self.config.resize or int(max(height, width) / self.data_config["crop_pct"])
        if self.data_config["crop_mode"] == "squash":
            return Geometry((height, width), "squash", None, kind)
        return Geometry((height, width), "centre_crop", shorter, kind)

    @property
    def fixed_size(self) -> bool:
        """Whether the model sees images of one size only, as most transformers do."""
        return bool(self.timm.pretrained_cfg.get("fixed_input_size"))

    @property
    def own_weights(self) -> bool:
        """Whether timm's weights are asked for and their head is that of the data."""
        classes = self.timm.pretrained_cfg.get("num_classes")
        outputs = (self.images.num_classes, self.images.num_aux_outputs)
        return self.config.pretrained and outputs == (classes, 0)

    @property
    def names_weights(self) -> bool:
        """Whether timm's weights are asked for."""
        return self.config.pretrained

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The modules that timm lists as stages; none where maps hold their channels last."""
        if self.channels_lie_last:
            return ()
        return tuple(f"net.{stage['module']}" for stage in getattr(self.net, "feature_info", ()))

    @property
    def channels_lie_last(self) -> bool:
        """Whether the model is one of those, such as Swin."""
        return str(getattr(self.timm, "output_fmt", "NCHW")) != "NCHW"

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        maps = self.timm.forward_features(self.scaled(images))
        # Pooled in float32 whatever the network computes in: bfloat16 has 8 bits.
        return self.timm.forward_head(maps.float(), pre_logits=True), None

    def feature_maps(self, images: Tensor) -> Tensor:
        """What the model's head pools: maps [N, D, H, W], or tokens as maps [N, D, T, 1].

        Tokens that stand for no place, such as the class token, are left out.
        """
        maps = self.timm.forward_features(self.scaled(images))
        if maps.ndim == 3:
            tokens = maps[:, int(getattr(self.timm, "num_prefix_tokens", 0)) :]
            return tokens.transpose(1, 2)[..., None]
        return maps.permute(0, 3, 1, 2) if self.channels_lie_last else maps

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of timm, or of the same transformer in torchvision."""
        own, state = self.state_dict(), from_torchvision(state)
        return {
            f"net.{name}" if f"net.{name}" in own else name: value for name, value in state.items()
        }

    def fetch_weights(self) -> None:
        """Take timm's weights where the settings ask for them.

        Raises:
            DataError: If timm has none for the model, or can neither find nor download them.
        """
        if not self.config.pretrained:
            return
        model = self.config.model
        head: HeadPolicy = "given" if self.own_weights else "fresh"
        assign_weights(self, _published(model), f"timm's {model}", head=head)

    def _probe(self, outputs: int) -> str | None:
        """See on one image that the head is as it must be.

        Args:
            outputs: Number of logits wanted.

        Returns:
            Name of the batch norm that acts last before pooling, if it has the features' width.

        Raises:
            ConfigError: If the head is not a linear layer, or the model cannot see the image.
        """
        model, name = self.timm, self.config.model
        head = model.get_classifier()
        if not isinstance(head, nn.Linear) or head.bias is None or head.out_features != outputs:
            raise ConfigError(
                f"{_WHERE}.model is {name!r}, whose last layer is {type(head).__name__} and not "
                "one linear layer with a bias; choose a model with a plain linear head."
            )
        acted: list[str] = []
        hooks = [
            module.register_forward_hook(lambda *_, norm=norm: acted.append(norm))
            for norm, module in self.net.named_modules()
            # Where a block ends in a sum, the branch counts and not the shortcut.
            if isinstance(module, nn.BatchNorm2d) and "downsample" not in norm
        ]
        known = self.images.height > 0 and not self.fixed_size
        size = (self.images.height, self.images.width) if known else self.geometry.size
        images = torch.zeros(1, self.images.channels, *size)
        training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad():
                maps = model.forward_features(self.scaled(images))
                last = acted[-1] if acted else None
                pooled = model.forward_head(maps, pre_logits=True)
                is_linear = pooled.shape == (1, head.in_features) and torch.allclose(
                    head(pooled), model.forward_head(maps), rtol=1e-4, atol=1e-5
                )
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{_WHERE}.model is {name!r}, which cannot see images of {self.images.height} x "
                f"{self.images.width} pixels ({reason}); choose a model for this size."
            ) from error
        finally:
            self.net.train(training)
            for hook in hooks:
                hook.remove()
        if not is_linear:
            raise ConfigError(
                f"{_WHERE}.model is {name!r}, whose logits are not one linear layer of its "
                "features; choose a model with a plain linear head."
            )
        norm = None if last is None else self.net.get_submodule(last)
        return last if getattr(norm, "num_features", None) == head.in_features else None


def _create(model: str, **settings: Any) -> nn.Module:  # noqa: ANN401
    """A model of timm.

    Raises:
        ConfigError: If there is none of that name.
        MissingPackageError: If timm is not installed.
    """
    require("timm", "backbone timm_model")
    import timm

    try:
        net: nn.Module = timm.create_model(model, **settings)
    except (RuntimeError, ValueError) as error:
        if timm.is_model(model.partition(".")[0]) and "pretrained tag" not in str(error):
            raise
        raise _unknown(model) from error
    return net


def _unknown(model: str) -> ConfigError:
    """The error of a name that timm does not have, with those that are near."""
    import timm

    near = difflib.get_close_matches(model, [*timm.list_models(), *timm.list_pretrained()], 3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return ConfigError(
        f"{_WHERE}.model is {model!r}, which timm {timm.__version__} does not have.{hint}"
    )


def _data_config(net: nn.Module) -> dict[str, Any]:
    """Image settings that the model was published with: size, mean, std, interpolation, crop."""
    from timm.data.config import resolve_model_data_config

    resolve: Callable[[nn.Module], dict[str, Any]] = resolve_model_data_config
    return resolve(net)


def _published(model: str) -> dict[str, Tensor]:
    """Weights that timm has for a model, from its cache or the network.

    Raises:
        DataError: If there are none, or they can neither be found nor downloaded.
    """
    with hub_or_cache() as unreached:
        try:
            net = _create(model, pretrained=True)
        except Exception as error:  # every kind of network failure, by whichever client timm uses
            reason = unreached or " ".join(str(error).split())[:200]
            raise DataError(
                f"timm cannot provide the weights of {model!r} ({reason}); without a network, "
                "fetch them elsewhere and name the file in training.weights, with "
                f"{_WHERE}.pretrained false."
            ) from error
    return net.state_dict()


Entry = TimmModel
