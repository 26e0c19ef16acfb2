"""Interface for reading features in stage two, from a store or from memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from ltood.core.errors import MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.store.layout import SplitSpec

if TYPE_CHECKING:
    from ltood.core.inputs import Need


class SplitReader(Protocol):
    """Rows of one split."""

    @property
    def name(self) -> str:
        """Name of the split, such as ood_svhn."""

    @property
    def spec(self) -> SplitSpec:
        """Number of rows, and type and row shape of each array."""

    @property
    def dim(self) -> int:
        """Feature width D."""

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays this split holds."""

    def __len__(self) -> int:
        """Number of rows."""

    def batches(
        self,
        rows: int,
        arrays: Sequence[str] = ("features", "logits", "labels"),
        first: int = 0,
        end: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield rows from `first` to `end` in order, at most `rows` at once, only `arrays`."""


class StoreReader(Protocol):
    """Features of several splits, with their head and class counts."""

    @property
    def path(self) -> Path | str:
        """Their location, for messages."""

    @property
    def splits(self) -> list[str]:
        """Names: train, val, test, aux and train_views where present, then OOD sets by name."""

    @property
    def image_splits(self) -> list[str]:
        """Names of the splits of which a row is one image."""

    @property
    def ood_splits(self) -> list[str]:
        """Names of the OOD test sets, with their prefix."""

    @property
    def class_names(self) -> list[str]:
        """Names of the ID classes in label order."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the features."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the features are."""

    @property
    def remedies(self) -> "Mapping[Need, str]":
        """Advice for messages about missing needs of an entry."""

    def split_spec(self, name: str) -> tuple[SplitSpec, int]:
        """Specification and rows per chunk of one split."""

    def split(self, name: str) -> SplitReader:
        """Open one split."""

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the classifier head by name, weight [C, D] and bias [C] among them.

        No arrays where there is no head.
        """

    def prior(self) -> ClassPrior:
        """Class counts of the training set."""


def head_remedy(store: StoreReader) -> str:
    """What to do about a head that is missing, for messages."""
    return (
        f"there is none in {store.path}: give one with head= of ltood.open_features, as head.npz "
        "to ltood import, or make one (ltood adapt --recipe linear_probe; for CLIP also zero_shot, "
        "coop and others) and give its folder (--head)"
    )


def required_head(store: StoreReader, what: str) -> dict[str, NDArray[Any]]:
    """Arrays of the classifier head by name, for what does not go without.

    Args:
        store: Features.
        what: What needs the head, for the message, such as "export to head.npz".

    Raises:
        MissingNeedError: If there is no head.
    """
    arrays = store.head_arrays()
    if not arrays:
        raise MissingNeedError(f"{what} needs the classifier head; {head_remedy(store)}.")
    return arrays
