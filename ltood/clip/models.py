"""Plain CLIP models of open_clip: list them, build one, and read its weights.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021 (arXiv:2103.00020); Ilharco et al., "OpenCLIP", https://doi.org/10.5281/zenodo.5143773
(the package open_clip).

The class `CLIP` is built directly and filled with float32 tensors: open_clip's own way from
OpenAI's state dicts rounds every weight to half precision first. The activation
(QuickGELU or GELU) is not stored with the weights, so it follows from the model's name and
the tag of its published weights, or from a setting.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor, nn

from ltood.clip.hugging_face import from_hugging_face
from ltood.core.errors import ConfigError, DataError
from ltood.runtime.extras import require
from ltood.runtime.reaching import hub_or_cache
from ltood.runtime.workspace import locate

WHERE = "backbones.clip"
_ADVICE = "choose a plain CLIP such as ViT-B-16-quickgelu or RN50-quickgelu"
#: Channels of the images that OpenAI trained on; most later models kept them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

#: What the plain towers know; every other key must be unset.
_MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"}
_MODEL_KEYS |= {"init_logit_scale", "output_dict"}
_VISION_KEYS = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"}
_VISION_KEYS |= {"patch_dropout", "no_ln_pre", "pos_embed_type", "norm_kwargs"}
_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
#: Keys that say how the towers are used elsewhere, not what they compute here.
_IDLE_KEYS = {"output_tokens", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop"}
_TOKENS = "output_tokens"
_PLAIN = {"pool_type": ("tok", "argmax"), "proj_type": ("linear",), "block_type": ("default",)}
_KNOWN_PARTS = {
    "multimodal_cfg": "the decoder of CoCa",
    "init_logit_bias": "the biased logits of SigLIP",
    "timm_model_name": "an image tower of timm",
    "hf_model_name": "a text tower of another package",
    "hf_tokenizer_name": "another tokenizer than CLIP's",
    "attentional_pool": "attentional pooling",
    "ls_init_value": "LayerScale",
    "final_ln_after_pool": "its last norm after pooling",
    "embed_cls": "a class token in its text",
    "no_causal_mask": "text that sees what follows",
}
#: OpenAI keeps these three numbers among its tensors.
_NUMBERS = ("input_resolution", "context_length", "vocab_size")

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class ClipSpec:
    """Architecture and settings of a CLIP model, without its weights.

    Attributes:
        name: Name of the model in messages.
        embed_dim: Joint width D of images and text.
        vision: Settings of the image tower, as open_clip names them.
        text: Settings of the text tower.
        quick_gelu: Whether both towers compute with QuickGELU; GELU otherwise.
        mean: Subtracted from each channel of images in [0, 1].
        std: Divides each channel.
        interpolation: Between pixels when an image is scaled.
    """

    name: str
    embed_dim: int
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    quick_gelu: bool
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    interpolation: Interpolation = "bicubic"

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.vision["image_size"])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches that have local features."""
        patch = 32 if isinstance(self.vision["layers"], list) else int(self.vision["patch_size"])
        return self.resolution // patch, self.resolution // patch

    @property
    def activation(self) -> str:
        """Activation between the two layers of an MLP."""
        return "quick_gelu" if self.quick_gelu else "gelu"


def clip_spec(
    model: str,
    *,
    pretrained: str | None = None,
    resolution: int | None = None,
    quick_gelu: bool | None = None,
    interpolation: Interpolation | None = None,
) -> ClipSpec:
    """Find the configuration of a model by name or file.

    Args:
        model: Name in open_clip, or a configuration in its format, as JSON text or as a file
            `*.json`.
        pretrained: Tag of published weights, which says how they were trained.
        resolution: Image size in pixels; None takes the model's own.
        quick_gelu: None follows the tag, or else the name.
        interpolation: None takes that of the published weights, or else bicubic.

    Raises:
        ConfigError: If there is no such model or tag, the model has a part that plain CLIP
            models lack, or its images are not square or not divisible into patches.
        MissingPackageError: If open_clip is not installed.
    """
    model = inline(model)
    name = _shown(model)
    content, seen = _from_text(model) if model.startswith("{") else _from_name(model)
    if pretrained is not None:
        seen = _tag(model, pretrained)
    _refuse_other_parts(name, content)
    vision = {key: content["vision_cfg"][key] for key in content["vision_cfg"] if key != _TOKENS}
    text = {key: content["text_cfg"][key] for key in content["text_cfg"] if key != _TOKENS}
    found = content.get("quick_gelu", False) or seen.get("quick_gelu", False)
    if pretrained == "openai":
        found = True  # The tag serves plain names too, whose configuration says GELU.
    own = vision.get("image_size", 224)
    if isinstance(own, list) and len(set(own)) == 1:
        own = own[0]
    if not isinstance(own, int):
        raise ConfigError(
            f"{WHERE}.model is {name}, whose images are {own} pixels and not square; {_ADVICE}."
        )
    vision = {"layers": 12, "width": 768, "patch_size": 16, **vision}
    vision["image_size"] = own if resolution is None else resolution
    spec = ClipSpec(
        name,
        int(content["embed_dim"]),
        vision,
        text,
        bool(found) if quick_gelu is None else quick_gelu,
        tuple(seen.get("mean") or MEAN),
        tuple(seen.get("std") or STD),
        interpolation or seen.get("interpolation") or "bicubic",
    )
    _check_patches(spec)
    return spec


def _check_patches(spec: ClipSpec) -> None:
    """Refuse images that do not divide into patches."""
    patch = 32 if isinstance(spec.vision["layers"], list) else spec.vision["patch_size"]
    if spec.resolution < patch or spec.resolution % patch:
        raise ConfigError(
            f"{WHERE} has images of {spec.resolution} pixels, which patches of {patch} do not "
            f"divide; set {WHERE}.resolution to a multiple of {patch}."
        )


def _from_name(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    open_clip = _open_clip()
    known = open_clip.list_models()
    if model not in known:
        near = difflib.get_close_matches(model, known, 3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(
            f"{WHERE}.model is {model!r}, which open_clip {open_clip.__version__} does not have."
            f"{hint} A configuration file in its format (*.json) may be given instead."
        )
    return open_clip.get_model_config(model), {}


def inline(model: str) -> str:
    """The configuration in a file as JSON text, so that the file need not be kept; names stay.

    Raises:
        ConfigError: If the file is missing or no configuration of a CLIP model.
    """
    if not model.startswith("{") and not model.endswith(".json"):
        return model
    reason = "it lacks a number embed_dim, or a mapping vision_cfg or text_cfg"
    try:
        content = json.loads(model if model.startswith("{") else locate(model).read_bytes())
        inner = content.get("model_cfg", content)
        parts = (inner.get("embed_dim"), inner.get("vision_cfg"), inner.get("text_cfg"))
        if [type(part) for part in parts] == [int, dict, dict]:
            return json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
    raise ConfigError(
        f"{WHERE}.model is {model!r}, which is not the configuration of a CLIP model ({reason}); "
        "give a file in open_clip's format with embed_dim, vision_cfg and text_cfg."
    )


def _shown(model: str) -> str:
    return "the configured model" if model.startswith("{") else repr(model)


def _from_text(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads(model)
    return content.get("model_cfg", content), content.get("preprocess_cfg", {})


def _tag(model: str, pretrained: str) -> dict[str, Any]:
    """Open_clip's record of published weights."""
    open_clip = _open_clip()
    found: dict[str, Any] = open_clip.get_pretrained_cfg(model, pretrained)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(model)
        have = ", ".join(tags) if tags else "none"
        raise ConfigError(
            f"{WHERE}.pretrained is {pretrained!r}, a tag that {_shown(model)} does not have (it "
            f"has {have}); choose one of them, or null and a file in training.weights."
        )
    return found


def _refuse_other_parts(name: str, content: Mapping[str, Any]) -> None:
    """Refuse by name what plain CLIP models do not have."""
    for part, keys in (
        (content, _MODEL_KEYS),
        (content["vision_cfg"], _VISION_KEYS),
        (content["text_cfg"], _TEXT_KEYS),
    ):
        # Parts that have a name come first, for the sake of the message.
        strange = set(part) - keys - _IDLE_KEYS
        for key in sorted(strange, key=lambda key: (key not in _KNOWN_PARTS, key)):
            if part[key] and part[key] not in _PLAIN.get(key, ()):
                known = f" ({_KNOWN_PARTS[key]})" if key in _KNOWN_PARTS else ""
                raise ConfigError(
                    f"{WHERE}.model is {name}, which has {key}{known}; its local features or "
                    f"its text are not those of CLIP, so {_ADVICE}."
                )


def build_clip(spec: ClipSpec) -> nn.Module:
    """An open_clip `CLIP` with fresh float32 weights.

    Raises:
        MissingPackageError: If open_clip is not installed.
    """
    _open_clip()
    from open_clip.model import CLIP

    vision, text = dict(spec.vision), dict(spec.text)
    return cast("nn.Module", CLIP(spec.embed_dim, vision, text, quick_gelu=spec.quick_gelu))


def clip_layout(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Tensors of a published file under the names of an open_clip `CLIP`.

    Args:
        state: OpenAI's names, open_clip's with or without a text tower of its own ("text."),
            Hugging Face's, or ours ("clip.").
        model: The model they are for. A square grid of positions is scaled to its grid, as
            open_clip does, where the image sizes differ.

    Returns:
        The same tensors; names that are not known stay, and OpenAI's three numbers go.
    """
    from open_clip.model import resize_pos_embed

    own = model.state_dict()
    renamed = {}
    for name, value in from_hugging_face(state).items():
        bare = name.removeprefix("clip.")
        inner = bare.removeprefix("text.")
        if bare not in _NUMBERS:
            renamed[inner if inner in own else bare] = value
    positions = renamed.get("visual.positional_embedding")
    if positions is not None and positions.ndim == 2 and positions.is_floating_point():
        patches = len(positions) - 1
        if round(patches**0.5) ** 2 == patches:
            renamed["visual.positional_embedding"] = positions.float()
            resize_pos_embed(renamed, model)
    return renamed


def published_file(model: str, pretrained: str) -> Path:
    """Path of published weights, from open_clip's cache or the network.

    Raises:
        ConfigError: If the model has no weights of that tag.
        DataError: If they can neither be found nor downloaded.
    """
    about = _tag(model, pretrained)
    from open_clip.pretrained import download_pretrained

    with hub_or_cache() as unreached:
        try:
            return Path(download_pretrained(about))
        except Exception as error:  # every kind of network failure, by whichever client it uses
            place = about.get("hf_hub", "").rstrip("/") or about.get("url", "")
            reason = unreached or " ".join(str(error).split())[:160]
            raise DataError(
                f"open_clip cannot provide the weights {pretrained!r} of {model} ({reason}); "
                f"without a network, fetch open_clip_model.safetensors of {place} elsewhere and "
                f"name the file in training.weights, with {WHERE}.pretrained null and "
                f"{WHERE}.quick_gelu "
                f"{str(clip_spec(model, pretrained=pretrained).quick_gelu).lower()}."
            ) from error


def _open_clip() -> Any:  # noqa: ANN401
    """The package.

    Raises:
        MissingPackageError: If it is not installed.
    """
    require("open_clip", "backbone clip")
    import open_clip

    return open_clip
