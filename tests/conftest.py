from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.runtime.params import read_params

GOLDEN = Path(__file__).parent / "golden"

# No deadlines: how long an example takes says how busy the machine is, not what the code does.
settings.register_profile("ltood", deadline=None)
settings.load_profile("ltood")

#: Tests that run whole pipelines: first, so that no worker is left alone with one at the end.
LONG = ("pipeline", "pages", "test_stranger.py", "test_wheel.py", "sharing", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        first = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONG.index(first) if first in LONG else len(LONG)

    items.sort(key=place)  # Stable: files stay together, and tests in them in their order.


#: Long-tailed, as everything ltood is for.
COUNTS = (60, 30, 15, 8)
DIM, PATCHES = 24, 5


@dataclass(frozen=True)
class Toy:
    """Four classes, each with its own block of active features, and outliers with none."""

    inputs: FitInputs
    id_batch: FeatureBatch
    ood_batch: FeatureBatch
    head: ClassifierHead


def _rows(labels: Tensor, blocks: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pooled and local features of `labels`; -1 is active everywhere, but weakly."""
    centres = torch.cat([blocks * 2.0, torch.full_like(blocks[:1], 0.4)])[labels]
    noise = torch.randn(len(labels), PATCHES, blocks.shape[1], generator=rng)
    local = (centres[:, None] + 0.6 * noise).relu()
    return local.mean(dim=1), local


def extras_of(features: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
    """Extra arrays of some rows, as extraction would give them; all follow from the features."""
    waves = 0.02 * torch.sin(37 * features)
    # Two places see the even channels and two the odd ones, so that a map has rank 2.
    even = (torch.arange(features.shape[1]) % 2 == 0).to(features)
    places = 2 * torch.stack([even, even, 1 - even, 1 - even])
    halves = features.unflatten(1, (-1, 2)).sum(dim=2) if features.shape[1] % 2 == 0 else features
    narrow = torch.nn.functional.pad(halves, (0, features.shape[1] - halves.shape[1]))
    orders = torch.tensor([1.0, 2.0])[:, None]
    return {
        "odin/features": scale * (features + waves),
        "adascale/features": scale * (features - waves),
        "maps/features": scale * (features[:, None] * places),
        # A layer of the width of features, and one of half that.
        "layers/means": scale * torch.stack([features, narrow], dim=1),
        # Two orders of each.
        "gram/sums": scale * torch.stack([features, narrow], dim=1)[:, :, None] * orders,
    }


def make_toy(seed: int = 0, dim: int = DIM, counts: tuple[int, ...] = COUNTS) -> Toy:
    rng = torch.Generator().manual_seed(seed)
    words = torch.Generator().manual_seed(seed)
    num_classes = len(counts)
    blocks = torch.eye(num_classes).repeat_interleave(dim // num_classes, dim=1)
    head = ClassifierHead(
        weight=blocks - 0.25 + 0.05 * torch.randn(num_classes, dim, generator=rng),
        bias=0.1 * torch.randn(num_classes, generator=rng),
        # An ID image has one strong block, an outlier a weak sum: g is large for ID, and the
        # class of outliers, which comes last, for them.
        extra_weight=torch.tensor([[0.5], [-0.5]]).expand(2, dim),
        extra_bias=torch.tensor([-6.0, 6.0]),
        outlier_classes=torch.tensor(1.0),
        bn_weight=torch.full((dim,), 0.7),
        bn_bias=torch.full((dim,), 0.6),
        logit_scale=torch.tensor(100.0),
        # Words of everything at once, as weak in each block as an outlier.
        negative_weight=1.0 + 0.2 * torch.randn(7, dim, generator=words),
        no_weight=1.2 - blocks,
    )

    def batch(labels: Tensor) -> FeatureBatch:
        features, local = _rows(labels, blocks, rng)
        ids = torch.arange(len(labels))
        return FeatureBatch.of(
            features,
            labels=labels,
            ids=ids,
            local=local,
            extras=extras_of(features),
            head=head,
        )

    train = batch(torch.repeat_interleave(torch.arange(num_classes), torch.tensor(counts)))
    aux = batch(torch.full((50,), -1))
    id_batch = batch(torch.arange(40) % num_classes)
    ood_batch = batch(torch.full((40,), -1))
    inputs = FitInputs(
        TensorSource(train, num_classes),
        TensorSource(aux, num_classes),
        head,
        ClassPrior(np.array(counts)),
        # Drawn last, so that the rows above are those of earlier times.
        TensorSource(batch(torch.arange(120) % num_classes), num_classes),
    )
    return Toy(inputs, id_batch, ood_batch, head)


@pytest.fixture
def toy() -> Toy:
    return make_toy()


@pytest.fixture(autouse=True)
def seed() -> int:
    """The one seed of all tests."""
    torch.manual_seed(0)
    np.random.seed(0)
    return 0


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def load_golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def himplos_golden() -> dict[str, np.ndarray]:
    return load_golden("himplos")


@pytest.fixture(scope="session")
def patt_golden() -> dict[str, np.ndarray]:
    return {**load_golden("patt"), **load_golden("patt_outliers"), **load_golden("patt_rows")}


@pytest.fixture(scope="session")
def imood_golden() -> dict[str, np.ndarray]:
    return load_golden("imood")


@pytest.fixture(scope="session")
def params() -> dict[str, Any]:
    """The content of params.yaml, read once."""
    return read_params(Path(__file__).parents[1] / "params.yaml")
