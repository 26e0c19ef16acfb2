"""A sweep gives what one run for each setting gives, and names the best."""

import numpy as np
import pytest
import torch

from ltood.core.batches import FeatureBatch
from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, MissingNeedError, UnknownNameError
from ltood.core.registry import available, load
from ltood.core.settings import to_section
from ltood.core.streams import StreamMethod
from ltood.methods.nnguide import NNGuide
from ltood.metrics.auroc import auroc
from ltood.metrics.fpr_at_tpr import fpr_at_tpr
from ltood.ops.neighbours import Neighbours
from ltood.scoring.run import score_store
from ltood.sweeping import searching
from ltood.sweeping.candidates import (
    grid_candidates,
)
from ltood.sweeping.searching import sweep
from tests.sweeping.sweep_samples import GRID, make_store

#: Another value of every setting that many methods have, by its name.
OTHERS = {"k": 7, "percentile": 20.0, "clip": 0.8, "temperature": 3.0, "scorer": "msp"}

#: Methods with a score_many of their own, and settings to combine in every way.
COMBINED = {
    "himplos": {
        "percentile": [20.0, 80.0],
        "clip": [0.8, None],
        "scorer": ["energy", "msp"],
        "mask": [True, False],
        "smoothing": [True, False],
    },
    "knn": {"k": [3, 1, 7], "normalise": [True, False]},
}


def rows_of(batch: FeatureBatch) -> FeatureBatch:
    """The same rows without anything computed for them yet."""
    return batch.slice(0, len(batch))


#: Streams are never swept: their scores depend on the rows around them.
SWEPT = [
    name
    for name in available("methods")
    if not issubclass(load("methods", name).Entry, StreamMethod)
]


@pytest.mark.parametrize("name", SWEPT)
def test_scoring_many_equals_scoring_each(name, toy):
    module = load("methods", name)
    settings = {"k": 3} if "k" in module.Config.__dataclass_fields__ else {}
    if name == "ensemble":  # A rule that all other settings go with.
        settings = {"combine": "simes"}
    configs = grid_candidates(COMBINED[name]) if name in COMBINED else [settings]
    if name not in COMBINED:
        for key, value in to_section(module.Config(**settings)).items():
            other = not value if isinstance(value, bool) else OTHERS.get(key, value)
            if (name, key) == ("optfs", "scorer"):
                other = "logit"
            if other != value:
                configs.append({**settings, key: other})
    detectors = [module.Entry(module.Config(**config)).fit(toy.inputs) for config in configs]
    got = module.Entry.score_many(detectors, rows_of(toy.ood_batch))
    assert got.shape == (len(configs), len(toy.ood_batch))
    assert got.dtype == torch.float32
    for row, config in zip(got, configs, strict=True):
        alone = module.Entry(module.Config(**config)).fit(toy.inputs)
        torch.testing.assert_close(row, alone.score(rows_of(toy.ood_batch)))


def alone(store, tmp_path, method, settings, calibrator="none"):
    """Metrics of one setting by the ordinary way."""
    scores = score_store(
        store,
        tmp_path / "s.zarr",
        EntrySpec(method, settings),
        EntrySpec(calibrator),
        overwrite=True,
    )
    known, unknown = scores.split("val").scores, scores.split("aux").scores
    return auroc(known, unknown), fpr_at_tpr(known, unknown, positive="ood")


@pytest.mark.parametrize("calibrator", ["none", "patt"])
def test_a_sweep_equals_one_run_for_each_setting(store, tmp_path, calibrator):
    candidates = grid_candidates(GRID)
    result = sweep(
        store, "himplos", candidates, fixed={"smoothing": False}, calibrator=EntrySpec(calibrator)
    )
    assert [item.swept for item in result.candidates] == candidates
    assert result.winner.metrics["auroc"] == max(
        item.metrics["auroc"] for item in result.candidates
    )
    for item in result.candidates[::4]:
        area, rate = alone(
            store, tmp_path, "himplos", {"smoothing": False, **item.swept}, calibrator
        )
        assert item.section["smoothing"] is False
        assert item.metrics["auroc"] == pytest.approx(area, abs=1e-3)
        assert item.metrics["fpr95_ood_pos"] == pytest.approx(rate, abs=0.03)
    assert result.validation == {"id": "val", "ood": "aux"}


def test_the_metric_decides_and_has_a_direction(store):
    candidates = grid_candidates(GRID)
    for metric, choose in (("fpr95_id_pos", min), ("ap_in", max)):
        result = sweep(store, "himplos", candidates, metric=metric)
        values = [item.metrics[metric] for item in result.candidates]
        assert result.best == values.index(choose(values))


def test_every_k_comes_from_one_search(store, monkeypatch):
    searches = []
    start = Neighbours.start
    monkeypatch.setattr(
        Neighbours, "start", lambda self, *given: searches.append(self.k) or start(self, *given)
    )
    sweep(store, "knn", grid_candidates({"k": [1, 3, 5, 40, 7]}))
    assert searches == [40, 40]  # the ID side and the OOD side


def test_portions_change_nothing(store, monkeypatch):
    candidates = grid_candidates(GRID)
    whole = sweep(store, "himplos", candidates)
    sizes = []
    score = searching._score_portion
    monkeypatch.setattr(
        searching, "_score_portion", lambda *given: sizes.append(len(given[0])) or score(*given)
    )
    monkeypatch.setattr(searching, "SCORE_BYTES", 5 * 4 * 90)
    assert sweep(store, "himplos", candidates) == whole
    assert sizes == [5, 5, 2]
    sizes.clear()
    monkeypatch.setattr(searching, "STATE_BYTES", 0)
    assert sweep(store, "himplos", candidates) == whole
    assert sizes == [1] * 12


@pytest.mark.parametrize("step", ["_fit", "_score"])
def test_a_fault_of_one_candidate_is_its_own(store, monkeypatch, step):
    candidates = grid_candidates({"k": [1, 3, 5]})
    whole = sweep(store, "nnguide", candidates)
    work = getattr(NNGuide, step)

    def faulty(self, given):
        if self.config.k == 3:
            raise torch.linalg.LinAlgError("singular\nmatrix")
        return work(self, given)

    monkeypatch.setattr(NNGuide, step, faulty)
    result = sweep(store, "nnguide", candidates)
    problems = [item.problem for item in result.candidates]
    assert problems[0] is problems[2] is None
    assert problems[1].endswith("LinAlgError: singular matrix")
    for place in (0, 2):
        assert result.candidates[place] == whole.candidates[place]
    assert any("1 of 3 candidates could not be scored" in note for note in result.warnings)


def test_candidates_that_cannot_be_scored_are_told_apart(store):
    result = sweep(store, "knn", [{"k": 91}, {"k": 3}, {"k": 500}, {"k": 5}])
    problems = [item.problem for item in result.candidates]
    assert problems[0].startswith("methods.knn.k is 91 but there are only 90 training rows")
    assert problems[1] is None
    assert problems[3] is None
    assert result.best in (1, 3)
    assert any(
        note.startswith("2 of 4 candidates could not be scored; the first, k=91: methods.knn.k")
        for note in result.warnings
    )
    result = sweep(store, "energy", [{"temperature": 1e-42}, {"temperature": 1.0}])
    assert result.candidates[0].problem == "90 scores are not finite"
    assert result.best == 1
    with pytest.raises(ConfigError, match=r"no candidate could be scored: methods.knn.k is 91 but"):
        sweep(store, "knn", [{"k": 91}])


def edges(result):
    return [note.split(" is ")[0] for note in result.warnings if "at the edge" in note]


def test_winners_at_an_edge_are_named(monkeypatch, store):
    def wins(method, candidates, winner):
        chosen = candidates.index(winner)
        monkeypatch.setattr(searching, "_best", lambda found, metric: chosen)
        return edges(sweep(store, method, candidates))

    three = grid_candidates({"percentile": [0, 50, 90]})
    assert wins("himplos", three, {"percentile": 90}) == ["the best percentile"]
    assert wins("himplos", three, {"percentile": 50}) == []
    assert wins("himplos", three, {"percentile": 0}) == []  # nothing lies below
    hundred = grid_candidates({"percentile": [50, 100]})
    assert wins("himplos", hundred, {"percentile": 100}) == []  # nor above
    clips = grid_candidates({"clip": [0.5, 1.0, None]})
    assert wins("himplos", clips, {"clip": 0.5}) == ["the best clip"]
    assert wins("himplos", clips, {"clip": None}) == []
    ranks = grid_candidates({"k": [1, 5]})
    assert wins("knn", ranks, {"k": 1}) == []
    assert wins("knn", ranks, {"k": 5}) == ["the best k"]
    assert wins("knn", [{"k": 5}], {"k": 5}) == []


def test_a_flipped_winner_and_shared_outliers_are_named(tmp_path):
    rng = np.random.default_rng(0)
    store = make_store(tmp_path)
    assert not any("guessing" in n for n in sweep(store, "energy", [{"temperature": 1.0}]).warnings)
    outliers = tmp_path / "loud.npz"
    np.savez(outliers, features=20 + np.abs(rng.normal(size=(40, 8))))
    result = sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(outliers))
    (note,) = [note for note in result.warnings if "guessing" in note]
    assert note.startswith("the best candidate has an AUROC of 0.0")
    one = [{"temperature": 1.0}]
    learned = "the method or its calibrator learns from aux"
    notes = sweep(store, "energy", one, calibrator=EntrySpec("patt")).warnings
    assert any(note.startswith(learned) for note in notes)
    notes = sweep(
        store, "energy", one, calibrator=EntrySpec("patt"), validation_ood=str(outliers)
    ).warnings
    assert not any(note.startswith(learned) for note in notes)


def test_a_method_that_learns_from_the_rows_of_the_choice_is_named(tmp_path):
    store = make_store(tmp_path)
    for fit_on, is_named in (("val", True), ("auto", True), ("train", False)):
        notes = sweep(store, "temperature_scaling", [{"fit_on": fit_on}]).warnings
        assert any(note.startswith("the method learns from val") for note in notes) == is_named


def test_wrong_questions_are_refused_first(store, tmp_path):
    one = [{"temperature": 1.0}]
    with pytest.raises(UnknownNameError, match=r"No metric 'auc'. Known: auroc, fpr95_ood_pos"):
        sweep(store, "energy", one, metric="auc")
    with pytest.raises(ConfigError, match="temperature is both fixed and swept; give it once"):
        sweep(store, "energy", one, fixed={"temperature": 2.0})
    with pytest.raises(ConfigError, match=r"methods.energy has no key 'temp'"):
        sweep(store, "energy", [{"temp": 1.0}])
    with pytest.raises(ConfigError, match=r"methods.himplos.percentile is 101"):
        sweep(store, "himplos", [{"percentile": 10}, {"percentile": 101}])
    bare = make_store(tmp_path, leave_out=("train",))
    with pytest.raises(MissingNeedError, match="method knn needs training features"):
        sweep(bare, "knn", [{"k": 3}])
