"""CLIP: images as unit features in the space of text, with features of patches and augmented views.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021 (arXiv:2103.00020); Miyai, Yu, Irie and Aizawa, "LoCoOp: Few-Shot Out-of-Distribution
Detection via Prompt Learning", NeurIPS 2023 (arXiv:2306.01293), for the local features.

Every plain vision transformer and CLIP ResNet of open_clip. There is no head: logits are cosines
with text, which the recipes zero_shot, coop and locoop provide.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from ltood.clip.image_tower import image_features
from ltood.clip.models import (
    WHERE,
    Interpolation,
    build_clip,
    clip_layout,
    clip_spec,
    inline,
    published_file,
)
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.limits import Limits, Seed
from ltood.core.settings import Settings
from ltood.images.decoding import Geometry
from ltood.images.views import AREA, RATIO, RandomViews
from ltood.networks.backbone import Backbone, ImageSpec, Pretrained
from ltood.networks.weights import load_weights
from ltood.runtime.console import log

_DESCRIPTION = "description"
#: A number that only OpenAI keeps among its tensors.
_OPENAI = "input_resolution"


@dataclass(frozen=True)
class Config(Settings):
    """Settings of CLIP.

    Attributes:
        model: Name in open_clip, or a configuration in its format as a file `*.json`.
        pretrained: Tag of weights that open_clip fetches, such as "openai"; null leaves them to
            `training.weights`.
        quick_gelu: Whether the weights were trained with QuickGELU; null follows `pretrained` or
            the name of the model.
        resolution: Image size in pixels; null takes the model's own.
        interpolation: Between pixels of a scaled image; null takes that of the published
            weights, which is bicubic for nearly all.
        local: Store features of patches too, which GL-MCM, L-MCM and LoCoOp need.
        views: Augmented views of each training image that are stored for learned prompts; 0
            stores none, and prompts are learned from the images as they are tested.
        view_seed: Decides the views.
    """

    model: str = "ViT-B-16-quickgelu"
    pretrained: str | None = None
    quick_gelu: bool | None = None
    resolution: Annotated[int, Limits(at_least=1, at_most=8192)] | None = None
    interpolation: Interpolation | None = None
    local: bool = True
    views: Annotated[int, Limits(at_least=0, at_most=10_000)] = 0
    view_seed: Seed = 0

    def check(self) -> None:
        """Take the content of a configuration file in its place."""
        object.__setattr__(self, "model", inline(self.model))


class Clip(Backbone, Pretrained):
    """A CLIP model, image and text side; grey images are repeated to three channels.

    Attributes:
        spec: What decides it except for its weights.
        clip: The open_clip model.
    """

    has_head: ClassVar[bool] = False  # it is made of text
    description: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, images: ImageSpec) -> None:
        """Build the model with fresh weights.

        Args:
            config: Settings.
            images: Channels; size and numbers of outputs do not matter.

        Raises:
            ConfigError: If there is no such model or tag, or it is not a plain CLIP.
            MissingPackageError: If open_clip is not installed.
        """
        super().__init__(images)
        self.config = config
        self.spec = clip_spec(
            config.model,
            pretrained=config.pretrained,
            resolution=config.resolution,
            quick_gelu=config.quick_gelu,
            interpolation=config.interpolation,
        )
        self.clip = build_clip(self.spec)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.spec, name)).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        # Kept with the weights, because no tensor shows what they were made for.
        text = json.dumps(self._untold(), sort_keys=True).encode()
        self.register_buffer(_DESCRIPTION, torch.tensor(list(text), dtype=torch.uint8))

    @property
    def feature_dim(self) -> int:
        """Joint width D of images and text."""
        return self.spec.embed_dim

    @property
    def local_shape(self) -> tuple[int, int] | None:
        """Number P of patches and their width D, where local features are wanted."""
        height, width = self.spec.grid
        return (height * width, self.spec.embed_dim) if self.config.local else None

    @property
    def geometry(self) -> Geometry:
        """The shorter side scaled to the resolution, and a square out of the middle."""
        size = self.spec.resolution
        return Geometry((size, size), "centre_crop", interpolation=self.spec.interpolation)

    @property
    def fixed_size(self) -> bool:
        """Always: positions are learned for one size."""
        return True

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Scale and shift of each channel, the grid of patches, and how views are drawn."""
        config = self.config
        views = {
            "num": config.views,
            "seed": config.view_seed,
            "area": list(AREA),
            "ratio": list(RATIO),
            "flip": 0.5,
            "interpolation": self.spec.interpolation,
        }
        return {
            "scale": "uint8 / 255",
            "mean": list(self.spec.mean),
            "std": list(self.spec.std),
            "activation": self.spec.activation,
            "local": "block_value" if config.local else None,
            "grid": list(self.spec.grid),
            "views": views if config.views else None,
        }

    @property
    def own_weights(self) -> bool:
        """Whether published weights are asked for."""
        return self.config.pretrained is not None

    def training_views(self, ids: NDArray[np.int64]) -> RandomViews | None:
        """Augmented views of training images by their ids, [N]; None where none are wanted."""
        config, spec = self.config, self.spec
        if not config.views:
            return None
        return RandomViews(config.views, spec.resolution, config.view_seed, ids, spec.interpolation)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unit features [N, D] and local ones [N, P, D] or None, of [N, channels, R, R] in [0, 1].

        Raises:
            DataError: If the images have another size than the model.
        """
        size = self.spec.resolution
        if images.shape[2:] != (size, size):
            raise DataError(
                f"images have {images.shape[2]} x {images.shape[3]} pixels but {self.spec.name} "
                f"sees {size} x {size}; bring them to that size."
            )
        visual = cast("nn.Module", self.clip.visual)
        scaled = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        pooled, local = image_features(visual, scaled, local=self.config.local)
        return _unit(pooled), None if local is None else _unit(local)

    def classify(self, pooled: Tensor) -> Tensor:
        """Refused: there is no head.

        Raises:
            MissingNeedError: Always.
        """
        raise MissingNeedError(
            "backbone clip has no head to train or to read logits from; choose the recipe "
            "zero_shot, coop or locoop, which make one from text."
        )

    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Nothing."""
        return {}

    def fetch_weights(self) -> None:
        """Take the published weights that the settings name, if any.

        Raises:
            DataError: If they can neither be found nor downloaded, or do not fit.
        """
        config = self.config
        if config.pretrained is not None:
            load_weights(self, published_file(config.model, config.pretrained))

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of OpenAI, open_clip and Hugging Face."""
        named = {name: value for name, value in state.items() if name != _DESCRIPTION}
        renamed = clip_layout(named, self.clip)
        return {
            **{f"clip.{name}": value for name, value in renamed.items()},
            _DESCRIPTION: self.description,
        }

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """Compare what no shape shows, and log which activation the weights will meet.

        Raises:
            ConfigError: If they are OpenAI's and the model would compute with GELU.
            DataError: If they were made for a model that computes otherwise.
        """
        spec = self.spec
        if _OPENAI in state and not spec.quick_gelu and self.config.quick_gelu is None:
            raise ConfigError(
                f"the weights are OpenAI's, which were trained with QuickGELU, but {spec.name} "
                f"computes with GELU; set {WHERE}.quick_gelu to true, or choose a model whose name "
                "ends in -quickgelu."
            )
        if _DESCRIPTION in state:
            self._refuse_another(state[_DESCRIPTION])
        else:
            name = "QuickGELU" if spec.quick_gelu else "GELU"
            log(
                f"clip: {spec.name} computes with {name}; set {WHERE}.quick_gelu to "
                f"{str(not spec.quick_gelu).lower()} if the weights were trained with the other."
            )

    def _untold(self) -> dict[str, Any]:
        """Settings that affect the features but not the shapes of tensors."""
        spec = self.spec
        return {
            "activation": spec.activation,
            "image_head_width": spec.vision.get("head_width", 64),
            "text_heads": spec.text.get("heads", 8),
            "norm": dict(spec.vision.get("norm_kwargs") or {}),
            "mean": list(spec.mean),
            "std": list(spec.std),
        }

    def _refuse_another(self, description: Tensor) -> None:
        """Refuse weights that were kept for a model that computes otherwise."""
        try:
            kept = json.loads(bytes(description.cpu().tolist()))
        except ValueError:
            kept = {}
        own = self._untold()
        other = [f"{key} {kept.get(key)!r} and not {own[key]!r}" for key in own]
        other = [text for text, key in zip(other, own, strict=True) if kept.get(key) != own[key]]
        if other:
            raise DataError(
                f"the weights are for {'; '.join(other)}, as {self.spec.name} has it here; set "
                f"{WHERE} to what it was when these weights were saved."
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Compare the description before tensors are taken."""
        found = state_dict.get(prefix + _DESCRIPTION)
        if found is not None:
            try:
                self._refuse_another(found)
            except DataError as error:
                raise RuntimeError(str(error)) from error
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 along the last axis, in float32."""
    return normalize(features.float(), dim=-1)


Entry = Clip
