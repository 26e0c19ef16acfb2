"""Settings of the stage that writes the detector."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ltood.core.limits import Limits, Positive
from ltood.core.settings import Settings

#: Training images that are kept if the user names no number; 5 MB at 512 features.
DEFAULT_EXAMPLES = 5000


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Settings of the detector that `dvc repro` ends with.

    Attributes:
        enabled: Whether a detector is written.
        tpr: Share of the ID rows of the threshold split that the threshold accepts.
        threshold_split: ID split that sets the threshold; null takes val, and a store without
            it gives no detector. With test, metrics on that split are optimistic; with train,
            fewer new ID rows than wanted are accepted.
        checkpoint: "include" keeps a copy of the network beside the detector; "reference"
            records its digest alone.
        examples: Training images that the detector keeps, so that verdicts name the most similar
            ones; of a larger training set each class has as many as there is room for.
        onnx: Whether network and detector are also written as one ONNX file.
        max_gib: Largest detector that is written, in GiB of learned tensors.
    """

    section: ClassVar[str] = "export"

    enabled: bool = True
    tpr: Annotated[float, Limits(at_least=1e-6, at_most=1)] = 0.95
    threshold_split: Literal["val", "test", "train"] | None = None
    checkpoint: Literal["include", "reference"] = "include"
    examples: Annotated[int, Limits(at_least=0)] = DEFAULT_EXAMPLES
    onnx: bool = False
    max_gib: Positive = 4.0
