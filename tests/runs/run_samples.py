"""Small repositories with experiments, made without DVC: commits, a lock and a cache."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from ltood.runs.repository import git
from ltood.store.scores import ScoreSplit, ScoreWriter

METHODS = {"energy": 2.0, "msp": 1.0}


def write_scores(path, method="energy", *, seed=0, shift=None, rows=120, sets=("far", "near")):
    """A score store whose method separates by `shift`, with the provenance of a training."""
    rng = np.random.default_rng([seed, len(method)])
    labels = np.arange(rows) % 3
    far = METHODS.get(method, 1.0) if shift is None else shift
    parts = {"test": _split(rng, 0.0, labels)}
    parts |= {f"ood_{name}": _split(rng, far, np.full(80, -1)) for name in sets}
    attributes = {
        "method": {"name": method, "settings": {"temperature": 1.0}, "in_use": {}},
        "calibrator": {"name": "none", "settings": {}, "in_use": {}},
        "normaliser": {"name": "none", "settings": {}, "in_use": {}},
        "class_counts": [60, 30, 10],
        "class_names": ["ä b", "<i>", "c|d"],
        "features_fingerprint": f"{seed}" * 64,
        "provenance": {
            "dataset": {"name": "demo", "settings": {"imbalance_ratio": 0.1}},
            "backbone": {"name": "cifar_resnet", "settings": {"variant": "small"}},
            "recipe": {"name": "cross_entropy", "settings": {}},
            "training": {"epochs": 3},
            "seed": seed,
        },
    }
    counts = {name: len(part) for name, part in parts.items()}
    with ScoreWriter(path, counts, attributes) as writer:
        for name, part in parts.items():
            writer.append(name, part)
    return path


def _split(rng, mean, labels):
    right = rng.random(len(labels)) < 0.8
    guesses = np.where(right & (labels >= 0), labels, rng.integers(0, 3, len(labels)))
    scores = rng.normal(mean, 1.0, len(labels)).astype(np.float32)
    return ScoreSplit(scores, guesses, labels, np.arange(len(labels)))


class Repository:
    """A repository of git whose experiments have results in a cache."""

    def __init__(self, root, inside="."):
        self.root = root / inside
        (self.root / ".dvc").mkdir(parents=True)
        (self.root / ".gitignore").write_text("/results/\n/data/\n/.dvc/cache/\n")
        (self.root / "params.yaml").write_text("seed: 0\n")
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        git(root, "config", "user.name", "a")
        git(root, "config", "user.email", "a@b.c")
        git(root, "add", "--all")
        git(root, "commit", "-qm", "first")
        self.head = git(root, "rev-parse", "HEAD").strip()

    def keep(self, path):
        """Put a file or folder into the cache; returns its hash."""
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            listed = [
                {"md5": self.keep(f), "relpath": f.relative_to(path).as_posix()} for f in files
            ]
            content = json.dumps(listed).encode()
            return self._stored(content, ".dir")
        return self._stored(path.read_bytes(), "")

    def _stored(self, content, ending):
        name = hashlib.md5(content).hexdigest() + ending
        place = self.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return name

    def lock(self, outs, params):
        """Text of a dvc.lock."""
        stage = {
            "cmd": "run",
            "params": {"params.yaml": params},
            "outs": [{"path": p, "hash": "md5", "md5": m} for p, m in outs.items()],
        }
        return json.dumps({"schema": "2.0", "stages": {"evaluate": stage}})

    def experiment(
        self, name, method="energy", seed=0, settings="seed: 0\n", auroc=0.5, made=(), **changes
    ):
        """An experiment with scores and a summary, and nothing of it in the workspace.

        Args:
            name: Of the experiment.
            method: Its method.
            seed: Its seed.
            settings: Text of params.yaml.
            auroc: Added to what the seed gives; None for a run without OOD sets.
            made: Further results, each a path in the repository and a function that writes it.
            changes: Of `write_scores`.
        """
        work = self.root.parent / f"made-{name}"
        scores = write_scores(work / "final.zarr", method, seed=seed, **changes)
        summary = work / "summary.json"
        figures = {} if auroc is None else {"auroc": auroc + 0.1 * seed}
        summary.write_text(json.dumps({**figures, "accuracy": 0.75}))
        outs = {
            "data/work/scores/final.zarr": self.keep(scores),
            "results/summary.json": self.keep(summary),
        }
        for place, write in dict(made).items():
            path = work / place
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            outs[place] = self.keep(path)
        params = {"seed": seed, "method": method, f"methods.{method}": {"temperature": 1.0}}
        (self.root / "dvc.lock").write_text(self.lock(outs, params))
        (self.root / "params.yaml").write_text(settings)
        git(self.root, "add", "dvc.lock", "params.yaml")
        git(self.root, "commit", "-qm", name)
        commit = git(self.root, "rev-parse", "HEAD").strip()
        git(self.root, "update-ref", f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}", commit)
        git(self.root, "reset", "-q", "--hard", self.head)
        shutil.rmtree(work)
        return commit


def files_of(folder: Path):
    """Content of all files below a folder but git's, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }
