"""Our methods beside those of oodeel: same features, same thread, same run.

    echo "numpy>=2.1" > /tmp/numpy.txt
    uv venv /tmp/oodeel
    uv pip install --python /tmp/oodeel/bin/python --override /tmp/numpy.txt -e . oodeel==0.4.0
    /tmp/oodeel/bin/python benchmarks/peers_oodeel.py [--only knn vim] [--threads 1]

The override lifts oodeel's bound on numpy, which our own excludes; both then run on the same
torch and numpy. Set A and the scheme of processes and repetitions are those of `peers.py`.
oodeel takes a network and a DataLoader, so it gets a network of an identity and our head, and
a loader that hands out finished slices of the features: nothing is decoded or collated. Both
compute logits within the time, ours also where a method reads nothing else, because oodeel
cannot start from logits. Its batches have the size that suits it. The table goes to
docs/results/peers-oodeel.md.
"""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peer_pairs import ON_LOGITS, TEST_ROWS, Data, Runner, ours_from_features
from peers import compare_all, page, repeat

RESULT = Path(__file__).parents[1] / "docs" / "results" / "peers-oodeel.md"
SET = "A"
#: Of 128, 512, 2,048 and 8,192 rows the best or close to it for all methods but the next two.
BATCH = 2048
#: They square the batch for each class; 16 to 128 rows cost alike, more cost more.
SMALL_BATCH = {"mahalanobis": 128, "relative_mahalanobis": 128}
METHODS = (
    "mahalanobis",
    "relative_mahalanobis",
    "knn",
    "vim",
    "she",
    "react",
    "ash",
    "scale",
    *ON_LOGITS,
)


def theirs(method: str, data: Data) -> Runner:
    """The detector of oodeel on a network without a body."""
    import torch
    from torch.utils.data import DataLoader

    peers = import_module("oodeel.methods")
    base = import_module("oodeel.methods.base")
    # What backend it has it finds out while fitting, and then imports it.
    import_module("oodeel.extractor.torch_feature_extractor")
    shape = data.shape
    linear = torch.nn.Linear(shape.dim, shape.classes)
    linear.load_state_dict({"weight": data.head.weight, "bias": data.head.bias})
    network = torch.nn.Sequential(torch.nn.Identity(), linear)
    batch = SMALL_BATCH.get(method, BATCH)
    # It perturbs images for three of them unless eps is zero.
    made: dict[str, Callable[[], Any]] = {
        "mahalanobis": lambda: peers.Mahalanobis(eps=0.0),
        "relative_mahalanobis": lambda: peers.RMDS(eps=0.0),
        "knn": lambda: peers.DKNN(nearest=50),
        "vim": lambda: peers.VIM(princ_dims=shape.principal),
        "she": lambda: peers.SHE(eps=0.0),
        "react": lambda: peers.Energy(use_react=True, react_quantile=0.9),
        "ash": lambda: peers.Energy(use_ash=True, ash_percentile=0.65),
        "scale": lambda: peers.Energy(use_scale=True, scale_percentile=0.65),
        "maxlogit": peers.MLS,
        "msp": lambda: peers.MLS(output_activation="softmax"),
        "energy": peers.Energy,
        "entropy": peers.Entropy,
        "gen": lambda: peers.GEN(gamma=0.1, k=shape.classes),
    }

    def loader(*arrays: torch.Tensor) -> DataLoader[Any]:
        parts = zip(*(torch.split(array, batch) for array in arrays), strict=True)
        return DataLoader(list(parts), batch_size=None)  # type: ignore[arg-type]

    def fit() -> Any:
        detector = made[method]()
        given: dict[str, Any] = {}
        if isinstance(detector, base.FeatureBasedDetector):
            given["feature_layers_id"] = [0]
        if detector.requires_to_fit_dataset or detector.use_react:
            given["fit_dataset"] = loader(data.train, data.labels)
        # A list that is a default argument grows with each ReAct fitted, and its work with it.
        base.OODBaseDetector._load_feature_extractor.__defaults__[0].clear()
        detector.fit(network, **given)
        return detector

    def score(detector: Any, rows: int) -> Any:
        return detector.score(loader(data.test[:rows]))[0]

    return fit, score


def work(name: str, method: str, library: str, scores_file: str) -> None:
    """Measure one method in this process and print the figures as JSON."""
    data = Data(name)
    runner = (ours_from_features if library == "ltood" else theirs)(method, data)
    repeat(runner, TEST_ROWS, scores_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    table = compare_all(__file__, [SET], options.only, options.threads)
    if tuple(options.only) == METHODS:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        peer = f"oodeel {version('oodeel')}"
        RESULT.write_text(page(peer, _about(), table, options.threads), encoding="utf-8")


def _about() -> list[str]:
    return [
        "`python benchmarks/peers_oodeel.py` in an environment with oodeel writes this page.",
        "",
        "oodeel takes a network and a DataLoader. Here the network is an identity, which gives",
        "the features out again, and the linear head; the loader hands out finished slices of",
        "the features, so that nothing but the method is timed. Both compute the logits they",
        "need within the time, unlike on [the page of pytorch-ood](peers.md), where methods on",
        f"logits are given them. oodeel gets batches of {BATCH:,} rows, and of",
        f"{SMALL_BATCH['mahalanobis']} for Mahalanobis and RMDS: of those tried, from 16 to "
        "8,192, the best or close to it.",
        "",
        "What differs:",
        "",
        "- vim: oodeel's origin is the mean of the training rows. Its setting for the paper's",
        "  origin acts on a layer of number -1, and its layers count from 0.",
        "- she: oodeel takes the largest product with any pattern, we that with the pattern of",
        "  the predicted class.",
        "- mahalanobis, relative_mahalanobis, she: oodeel perturbs images along the gradient",
        "  by default; here it does not (`eps=0`), since there are no images.",
        "- react, ash, scale: options of oodeel's Energy; percentiles 90, 65 and 65 for both.",
        "",
        "Every method of oodeel runs on plain features, but two have no pair here: ODIN perturbs",
        "images, and Gram reads feature maps of many layers. Ours take what extraction has made of",
        "both (`extraction.extras`). oodeel in turn has no GradNorm and no NNGuide.",
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:6])
    else:
        main()
