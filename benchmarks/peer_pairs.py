"""The same methods in ltood and in pytorch-ood, with the same settings, on the same tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

TEST_ROWS = 20_000


@dataclass(frozen=True)
class Shape:
    """Sizes of a set of random features."""

    rows: int
    dim: int
    classes: int
    principal: int


SETS = {"A": Shape(50_000, 512, 100, 256), "B": Shape(20_000, 2048, 1000, 1000)}

#: Test rows that the peer scores where all of them would take minutes or tens of gigabytes.
PEER_ROWS = {
    ("A", "dice"): 2_000,
    ("A", "openmax"): 500,
    ("B", "mahalanobis"): 200,
    ("B", "relative_mahalanobis"): 200,
    ("B", "dice"): 200,
    ("B", "openmax"): 20,
}

#: Methods whose fit reads training logits beside features; the time has their computation in it.
_FIT_ON_BOTH = ("vim", "she", "nnguide", "relation")
#: Methods fitted on nothing but logits, of which both get the finished arrays.
_LOGITS = ("kl_matching", "temperature_scaling", "openmax")
_SETTINGS: dict[str, dict[str, Any]] = {
    "knn": {"k": 50},
    "nnguide": {"k": 10, "fraction": 1.0},
    "react": {"percentile": 90.0},
    "dice": {"percentile": 90.0},
    "ash": {"variant": "s", "percentile": 65.0},
    "scale": {"percentile": 65.0},
    "nci": {"alpha": 1e-4},
    "gen": {"k": 1000},
}
#: Methods that read nothing but logits and are not fitted.
ON_LOGITS = ("maxlogit", "msp", "energy", "entropy", "gen")
#: The peer's definition is another one, so the scores may rank rows in another order.
OTHER_DEFINITION = {
    "openmax": "its distances and tails are others",
    "pnml": "its rows get no constant",
    "vra": "it lifts activations to the floor, where the authors make them 0",
    "temperature_scaling": "it stops after 50 small steps",
}


class Data:
    """One set: training rows, test rows and a head; the same in every process."""

    def __init__(self, name: str) -> None:
        import torch

        from ltood.core.head import ClassifierHead

        shape = SETS[name]
        random = torch.Generator().manual_seed(0)

        def normal(*size: int) -> torch.Tensor:
            return torch.randn(*size, generator=random)

        means = normal(shape.classes, shape.dim)
        self.shape = shape
        self.labels = torch.arange(shape.rows) % shape.classes
        self.train = (means[self.labels] + normal(shape.rows, shape.dim)).clamp_(min=0)
        test_labels = torch.arange(TEST_ROWS) % shape.classes
        self.test = means[test_labels] * 0.9 + normal(TEST_ROWS, shape.dim)
        self.test.clamp_(min=0)
        # A head that classifies: the nearest class mean, its logits as spread as real ones.
        centres = torch.zeros(shape.classes, shape.dim).index_add_(0, self.labels, self.train)
        centres /= torch.bincount(self.labels)[:, None]
        weight = (centres - centres.mean(0)) / shape.dim**0.5
        self.head = ClassifierHead(weight, -(weight * centres).sum(1) / 2)
        self.test_logits = self.head.logits(self.test)

    def train_logits(self) -> Any:
        """Logits of the training rows, [N, C]."""
        return self.head.logits(self.train)


#: Gives a function without arguments that fits, and one that scores the first n rows.
Runner = tuple[Callable[[], Any], Callable[[Any, int], Any]]


def ours(method: str, data: Data, given_settings: dict[str, Any] | None = None) -> Runner:
    """Our entry with the settings that the peer's has; by default those for pytorch-ood."""
    import torch

    from ltood.core import registry
    from ltood.core.batches import BATCH_ROWS, FeatureBatch
    from ltood.core.inputs import FitInputs, Need

    settings = dict(_SETTINGS.get(method, {}) if given_settings is None else given_settings)
    if method == "vim":
        settings["dim"] = data.shape.principal
    if method == "gen":
        settings["k"] = data.shape.classes
    module = registry.load("methods", method)
    entry = module.Entry(module.Config(**settings)) if settings else module.Entry()
    head = data.head if "logits" in entry.arrays or Need.HEAD in entry.needs else None
    given = data.train_logits() if method in _LOGITS else None

    def fit() -> Any:
        if not entry.needs:
            return entry
        logits = data.train_logits() if method in _FIT_ON_BOTH else given
        inputs = FitInputs.of(
            data.train, data.labels, logits=logits, num_classes=data.shape.classes
        )
        return entry.fit(FitInputs(inputs.train, None, head, inputs.prior))

    def score(detector: Any, rows: int) -> Any:
        if "features" not in entry.arrays:
            parts = torch.split(data.test_logits[:rows], BATCH_ROWS)
            return torch.cat([detector.score(FeatureBatch.of(None, part)) for part in parts])
        parts = torch.split(data.test[:rows], BATCH_ROWS)
        wanted = head if "logits" in entry.arrays else None
        return torch.cat([detector.score(FeatureBatch.of(part, head=wanted)) for part in parts])

    return fit, score


def ours_from_features(
    method: str, data: Data, given_settings: dict[str, Any] | None = None
) -> Runner:
    """Our entry, which computes the logits that it scores within the time.

    For peers that take a network and cannot start from logits.
    """
    import torch

    from ltood.core.batches import BATCH_ROWS, FeatureBatch

    fit, score = ours(method, data, given_settings)
    if method not in ON_LOGITS:
        return fit, score

    def score_features(detector: Any, rows: int) -> Any:
        parts = torch.split(data.test[:rows], BATCH_ROWS)
        return torch.cat([detector.score(FeatureBatch.of(part, head=data.head)) for part in parts])

    return fit, score_features


def theirs(method: str, data: Data) -> Runner:
    """The detector of pytorch-ood."""
    import torch

    peers = import_module("pytorch_ood.detector")
    head, shape = data.head, data.shape
    linear = torch.nn.Linear(shape.dim, shape.classes)
    linear.load_state_dict({"weight": head.weight, "bias": head.bias})
    on_logits: dict[str, Callable[[], Any]] = {
        "msp": lambda: peers.MaxSoftmax(None),
        "maxlogit": lambda: peers.MaxLogit(None),
        "energy": lambda: peers.EnergyBased(None),
        "entropy": lambda: peers.Entropy(None),
        "gen": lambda: peers.GEN(None, gamma=0.1, M=shape.classes),
        "kl_matching": lambda: peers.KLMatching(None),
        "temperature_scaling": lambda: peers.TemperatureScaling(None),
        "openmax": lambda: peers.OpenMax(None, tailsize=20, alpha=10),
    }
    on_features: dict[str, Callable[[], Any]] = {
        "knn": lambda: peers.KNN(None, k=50),
        "vim": lambda: peers.ViM(None, shape.principal, head.weight, head.bias),
        "mahalanobis": lambda: peers.Mahalanobis(None),
        "relative_mahalanobis": lambda: peers.RMD(None),
        "dice": lambda: peers.DICE(None, head.weight, head.bias, 0.9),
        "fdbd": lambda: peers.fDBD(None, linear),
        "lts": lambda: peers.LTS(None, linear),
        "mcm": lambda: peers.MCM(None, head.weight),
        "nci": lambda: peers.NCI(None, linear, alpha=1e-4),
        "nnguide": lambda: peers.NNGuide(None, linear, k=10),
        "pnml": lambda: peers.PNML(None, linear),
        "she": lambda: peers.SHE(None, linear),
    }
    flat = torch.nn.Sequential(torch.nn.Flatten(), linear)
    on_maps: dict[str, Callable[[], Any]] = {
        "react": lambda: peers.ReAct(None, flat, percentile=0.9),
        "ash": lambda: peers.ASH(None, flat, variant="ash-s", percentile=0.65),
        "scale": lambda: peers.SCALE(None, flat, percentile=0.65),
        "vra": lambda: peers.VRA(None, flat, lower_percentile=0.6, upper_percentile=0.9),
    }
    given = data.train_logits() if method in on_logits else None

    def fit() -> Any:
        if method in on_logits:
            built = on_logits[method]()
            if getattr(built, "requires_fit", False):
                built.fit_logits(given, data.labels)
        elif method in on_features:
            built = on_features[method]()
            if method not in ("lts", "mcm"):
                built.fit_features(data.train, data.labels)
        else:
            built = on_maps[method]()
            if method in ("react", "vra"):
                built.fit_feature_maps(data.train[:, :, None, None], data.labels)
        return built

    def score(detector: Any, rows: int) -> Any:
        if method in on_logits:
            return detector.predict_logits(data.test_logits[:rows])
        if method in on_features:
            return detector.predict_features(data.test[:rows])
        return detector.predict_feature_maps(data.test[:rows, :, None, None])

    return fit, score


METHODS = (
    "mahalanobis",
    "relative_mahalanobis",
    "knn",
    "nnguide",
    "vim",
    "pnml",
    "nci",
    "fdbd",
    "she",
    "mcm",
    "react",
    "vra",
    "ash",
    "scale",
    "lts",
    "dice",
    "energy",
    "msp",
    "maxlogit",
    "entropy",
    "gen",
    "kl_matching",
    "temperature_scaling",
    "openmax",
)
