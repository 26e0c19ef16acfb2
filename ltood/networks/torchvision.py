"""Networks of torchvision as backbones, with the weights that it publishes for ImageNet.

The network is torchvision's own, with its last layer taken out to be our head. Weights are
fetched once into torch's cache and compared with the digest in their file name.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ltood.core.errors import DataError
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.images.decoding import Geometry
from ltood.networks.backbone import ImageSpec, Pretrained
from ltood.networks.repositories import IMOOD, PASCL, PATT, Repository
from ltood.networks.scaled import ScaledBackbone, rename
from ltood.networks.weights import load_weights
from ltood.runtime.console import log
from ltood.runtime.extras import require

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class TorchvisionConfig(Settings):
    """Settings that the networks of torchvision share.

    Attributes:
        weights: Name of published weights; null starts from fresh ones. The head comes along
            where the data have ImageNet's 1,000 classes.
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images. The default is ImageNet's, for which weights are published.
        std: Divides each channel after that.
    """

    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_V2"] | None = None
    mean: tuple[float, ...] | None = IMAGENET_MEAN
    std: tuple[Positive, ...] | None = IMAGENET_STD


class TorchvisionBackbone(ScaledBackbone, Pretrained):
    """A network of torchvision whose last layer is one linear layer.

    Grey images are repeated to three channels.

    Attributes:
        net: The network without its head; gives pooled features.
        head: Its last layer.
    """

    repositories: ClassVar[tuple[Repository, ...]] = (PASCL, PATT, IMOOD)
    #: torchvision's name of the network, of its last layer, of its last batch norm, and of the
    #: module that gives the last feature map.
    model_name: ClassVar[str]
    head_name: ClassVar[str]
    norm_name: ClassVar[str]
    map_name: ClassVar[str]
    #: Names of the modules that end a stage.
    stage_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TorchvisionConfig, images: ImageSpec) -> None:
        """Build the net with fresh weights.

        Args:
            config: Settings.
            images: Channels, pixel statistics and numbers of outputs.

        Raises:
            ConfigError: If mean or std have another number of channels than the images.
            MissingPackageError: If torchvision is not installed.
        """
        require("torchvision", f"backbone {self.entry_name}")
        from torchvision.models import get_model

        super().__init__(images, config.mean, config.std, channels=3)
        self.config = config
        self.net: nn.Module = get_model(
            self.model_name, weights=None, num_classes=images.num_classes + images.num_aux_outputs
        )
        head = self.net.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        self.head = head
        self.take_out_head()
        self.net.get_submodule(self.map_name).register_forward_hook(_widened)

    @abstractmethod
    def take_out_head(self) -> None:
        """Let `net` end with the pooled features."""

    @property
    def linear_head(self) -> nn.Linear:
        """The last layer."""
        return self.head

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The last batch norm before pooling."""
        norm = self.net.get_submodule(self.norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

    @property
    def geometry(self) -> Geometry:
        """Crops of 224 pixels, as torchvision evaluates its weights."""
        shorter = 232 if self.config.weights == "IMAGENET1K_V2" else 256
        return Geometry((224, 224), "centre_crop", shorter)

    @property
    def own_weights(self) -> bool:
        """Whether weights are named and their head is that of the data."""
        outputs = (self.images.num_classes, self.images.num_aux_outputs)
        return self.names_weights and outputs == (_IMAGENET_CLASSES, 0)

    @property
    def names_weights(self) -> bool:
        """Whether weights are named."""
        return self.config.weights is not None

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The last module of each stage."""
        return tuple(f"net.{name}" for name in self.stage_names)

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        return self.net(self.scaled(images)), None

    def feature_maps(self, images: Tensor) -> Tensor:
        """Output of the module `map_name`, [N, D, H, W]."""
        found: list[Tensor] = []
        module = self.net.get_submodule(self.map_name)
        hook = module.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        try:
            self.net(self.scaled(images))
        finally:
            hook.remove()
        return found[0]

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of torchvision, and of what PASCL, PATT and ImOOD make of it."""
        own = self.state_dict()
        renamed = rename(state, {f"{self.head_name}.": "head."})
        return {
            f"net.{name}" if f"net.{name}" in own else name: value
            for name, value in renamed.items()
        }

    def fetch_weights(self) -> None:
        """Take the published weights that the settings name, from the cache or the network.

        Raises:
            DataError: If they can neither be found nor downloaded, or are damaged.
        """
        if self.config.weights is None:
            return
        from torchvision.models import get_model_weights

        published = get_model_weights(self.model_name)[self.config.weights]
        path = _fetch(published.url, f"backbones.{self.entry_name}.weights")
        load_weights(self, path, head="given" if self.own_weights else "fresh")


def _fetch(url: str, where: str) -> Path:
    """The file of published weights, downloaded where torch's cache lacks it.

    Args:
        url: Its address; the file name holds the beginning of the SHA-256.
        where: The setting that asks for it, for messages.

    Raises:
        DataError: If it can neither be found nor downloaded, or is damaged.
    """
    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    beginning = name.removesuffix(".pth").rsplit("-", 1)[-1]
    if not path.is_file():
        log(f"downloading {name} to {path.parent}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), beginning, progress=False)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{where} needs {name}, which is not in {path.parent} and cannot be downloaded "
                f"({' '.join(str(error).split())[:200]}); get {url} on a machine with a network "
                "and put it there."
            ) from error
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(beginning):
        raise DataError(
            f"{path} has SHA-256 {found[:8]}… but its name says {beginning}…: it is damaged or "
            "half downloaded; delete it and run again, or put the right file there."
        )
    return path


def _widened(module: nn.Module, inputs: object, maps: Tensor) -> Tensor:
    """Maps as float32, so that they are pooled in it: bfloat16 has 8 bits."""
    del module, inputs
    return maps.float()
