"""Our methods beside those of OpenOOD: same features, same thread, same run.

    git clone https://github.com/Jingkang50/OpenOOD /tmp/openood
    uv venv /tmp/peers && uv pip install --python /tmp/peers -e . scikit-learn scipy faiss-cpu tqdm
    /tmp/peers/bin/python benchmarks/peers_openood.py /tmp/openood [--only knn vim] [--sets A]

The sets and the scheme of processes and repetitions are those of `peers.py`. OpenOOD takes a
network and loaders of images, so it gets a network that hands its input out again as features and
has our head behind them, and loaders of finished slices of the features: nothing is decoded or
collated. It asks for CUDA wherever it takes a batch; here that is the tensor itself. Its package
imports every network it knows, so single files are imported past it. Both compute logits within
the time, because OpenOOD cannot start from them. Its batches have the size that suits it. The
table goes to docs/results/peers-openood.md.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from peer_pairs import SETS, TEST_ROWS, Data, Runner, ours_from_features
from peers import compare_all, page, repeat

RESULT = Path(__file__).parents[1] / "docs" / "results" / "peers-openood.md"
#: Where OpenOOD lies, for the processes that measure.
FOLDER = "OPENOOD_FOLDER"
#: Names of OpenOOD's data sets that have as many classes.
_DATA = {"A": "cifar100", "B": "imagenet"}
BATCH = 2048
#: What squares a batch for each class, or holds a product of it with all weights.
SMALL_BATCH = {"mahalanobis": 128, "relative_mahalanobis": 128, "dice": 128}

#: What writes into the features it is given; a network would make new ones for each batch.
_CHANGES = ("relation", "ash", "scale")

#: Test rows that the peer scores where all of them would take minutes.
PEER_ROWS = {
    ("A", "relation"): 2_000,
    ("A", "gradnorm"): 2_000,
    ("A", "kl_matching"): 500,
    ("B", "mahalanobis"): 128,
    ("B", "relative_mahalanobis"): 128,
    ("B", "dice"): 256,
    ("B", "relation"): 500,
    ("B", "gradnorm"): 500,
    ("B", "kl_matching"): 50,
}

#: File and class of OpenOOD, its settings, and ours for the same.
METHODS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "mahalanobis": ("mds", "MDSPostprocessor", {}, {}),
    "relative_mahalanobis": ("rmds", "RMDSPostprocessor", {}, {}),
    "knn": ("knn", "KNNPostprocessor", {"K": 50}, {"k": 50}),
    "nnguide": (
        "nnguide",
        "NNGuidePostprocessor",
        {"K": 10, "alpha": 1.0},
        {"k": 10, "fraction": 1.0},
    ),
    "relation": ("relation", "RelationPostprocessor", {"pow": 1}, {}),
    "vim": ("vim", "VIMPostprocessor", {"dim": None}, {}),
    "fdbd": ("fdbd", "fDBDPostprocessor", {"distance_as_normalizer": True}, {}),
    "nci": ("nci", "NCIPostprocessor", {"alpha": 1e-4}, {"alpha": 1e-4}),
    "she": ("she", "SHEPostprocessor", {"metric": "inner_product"}, {}),
    "react": ("react", "ReactPostprocessor", {"percentile": 90}, {"percentile": 90.0}),
    "ash": (
        "ash",
        "ASHPostprocessor",
        {"percentile": 90},
        {"variant": "b", "percentile": 90.0},
    ),
    "scale": ("scale", "ScalePostprocessor", {"percentile": 85}, {"percentile": 85.0}),
    "dice": ("dice", "DICEPostprocessor", {"p": 90}, {"percentile": 90.0}),
    "gradnorm": ("gradnorm", "GradNormPostprocessor", {}, {}),
    "kl_matching": ("kl_matching", "KLMatchingPostprocessor", {}, {}),
    "energy": ("ebo", "EBOPostprocessor", {"temperature": 1}, {}),
    "msp": ("base", "BasePostprocessor", {}, {}),
    "maxlogit": ("maxlogit", "MaxLogitPostprocessor", {}, {}),
    "gen": ("gen", "GENPostprocessor", {"gamma": 0.1, "M": None}, {}),
}
#: OpenOOD's networks around another one, which shape its features.
_AROUND = {"react": "ReactNet", "ash": "ASHNet", "scale": "ScaleNet"}


def theirs(name: str, method: str, data: Data) -> Runner:
    """The postprocessor of OpenOOD on a network without a body."""
    import torch

    sys.path.insert(0, os.environ[FOLDER])
    for package in ("openood.postprocessors", "openood.networks"):
        past = ModuleType(package)
        past.__path__ = [str(Path(os.environ[FOLDER]) / package.replace(".", "/"))]
        sys.modules[package] = past
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign]
    torch.nn.Module.cuda = lambda module, *_, **__: module  # type: ignore[method-assign]
    file, kind, given, _ = METHODS[method]
    made = getattr(import_module(f"openood.postprocessors.{file}_postprocessor"), kind)
    shape = data.shape
    arguments = dict(given)
    if "dim" in arguments:
        arguments["dim"] = shape.principal
    if "M" in arguments:
        arguments["M"] = shape.classes
    config = SimpleNamespace(
        dataset=SimpleNamespace(name=_DATA[name]),
        postprocessor=SimpleNamespace(
            postprocessor_args=SimpleNamespace(**arguments), postprocessor_sweep=None
        ),
    )
    network = _network(data, copies=method in _CHANGES)
    if method in _AROUND:
        around = _AROUND[method]
        file = around.removesuffix("Net").lower()
        network = getattr(import_module(f"openood.networks.{file}_net"), around)(network)
    batch = SMALL_BATCH.get(method, BATCH)
    train = _Loader(data.train, data.labels, batch)
    # It learns shares of activations and mean posteriors from its loader val.
    loaders = {"train": train, "val": train}

    def fit() -> Any:
        detector = made(config)
        with (
            Path(os.devnull).open("w") as nothing,
            redirect_stdout(nothing),
            redirect_stderr(nothing),
        ):
            detector.setup(network, loaders, None)
        return detector

    def score(detector: Any, rows: int) -> Any:
        parts = torch.split(data.test[:rows], batch)
        found = [detector.postprocess(network, part)[1] for part in parts]
        return -torch.cat([torch.as_tensor(part) for part in found])

    return fit, score


class _Loader:
    """Slices of rows with their labels, as OpenOOD's loaders give them."""

    def __init__(self, rows: Any, labels: Any, batch: int) -> None:
        self.rows, self.labels, self.batch_size, self.dataset = rows, labels, batch, labels

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self.rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"data": self.rows[part], "label": self.labels[part]}


def _network(data: Data, *, copies: bool) -> Any:
    """A network as OpenOOD knows them: features are (copies of) its input, then comes the head."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(data.shape.dim, data.shape.classes)
            state = {"weight": data.head.weight, "bias": data.head.bias}
            self.fc.load_state_dict(state)

        def forward(self, x: Any, return_feature: bool = False, *_: Any) -> Any:
            if not return_feature:
                return self.fc(x)
            return self.fc(x), x.clone() if copies else x

        def get_fc(self) -> tuple[Any, Any]:
            return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()

        def get_fc_layer(self) -> Any:
            return self.fc

    return Network().eval()


def work(name: str, method: str, library: str, scores_file: str) -> None:
    """Measure one method in this process and print the figures as JSON."""
    data = Data(name)
    if library == "ltood":
        runner, rows = ours_from_features(method, data, METHODS[method][3]), TEST_ROWS
    else:
        runner, rows = theirs(name, method, data), PEER_ROWS.get((name, method), TEST_ROWS)
    repeat(runner, rows, scores_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="OpenOOD's repository")
    parser.add_argument("--only", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ[FOLDER] = str(options.folder.resolve())
    table = compare_all(__file__, options.sets, options.only, options.threads)
    if tuple(options.only) == tuple(METHODS) and options.sets == sorted(SETS):
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        peer = f"OpenOOD (commit {_commit(options.folder)})"
        RESULT.write_text(page(peer, _about(), table, options.threads), encoding="utf-8")


def _commit(folder: Path) -> str:
    """The commit of a repository, short."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _about() -> list[str]:
    return [
        "`python benchmarks/peers_openood.py FOLDER` writes this page from a clone of OpenOOD.",
        "",
        "OpenOOD takes a network and loaders of images. Here the network hands its input out",
        "again as features, with the linear head behind them, and the loaders hand out slices",
        "of the features, so that nothing but the method is timed. Both compute the logits",
        "they need within the time. OpenOOD is written for a GPU, where its loops over classes",
        f"cost less; its batches have {BATCH:,} rows here, {SMALL_BATCH['dice']} for MDS, RMDS",
        "and DICE.",
        "",
        "What differs: *vim*, whose origin OpenOOD takes by NumPy's pseudoinverse, in which",
        "directions stay that are rounding errors of float32. The weights of this head add up",
        "to zero, so that its origin lies 10^8 away on set A, and in float32 little is left of",
        "the covariance about it. Ours and pytorch-ood cut such directions. *openmax* and",
        "*temperature_scaling* are not here: one needs a package that builds no longer, the",
        "other a GPU.",
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:6])
    else:
        main()
