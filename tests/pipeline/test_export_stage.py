"""The export stage by itself: a detector with its network, or the reason why there is none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from ltood.core.errors import StoreError
from ltood.deployment.opening import open_detector
from ltood.deployment.predicting import predict_files
from ltood.methods.mahalanobis import Mahalanobis
from ltood.pipeline import _shell, export, score
from ltood.preparing.prepare import prepare
from ltood.store.adapted import write_adapted
from ltood.store.exchange import import_folder
from ltood.store.fitted import FittedEntry, read_fitted, write_fitted
from tests.deployment.detector_samples import make_image_samples
from tests.image_samples import TinyImages

ROOT = Path(__file__).resolve().parents[2]


class Place:
    """A workspace whose export stage can run."""

    def __init__(self, path: Path) -> None:
        self.path, self.detector = path, path / _shell.DETECTOR
        (path / _shell.WORK).mkdir(parents=True)
        samples = make_image_samples(path)
        shutil.move(samples.checkpoint, path / _shell.CHECKPOINT)
        shutil.move(path / "features.zarr", path / _shell.FEATURES)
        write_adapted(path / _shell.HEAD, None)
        write_fitted(path / _shell.CALIBRATION, FittedEntry("none", {}, ""))
        prepare(TinyImages(), "tiny", {}, path / _shell.PREPARED)
        self.images = samples.folder
        self.params(method="energy")

    def params(self, method: str = "energy", **settings: Any) -> None:
        yaml = YAML()
        content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        content["method"] = method
        content["export"] |= {"examples": 0, **settings}
        with (self.path / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(content, file)

    def without_val(self) -> None:
        (self.path / "arrays" / "val.npz").rename(self.path / "arrays" / "test.npz")
        shutil.rmtree(self.path / _shell.FEATURES)
        import_folder(self.path / "arrays", self.path / _shell.FEATURES)

    def files(self) -> dict[str, bytes]:
        results = self.path / _shell.RESULTS
        return {
            str(path.relative_to(results)): path.read_bytes()
            for path in sorted(results.rglob("*"))
            if path.is_file()
        }

    def missing(self) -> str:
        return str(json.loads(self.detector.with_suffix(".json").read_text())["missing"])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


def test_the_detector_judges_pictures_without_a_checkpoint(place):
    export.run()
    before = place.files()
    assert {"detector.json", "detector.safetensors"} < before.keys()
    export.run()
    assert place.files() == before
    shutil.rmtree(place.path / "data")
    opened = open_detector(place.detector)
    found = list(predict_files(opened.detector, [place.images], checkpoint=opened.checkpoint))
    assert len(found) == 3
    assert all(np.isfinite(verdict.score) for verdict in found)


def test_a_network_that_is_only_named_is_not_copied(place):
    export.run()
    place.params(checkpoint="reference")
    export.run()
    assert place.files().keys() == {"detector.json", "detector.safetensors"}
    assert open_detector(place.detector).checkpoint is None
    assert (place.path / _shell.RESULTS / "detector.network").is_dir()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"enabled": False}, "export.enabled"),
        ({"max_gib": 1e-9, "method": "mahalanobis"}, "export.max_gib"),
        ({"method": "tanl"}, "tanl"),
        ({"method": "odin"}, "odin"),
    ],
)
def test_no_detector_is_no_failure_and_says_why(place, settings, key):
    export.run()
    place.params(**settings)
    export.run()
    assert key in place.missing()
    assert place.files().keys() == {"detector.json", "detector.safetensors"}
    with pytest.raises(StoreError, match=key):
        open_detector(place.detector)


def test_without_val_there_is_no_detector_until_another_split_is_named(place):
    place.without_val()
    export.run()
    assert "export.threshold_split" in place.missing()
    place.params(threshold_split="val")
    with pytest.raises(SystemExit):
        export.run()
    place.params(threshold_split="test")
    export.run()
    detector = open_detector(place.detector).detector
    assert detector.description["threshold"]["split"] == "test"


def test_a_network_of_another_run_is_refused(place):
    export.run()
    folder = place.path / "results/detector.network"
    other = make_image_samples(place.path / "other", seed=1)
    shutil.rmtree(folder)
    shutil.copytree(other.checkpoint, folder)
    with pytest.raises(Exception, match="weights") as refused:
        open_detector(place.detector).network  # noqa: B018
    assert type(refused.value).__name__ == "DataError"


def test_a_killed_export_leaves_no_description(place, monkeypatch):
    export.run()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ltood.deployment.sidecar.replace_together", killed)
    with pytest.raises(SystemExit):
        export.run()
    assert "detector.json" not in place.files()
    monkeypatch.undo()
    monkeypatch.chdir(place.path)
    export.run()
    assert open_detector(place.detector).checkpoint is not None


def test_the_method_of_the_score_stage_is_not_fitted_again(place, monkeypatch):
    place.params(method="mahalanobis")
    score.run()
    fitted: list[object] = []
    fit = Mahalanobis._fit
    monkeypatch.setattr(Mahalanobis, "_fit", lambda *given: fitted.append(given) or fit(*given))
    export.run()
    before, folder = place.files(), place.path / _shell.METHOD
    assert not fitted
    kept = read_fitted(folder)
    # The threshold is another one, and what was learned is the same.
    place.params(method="mahalanobis", tpr=0.5)
    export.run()
    assert not fitted
    assert place.files() != before

    place.params(method="mahalanobis")
    shifted = {name: values + 1 for name, values in kept.state.items()}
    for change in (
        {"settings": {"ridge": 2.0, "normalise": False}},
        {"features_fingerprint": "another"},
        {"behind": "another"},
        {"name": "hpm"},
    ):
        write_fitted(folder, replace(kept, state=shifted, **change))
        export.run()
        assert place.files() == before
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    export.run()
    assert place.files() == before
    monkeypatch.setattr("ltood.scoring.kept.MOST_BYTES", 8)
    score.run()
    assert not read_fitted(folder).state
    shutil.rmtree(folder)
    export.run()
    assert place.files() == before
    assert len(fitted) == 7  # In score and in all exports but the first two.
