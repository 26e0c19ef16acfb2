"""Settings of extraction."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ltood.core.limits import Limits
from ltood.core.settings import Settings


@dataclass(frozen=True)
class ExtractionConfig(Settings):
    """Settings of extraction.

    Attributes:
        dtype: Number format of stored features; logits are always float32, and features of
            patches always float16.
        batch_size: Images (or views of them) that go through the backbone at once.
        rows_per_chunk: Rows that are stored at once; null chooses chunks of 8 to 16 MiB.
        amp: "bf16" computes the network in bfloat16; "auto" does so on GPUs that can; "off" is
            float32 throughout, never TF32.
        channels_last: Memory layout; null takes it on GPUs, where it is faster.
    """

    section: ClassVar[str] = "extraction"

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 256
    rows_per_chunk: Annotated[int, Limits(at_least=1, at_most=10**8)] | None = None
    amp: Literal["auto", "off", "bf16"] = "off"
    channels_last: bool | None = None
