"""Network and detector as one ONNX file, found to agree with PyTorch before it is kept.

The file takes images [N, H, W, C] uint8 that have been decoded and brought to size, since ONNX has
no exact counterpart of Pillow's resizing; everything after that is inside. Its metadata say what
size, how images are brought there, the classes, the threshold, and whether it holds the score.
"""

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.deployment.detector import DeployedDetector, NotFiniteScoresError
from ltood.deployment.onnx_graph import INPUT, OUTPUTS, Judge, NotTraceableError
from ltood.runtime.extras import require

if TYPE_CHECKING:
    from ltood.deployment.images import Embedder

#: Largest difference from PyTorch, relative to the largest value of an output.
TOLERANCE = 1e-4
#: What a file of the format can hold, with room for the rest of it.
_LARGEST = 2**31 - 2**26
_NUM_SAMPLES = 24
#: Colours that the exporter gives what it says.
_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OPSET = 18


class ScoreDiffersError(DataError):
    """The score or the verdict of a file differs from PyTorch."""


@dataclass(frozen=True)
class OnnxFile:
    """A file that was found to agree with PyTorch.

    Attributes:
        content: Its bytes.
        reason: Why it holds no score; None where it does.
        difference: Largest difference from PyTorch that was seen, relative to the largest value.
    """

    content: bytes
    reason: str | None
    difference: float


def to_onnx(detector: DeployedDetector, network: "Embedder") -> OnnxFile:
    """Write a detector and its network as one ONNX model.

    The score is left out where a graph cannot hold it.

    Args:
        detector: The detector, on the CPU.
        network: Its network, on the CPU.

    Raises:
        MissingPackageError: If onnx, onnxscript or onnxruntime is not installed.
        ConfigError: If the network takes images of any size or was not computed in float32, or
            the model is too large for one file.
        DataError: If the file would not agree with PyTorch.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "an ONNX file")
    if network.precision != "float32":
        raise ConfigError(
            f"the features were computed in {network.precision}, and an ONNX file computes in "
            "float32; set extraction.amp to off and run the pipeline again."
        )
    judge = Judge(network.backbone, network.dtype, detector).eval()
    images = sample_images(*network.input_shape)
    reason = None
    try:
        judge.watch(*network.features(images))
        content = _exported(judge, images)
        difference = compared(content, detector, network, images)
    except (NotTraceableError, ScoreDiffersError) as error:
        reason = f"method {detector.description['method']['name']}: {error}"
        judge.forget()
        content = _exported(judge, images)
        difference = compared(content, detector, network, images)
    return OnnxFile(described(content, _metadata(detector, network, reason)), reason, difference)


def _metadata(
    detector: DeployedDetector, network: "Embedder", reason: str | None
) -> dict[str, object]:
    """What a program needs to know that has nothing but the file."""
    height, width, channels = network.input_shape
    said = detector.description
    return {
        "channels": channels,
        "class_names": detector.class_names,
        "detector_sha256": said.get("description_sha256", ""),
        "height": height,
        "kind": "ltood detector",
        "score": reason or "included",
        "slots": {key: said[key] for key in ("calibrator", "method", "normaliser")},
        "steps": network.steps,
        "threshold": detector.threshold,
        "width": width,
    }


def sample_images(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """A few smooth and noisy images, the same in every run, [n, H, W, C] uint8."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_NUM_SAMPLES, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.rand(smooth.shape, generator=generator)
    share = torch.linspace(0, 0.5, _NUM_SAMPLES)[:, None, None, None]
    pixels = ((1 - share) * smooth + share * noise) * 255
    found: NDArray[np.uint8] = pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return found


def _exported(judge: Judge, images: NDArray[np.uint8]) -> bytes:
    """The model of a judge, without what differs from run to run.

    Raises:
        NotTraceableError: If its score cannot be written as a graph.
        ConfigError: If it is too large for one file.
    """
    pixels = torch.from_numpy(images[:3].copy())
    size = sum(value.numel() * value.element_size() for value in judge.state_dict().values())
    size += judge.detector_bytes()
    if size > _LARGEST:
        kind = NotTraceableError if judge.has_scores else ConfigError
        raise kind(
            f"network and detector take {size / 2**30:.1f} GiB, and one ONNX file holds less than "
            "2 GiB; choose a method that keeps less, or use the detector itself."
        )
    with _quietly(), torch.no_grad():
        try:
            program = torch.export.export(
                judge, (pixels,), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False
            )
            exported = torch.onnx.export(
                program,
                (pixels,),
                input_names=[INPUT],
                output_names=list(judge.outputs),
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
            assert exported is not None
            model = exported.model_proto
        except Exception as error:
            if not judge.has_scores:
                raise
            said = " ".join(_STYLE.sub("", str(error)).split()).partition(". ")[0][:160]
            raise NotTraceableError(
                f"its score cannot be written as a graph ({type(error).__name__}: {said})."
            ) from None
    _strip(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(model: Any) -> None:  # noqa: ANN401 - as onnx has it
    """Remove what says where and by what code a graph was made."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the exporter tells of itself from the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.fx")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def described(content: bytes, metadata: Mapping[str, object]) -> bytes:
    """The model with metadata, texts as they are and other values as JSON."""
    import onnx

    model = onnx.load_from_string(content)
    for key in sorted(metadata):
        value = metadata[key]
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    whole: bytes = model.SerializeToString(deterministic=True)
    return whole


def compared(
    content: bytes, detector: DeployedDetector, network: "Embedder", images: NDArray[np.uint8]
) -> float:
    """Run a model beside PyTorch on all images at once, and on the first alone.

    Returns:
        The largest difference, relative to the largest value of its output.

    Raises:
        DataError: If an output differs by more than `TOLERANCE`, or a verdict differs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for given in (images, images[:1]):
        found = dict(zip(names, session.run(None, {INPUT: given}), strict=True))
        wanted = _by_torch(detector, network, given)
        for name in (key for key in names if wanted[key].dtype.kind == "f"):
            scale = max(float(np.abs(wanted[name]).max()), 1e-12)
            gap = float(np.abs(found[name] - wanted[name]).max()) / scale
            if not gap <= TOLERANCE:
                kind = ScoreDiffersError if name == "score" else DataError
                raise kind(
                    f"{name} of the ONNX file differs from PyTorch by {gap:.2g} of its largest "
                    f"value, more than {TOLERANCE:g}; use the detector."
                )
            worst = max(worst, gap)
        _check_decisions(found, wanted, detector.threshold)
    return worst


def _by_torch(
    detector: DeployedDetector, network: "Embedder", images: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """What the detector says, by the names of the outputs."""
    features, local = network.features(images)
    try:
        said = detector.predict(features, local=local if detector.needs_local else None)
    except NotFiniteScoresError as error:
        raise DataError(f"the detector cannot judge sample images: {error}") from None
    logits = detector.logits(features)
    values = (features, logits, said.classes, said.scores, said.scores > detector.threshold)
    return {name: value.numpy() for name, value in zip(OUTPUTS, values, strict=True)}


def _check_decisions(
    found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], threshold: float
) -> None:
    """Refuse other classes and verdicts than those of PyTorch, where rounding cannot decide.

    Raises:
        DataError: With the output that differs.
    """
    top = np.sort(wanted["logits"], axis=1)
    clear = top[:, -1] - top[:, -2] > TOLERANCE * np.abs(top).max()
    pairs = [("class", clear)]
    if "score" in found:
        scores = wanted["score"]
        pairs.append(("is_ood", np.abs(scores - threshold) > TOLERANCE * np.abs(scores).max()))
    for name, sure in pairs:
        if (found[name] != wanted[name])[sure].any():
            kind = ScoreDiffersError if name == "is_ood" else DataError
            raise kind(f"{name} of the ONNX file differs from PyTorch; use the detector.")
