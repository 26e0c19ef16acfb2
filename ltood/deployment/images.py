"""Images to features with the backbone that a detector belongs to.

Where the training images were image files, an image is decoded and brought to size as those
were while preparing, so that equal files get equal scores. Where they came as arrays, it is turned
upright, converted to the channels the backbone was trained on and, where its size differs, cropped
to their aspect ratio around the centre and scaled to their size (bilinear, smoothed). A backbone
with a size of its own, such as CLIP, brings it there itself. From there on the backbone's own
preprocessing applies, which must be the recorded one.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.pooling import as_stored, recorded_pooling
from ltood.deployment.sidecar import NETWORK
from ltood.images.decoding import Geometry, as_image, decoded_image, open_image
from ltood.networks.backbone import Backbone, ImageSpec
from ltood.networks.checkpoint import load_checkpoint
from ltood.networks.folding import folded
from ltood.networks.pixels import images_as_input, memory_layout
from ltood.networks.taps import last_maps
from ltood.runtime.devices import Precision, autocast, deterministic, upload
from ltood.runtime.extras import require
from ltood.runtime.provenance import recorded_of
from ltood.store.pooled import PoolingConfig

if TYPE_CHECKING:
    from PIL import Image

#: Modes with 8 bits per channel; wider ones would be cut off in silence.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
#: Largest difference of an imported head from the checkpoint's, relative to its largest value.
_HEAD_TOLERANCE = 1e-3
_AVERAGE = PoolingConfig()


class Embedder:
    """The detector's backbone, turning images into the features it was fitted on.

    Attributes:
        backbone: The network.
        precision: Number format of its products.
        dtype: Number format in which features were stored.
        pooling: How the last feature map becomes features.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        precision: Precision,
        dtype: torch.dtype,
        *,
        from_files: bool = False,
        prepared: Geometry | None = None,
        pooling: PoolingConfig = _AVERAGE,
        channels_last: bool | None = None,
        fold_batch_norm: bool = False,
        jpeg_side: int | None = None,
    ) -> None:
        """Wrap a loaded backbone; use `open`.

        Args:
            backbone: In evaluation mode, on `device`.
            device: Where it computes.
            precision: Number format of its products, as recorded at extraction.
            dtype: Number format in which features were stored.
            from_files: Whether the training images were image files.
            prepared: How those were brought to one size while preparing; None if they were not.
            pooling: How the last feature map becomes features.
            channels_last: Memory layout, as the settings of extraction had it.
            fold_batch_norm: Whether batch norms are part of convolutions, as there.
            jpeg_side: As the settings of the training images had it, if they were files.
        """
        self._layout = memory_layout(channels_last, device)
        self.backbone, self._device = backbone.to(memory_format=self._layout), device
        self._body = self.backbone
        if fold_batch_norm:
            self._body = folded(self.backbone)
        self.precision, self.dtype, self.pooling = precision, dtype, pooling
        self._from_files, self._prepared, self._jpeg_side = from_files, prepared, jpeg_side

    @classmethod
    def open(cls, checkpoint: Path | None, detector: DeployedDetector) -> "Embedder":
        """Load the backbone from a checkpoint folder and check that it is the detector's.

        Raises:
            MissingNeedError: If no checkpoint is given.
            StoreError: If the folder holds no whole checkpoint.
            DataError: If it is another network than the detector was fitted on.
        """
        provenance = detector.description["provenance"]
        recorded = recorded_of(provenance, "checkpoint", "weights_sha256")
        included = detector.description.get("network") or {}
        if checkpoint is None:
            name = recorded_of(provenance, "backbone", "name") or "its network"
            weights = f" (weights {recorded[:12]}…)" if recorded else ""
            raise MissingNeedError(
                f"images need the backbone that the detector was fitted on, {name}{weights}: copy "
                "the folder <name>.network next to the detector, pass its checkpoint folder with "
                "--checkpoint, or give an archive of features."
            )
        try:
            backbone, meta = load_checkpoint(checkpoint, detector.device)
        except StoreError as error:
            if checkpoint.suffix == NETWORK:  # Whoever has it need not have trained it.
                error.add_note("It came with a detector: copy that folder again, or export again.")
            raise
        recorded = recorded or included.get("weights_sha256")
        if recorded is None:
            _compare_heads(checkpoint, backbone, detector)
        elif recorded != meta["weights_sha256"]:
            raise DataError(
                f"{checkpoint} has weights {meta['weights_sha256'][:12]}… but the detector was "
                f"fitted on features of {recorded[:12]}…; give that checkpoint or export a "
                "detector for this one."
            )
        wanted = detector.description["preprocessing"]
        found = json.loads(json.dumps(dict(backbone.preprocessing)))
        if wanted is not None and "geometry" in wanted and backbone.geometry is not None:
            found["geometry"] = json.loads(json.dumps(backbone.geometry.describe()))
        if wanted is not None and found != wanted:
            raise DataError(
                f"the backbone of {checkpoint} preprocesses images as {found}, the detector was "
                f"fitted on {wanted}; extract the features and export the detector again."
            )
        stored = recorded_of(provenance, "extraction", "dtype")
        dtype = torch.float16 if stored == "float16" else torch.float32
        precision = provenance.get("precision", "float32")
        # Only datasets of image files have these settings.
        size, mode, jpeg_side = (
            recorded_of(provenance, "dataset", "settings", key)
            for key in ("size", "mode", "jpeg_side")
        )
        return cls(
            backbone,
            detector.device,
            precision,
            dtype,
            from_files=mode is not None,
            prepared=Geometry((size, size), mode) if mode and size else None,
            pooling=recorded_pooling(provenance),
            channels_last=recorded_of(provenance, "extraction", "channels_last"),
            fold_batch_norm=bool(recorded_of(provenance, "extraction", "fold_batch_norm")),
            jpeg_side=jpeg_side,
        )

    @property
    def spec(self) -> ImageSpec:
        """Required form of the images."""
        return self.backbone.images

    @property
    def geometry(self) -> Geometry | None:
        """Resizing to the size of the backbone; None to use that of its images."""
        backbone = self.backbone
        return backbone.geometry if backbone.fixed_size or not backbone.images.height else None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images as the backbone is fed them.

        Raises:
            ConfigError: If it takes images of any size.
        """
        height, width = (self.spec.height, self.spec.width)
        if self.geometry is not None:
            height, width = self.geometry.size
        if not height or not width:
            raise ConfigError(
                f"backbone {self.backbone.entry_name} takes images of any size, and one size is "
                "needed; set datasets.<name>.size and run the pipeline again."
            )
        return height, width, self.spec.channels

    @property
    def steps(self) -> list[dict[str, Any]]:
        """How an upright RGB or grey image is brought to that size, as plain values in order."""
        geometries = [step for step in (self._prepared, self.geometry) if step is not None]
        steps = [json.loads(json.dumps(step.describe())) for step in geometries]
        if not steps:
            size = list(self.input_shape[:2])
            steps = [{"mode": "fit", "size": size, "interpolation": "bilinear"}]
        decoding = {"mode": "jpeg_side", "size": self._jpeg_side}
        return [decoding, *steps] if self._jpeg_side else steps

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Pixels of one image file as the backbone is fed them, [H, W, C] uint8.

        Raises:
            DataError: As `read_image` does; where the training images were files, deeper pixels
                are brought to 8 bits as theirs were.
        """
        return self.decode(_content(path), str(path))

    def decode(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Pixels of an image file's bytes, as `read` gives them; messages call it `name`.

        Raises:
            DataError: As `read` does.
        """
        if not self._from_files:
            return decoded(content, name, self.spec, self.geometry)
        with decoded_image(content, name, self._jpeg_side) as image:
            if self._prepared is not None:
                return fit_image(as_image(self._prepared(image, 0)), self.spec, self.geometry)
            if self.geometry is not None:
                return self.geometry(image, 0)
            return fit_image(image, self.spec, self.geometry)

    def features(self, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor | None]:
        """Pooled [n, D] and local [n, P, D] (or None) features, float32.

        Args:
            images: Pixels as `read_image` gives them, [n, H, W, C] uint8.

        Raises:
            ConfigError: If the detector was fitted on another pooling than the average, and the
                network has no map of which the features are the mean.
        """
        pixels = upload(torch.from_numpy(np.array(images)), self._device)
        scaled = images_as_input(pixels, self._layout)
        with (
            deterministic(self._device),
            torch.inference_mode(),
            autocast(self._device, self.precision),
        ):
            means, local = self._body.embed(scaled)
            # Rounded as the stored features were, so that equal images get equal scores.
            pooled = as_stored(
                means,
                lambda: last_maps(self.backbone, scaled, means, "features of this detector"),
                self.pooling,
                self.dtype,
            )
        return pooled, None if local is None else local.half().float()


def read_image(path: Path, spec: ImageSpec, geometry: Geometry | None = None) -> NDArray[np.uint8]:
    """Decode one image file into the shape of `spec` or of `geometry`, [H, W, C] uint8.

    Raises:
        DataError: If the file is missing, damaged, too large or not an image of 8 bits per channel.
    """
    return decoded(_content(path), str(path), spec, geometry)


def decoded(
    content: bytes, name: str, spec: ImageSpec, geometry: Geometry | None = None
) -> NDArray[np.uint8]:
    """As `read_image`, from the bytes of a file that messages call `name`.

    Raises:
        DataError: If they are not an image of 8 bits per channel, or a damaged one.
    """
    with open_image(content, name) as image:
        try:
            return fit_image(image, spec, geometry)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); put the file back or leave it out."
        ) from error


def fit_image(
    image: "Image.Image", spec: ImageSpec, geometry: Geometry | None = None
) -> NDArray[np.uint8]:
    """A decoded image in the shape of `spec` or of `geometry`, [H, W, C] uint8.

    Raises:
        DataError: If it has more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    if image.mode not in _MODES:
        raise DataError(
            f"the image has mode {image.mode}; only 8 bits per channel are read. Convert it first."
        )
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    if geometry is not None and not _is_fed(upright.size, spec, geometry):
        return geometry(upright.convert("RGB"), 0)
    image = upright.convert("L" if spec.channels == 1 else "RGB")
    if image.size != (spec.width, spec.height):
        image = ImageOps.fit(image, (spec.width, spec.height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def fit_pixels(
    pixels: NDArray[np.uint8], spec: ImageSpec, geometry: Geometry | None = None
) -> NDArray[np.uint8]:
    """Pixels [h, w, 1 or 3] uint8 in the shape of `spec` or of `geometry`, [H, W, C] uint8.

    Raises:
        MissingPackageError: If it must be scaled and Pillow is not installed.
    """
    height, width, channels = pixels.shape
    is_fed = geometry is None or _is_fed((width, height), spec, geometry)
    if is_fed and (height, width, channels) == (spec.height, spec.width, spec.channels):
        return pixels
    require("PIL", "scaling images")
    from PIL import Image

    squeezed: NDArray[Any] = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return fit_image(Image.fromarray(np.ascontiguousarray(squeezed)), spec, geometry)


def _is_fed(size: tuple[int, int], spec: ImageSpec, geometry: Geometry) -> bool:
    """Whether training images of this width and height went into the network as they were."""
    height, width = geometry.size
    return size == (width, height) == (spec.width, spec.height)


def _compare_heads(checkpoint: Path, backbone: Backbone, detector: DeployedDetector) -> None:
    """Refuse a checkpoint whose head is not the one of imported features.

    Raises:
        DataError: If the heads differ, or the backbone has none.
    """
    if not backbone.has_head:
        raise DataError(
            f"the backbone of {checkpoint} has no head that could be compared with the detector's, "
            "and where its features come from is not recorded; extract the features here and "
            "export the detector again."
        )
    head = backbone.head_arrays()
    if detector.calibrator is not None:
        # The detector's head is the one its calibrator shows.
        bias = torch.from_numpy(head["bias"]).to(detector.head.bias)
        head["bias"] = detector.calibrator._adjust_logits(bias).cpu().numpy()
    for name in ("weight", "bias"):
        wanted = getattr(detector.head, name).cpu().numpy()
        scale = max(float(np.abs(wanted).max()), 1e-12)
        if (
            head[name].shape != wanted.shape
            or np.abs(head[name] - wanted).max() > _HEAD_TOLERANCE * scale
        ):
            raise DataError(
                f"the head of {checkpoint} is not the detector's ({name} differs): the features "
                "it was fitted on come from another network. Give that network's checkpoint."
            )
