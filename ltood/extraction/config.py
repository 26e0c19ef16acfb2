"""Settings of extraction."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ltood.core.extras import GROUPS
from ltood.core.limits import Limits, NonNegative, Positive, Share
from ltood.core.settings import Settings


@dataclass(frozen=True)
class ExtractionConfig(Settings):
    """Settings of extraction.

    Attributes:
        dtype: Number format of stored features; logits are always float32, and features of
            patches always float16.
        batch_size: Images (or views of them) that go through the backbone at once. "auto" finds
            how many fit on a GPU, and takes few large or many small ones on a CPU.
        rows_per_chunk: Rows that are stored at once; null chooses chunks of 8 to 16 MiB.
        amp: "bf16" computes the network in bfloat16, "fp16" in float16, on a GPU alone; "auto"
            takes bfloat16 on GPUs that can; "off" is float32 throughout, never TF32.
        channels_last: Memory layout; null takes it on GPUs, where it is faster.
        compile: Let torch compile the network, on a GPU with CUDA graphs; the first batch takes
            longer. Extra arrays are computed without.
        fold_batch_norm: Make batch norms part of the convolutions before them, where torch can
            follow the network. Extra arrays are computed without.
        extras: Groups of extra arrays to compute; "auto" takes those that the chosen method and
            the methods that `compare` names read.
        odin_temperature: Divides the logits whose gradient moves the images of odin. Unitless.
        odin_magnitude: How far odin moves each pixel; pixels lie in 0 to 1.
        adascale_share: Share of the values of an image that adascale moves.
        adascale_step: How far adascale moves them, in standard deviations of the channel.
        layers: Submodules of the backbone whose outputs the groups layers and gram hold, such as
            block1; "auto" takes its stages.
        gram_orders: Powers to which the group gram raises channels before it multiplies them.
    """

    section: ClassVar[str] = "extraction"

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] | Literal["auto"] = 256
    rows_per_chunk: Annotated[int, Limits(at_least=1, at_most=10**8)] | None = None
    amp: Literal["auto", "off", "bf16", "fp16"] = "off"
    channels_last: bool | None = None
    compile: bool = False
    fold_batch_norm: bool = False
    extras: Literal["auto"] | tuple[str, ...] = "auto"
    odin_temperature: Positive = 1000.0
    odin_magnitude: NonNegative = 0.0014
    adascale_share: Share = 0.05
    adascale_step: NonNegative = 0.5
    layers: Literal["auto"] | tuple[str, ...] = "auto"
    gram_orders: tuple[Annotated[int, Limits(at_least=1, at_most=64)], ...] = tuple(range(1, 11))

    def check(self) -> None:
        """Refuse groups that nobody knows, and layers that are named twice or not at all."""
        for group in self.extras if self.extras != "auto" else ():
            if group not in GROUPS:
                raise self.fault(
                    "extras", f"names {group!r}, which is not one of {', '.join(GROUPS)}."
                )
        if self.layers != "auto" and len(set(self.layers)) != max(1, len(self.layers)):
            raise self.fault(
                "layers", f"is {list(self.layers)}; name one layer or more, each once, or auto."
            )
        if len(set(self.gram_orders)) != max(1, len(self.gram_orders)):
            raise self.fault(
                "gram_orders", f"is {list(self.gram_orders)}; name one order or more, each once."
            )
