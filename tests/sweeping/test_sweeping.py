import csv
import json
import sys
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ltood.cli import app
from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError, UnknownNameError
from ltood.core.registry import available, load
from ltood.core.settings import parse, to_section
from ltood.methods.nnguide import NNGuide
from ltood.metrics.auroc import auroc
from ltood.metrics.fpr_at_tpr import fpr_at_tpr
from ltood.ops.neighbours import Neighbours
from ltood.runtime.params import read_params
from ltood.scoring.run import score_store
from ltood.scoring.slots import EntrySpec
from ltood.store.adapted import AdaptedHead, AdaptedStore
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.sweeping import searching
from ltood.sweeping.candidates import (
    Range,
    grid_candidates,
    parse_grid,
    parse_ranges,
    random_candidates,
)
from ltood.sweeping.searching import sweep
from ltood.sweeping.writing import write_sweep

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


@pytest.mark.parametrize("name", available("methods"))
def test_scoring_many_equals_scoring_each(name, toy):
    module = load("methods", name)
    settings = {"k": 3} if "k" in module.Config.__dataclass_fields__ else {}
    configs = grid_candidates(COMBINED[name]) if name in COMBINED else [settings]
    if name not in COMBINED:
        for key, value in to_section(module.Config(**settings)).items():
            other = not value if isinstance(value, bool) else OTHERS.get(key, value)
            if other != value:
                configs.append({**settings, key: other})
    detectors = [module.Entry(module.Config(**config)).fit(toy.inputs) for config in configs]
    got = module.Entry.score_many(detectors, rows_of(toy.ood_batch))
    assert got.shape == (len(configs), len(toy.ood_batch))
    assert got.dtype == torch.float32
    for row, config in zip(got, configs, strict=True):
        alone = module.Entry(module.Config(**config)).fit(toy.inputs)
        torch.testing.assert_close(row, alone.score(rows_of(toy.ood_batch)))


@dataclass(frozen=True)
class Numbers:
    """Settings of a method that takes a whole number and others."""

    k: int = 1
    clip: float | None = None


def test_grid_values_are_read_as_in_params():
    grid = parse_grid(["clip=0.5,1,null,auto", "mask=true", "k=1,3,...,9,20", "x=0.1,0.2,...,0.5"])
    assert grid == {
        "clip": [0.5, 1, None, "auto"],
        "mask": [True],
        "k": [1, 3, 5, 7, 9, 20],
        "x": [0.1, 0.2, 0.3, 0.4, 0.5],
    }
    assert parse_grid(["t=90,80,...,60"]) == {"t": [90, 80, 70, 60]}
    two = {"a": [1, 2], "b": [3, 4]}
    assert grid_candidates(two) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["percentile"], "--grid takes KEY=VALUES, such as percentile=0,10,...,90; got 'perc"),
        (["k=1", "k=2"], "--grid k is given twice; give all its values at once"),
        (["k="], "--grid k= has no values; list at least one"),
        (["k=1,2,1"], "--grid k=1,2,1 lists a value twice"),
        (["k=1,...,9"], "--grid k=1,...,9: ... stands between two numbers and a last one"),
        (["k=1,3,...,8"], "a last one that equal steps reach"),
        (["k=2,2,...,8"], "a last one that equal steps reach"),
        (["k=a,b,...,c"], "a last one that equal steps reach"),
        (["k=0,0.00001,...,90"], "9,000,000 values"),
    ],
)
def test_a_grid_that_is_none_is_refused(items, message):
    with pytest.raises(ConfigError, match=message):
        parse_grid(items)


def test_grids_have_a_size():
    with pytest.raises(ConfigError, match="nothing is swept; give --grid"):
        grid_candidates({})
    with pytest.raises(ConfigError, match="the grid has 160,000 combinations; the limit is 100"):
        grid_candidates({"a": range(400), "b": range(400)})


def test_a_grid_of_millions_is_refused_with_their_number():
    grid = parse_grid(["percentile=0,0.001,...,90", "clip=0,0.001,...,3"])
    with pytest.raises(ConfigError, match="270,093,001"):
        grid_candidates(grid)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("p", "--range takes KEY=VALUES, such as percentile=0:95; got 'p'"),
        ("p=1", "--range p=1 is not an interval; give KEY=LOW:HIGH"),
        ("p=5:1", "is not an interval; give KEY=LOW:HIGH with LOW below HIGH"),
        ("p=1:inf", "is not an interval"),
        ("p=-1e308:1e308", "is not an interval"),
        ("p=1:2:logs", "is not an interval"),
        ("p=0:2:log", "--range p=0:2:log starts at 0; a :log range starts above 0"),
    ],
)
def test_a_range_that_is_none_is_refused(item, message):
    with pytest.raises(ConfigError, match=message):
        parse_ranges([item])


def test_random_draws_stay_inside_and_repeat_with_the_seed():
    ranges = parse_ranges(["k=1:1000:log", "clip=0.5:2"])
    assert ranges == {"k": Range(1, 1000, True), "clip": Range(0.5, 2)}
    drawn = random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=1)
    assert drawn == random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=1)
    assert drawn != random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=2)
    assert len({str(item) for item in drawn}) == 300
    assert {item["x"] for item in drawn} == {"a", "b"}
    assert all(type(item["k"]) is int and 1 <= item["k"] <= 1000 for item in drawn)
    assert all(type(item["clip"]) is float and 0.5 <= item["clip"] <= 2 for item in drawn)
    # Half of the logarithm lies below the root of 1000.
    assert 100 < sum(item["k"] < 32 for item in drawn) < 200


def test_small_spaces_come_back_whole():
    drawn = random_candidates({}, {"k": Range(1.5, 4.5)}, Numbers, 50)
    assert sorted(item["k"] for item in drawn) == [2, 3, 4]
    drawn = random_candidates({}, {"k": Range(1.5, 4.5, True)}, Numbers, 50)
    assert sorted(item["k"] for item in drawn) == [2, 3, 4]


@pytest.mark.parametrize(
    ("grid", "ranges", "count", "message"),
    [
        ({}, {}, 5, "nothing is swept; give --range"),
        ({"k": [1]}, {"k": Range(1, 5)}, 5, "k has both --grid and --range"),
        ({"k": [1]}, {}, 0, "--random is 0; draw 1 to 100,000 settings"),
        ({}, {"k": Range(0.2, 0.8)}, 5, "k takes whole numbers and its --range holds none"),
        ({}, {"k": Range(1, 1e300)}, 5, "k takes whole numbers and its --range goes beyond"),
        ({}, {"k": Range(1, 1e300, True)}, 5, "k takes whole numbers and its --range goes beyond"),
    ],
)
def test_draws_that_cannot_be_made_are_refused(grid, ranges, count, message):
    with pytest.raises(ConfigError, match=message):
        random_candidates(grid, ranges, Numbers, count)


def test_a_seed_below_zero_is_refused():
    with pytest.raises(ConfigError, match="--seed is -1"):
        random_candidates({"k": [1, 2]}, {}, Numbers, 1, seed=-1)


def save(folder, name, rng, rows, *, scale=1.0, **more):
    labels = np.arange(rows) % 3
    features = np.abs(4 * scale * np.eye(3, 8)[labels] + rng.normal(size=(rows, 8)))
    if name in ("train", "val", "test"):
        more["labels"] = labels
    np.savez(folder / f"{name}.npz", features=features.astype(np.float32), **more)


def make_store(folder, *, leave_out=(), **more) -> FeatureStore:
    """Three classes; outliers lie between them and grow weaker from set to set."""
    rng = np.random.default_rng(4)
    arrays = folder / "in"
    arrays.mkdir()
    weight = 4 * np.eye(3, 8) + 0.3 * rng.normal(size=(3, 8))
    np.savez(arrays / "head.npz", weight=weight, bias=np.zeros(3), class_counts=[60, 30, 10])
    for name, rows, scale in (
        ("train", 90, 1),
        ("val", 50, 1),
        ("test", 50, 1),
        ("aux", 40, 0.5),
        ("ood_far", 30, 0.1),
        ("ood_near", 30, 0.6),
    ):
        if name not in leave_out:
            save(arrays, name, rng, rows, scale=scale, **more.get(name, {}))
    return import_folder(arrays, folder / "features.zarr")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("sweep"))


GRID = {"percentile": [0, 50, 90], "clip": [1.0, None], "scorer": ["energy", "msp"]}


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


def test_outliers_of_an_archive_are_seen_through_the_adapted_head(store, tmp_path):
    rng = np.random.default_rng(7)
    arrays = {"weight": rng.normal(size=(3, 8)), "bias": rng.normal(size=3)}
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    head = AdaptedHead(tuple(store.class_names), "", {}, arrays)
    seen, candidates = AdaptedStore(store, head), [{"temperature": 1.0}]
    wanted = sweep(seen, "energy", candidates).candidates[0].metrics
    assert wanted != sweep(store, "energy", candidates).candidates[0].metrics
    outliers = tmp_path / "outliers.npz"
    np.savez(outliers, features=store.split("aux").load(["features"])["features"])
    found = sweep(seen, "energy", candidates, validation_ood=str(outliers))
    assert found.candidates[0].metrics == wanted


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


def test_test_sets_are_refused(store, tmp_path):
    one = [{"temperature": 1.0}]
    with pytest.raises(ConfigError, match="ood_far is a test set: settings chosen on it make"):
        sweep(store, "energy", one, validation_ood="ood_far")
    for split in ("train", "val", "test"):
        with pytest.raises(ConfigError, match=f"--validation-ood is {split}, which holds ID rows"):
            sweep(store, "energy", one, validation_ood=split)
    result = sweep(store, "energy", one, validation_ood="ood_far", official_sweep_on_test=True)
    assert result.validation == {"id": "test", "ood": "ood_far"}
    assert result.warnings == [
        "settings were chosen on test rows; results on them say nothing new."
    ]
    known, unknown = (store.split(name).load(["logits"])["logits"] for name in ("test", "ood_far"))
    expected = auroc(*(-np.log(np.exp(z.astype(float)).sum(1)) for z in (known, unknown)))
    assert result.winner.metrics["auroc"] == pytest.approx(expected, abs=1e-3)


def test_copies_of_test_rows_are_refused(store, tmp_path):
    rows = store.split("ood_near").load(["features"])["features"]
    others = np.abs(np.random.default_rng(1).normal(size=(70, 8))).astype(np.float32)
    copies, few = tmp_path / "copies.npz", tmp_path / "few.npz"
    # Half precision hides nothing.
    np.savez(copies, features=np.concatenate([others, rows]).astype(np.float16))
    with pytest.raises(
        DataError, match=r"30 of 100 different rows of .*copies.npz are rows of the"
    ):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(copies))
    np.savez(copies, features=store.split("test").load(["features"])["features"])
    with pytest.raises(DataError, match=r"rows of .*copies.npz are rows of the test set test too"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(copies))
    np.savez(
        few, features=np.concatenate([np.tile(others, (3, 1)) + np.arange(210)[:, None], rows[:2]])
    )
    result = sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(few))
    assert result.validation["ood"] == str(few)


def test_archives_are_checked_under_their_own_name(store, tmp_path):
    wide = tmp_path / "wide.npz"
    np.savez(wide, features=np.ones((4, 9), np.float32))
    with pytest.raises(DataError, match=r"wide.npz: features have 9 columns but the head expects"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(wide))
    with pytest.raises(ConfigError, match=r"nowhere.npz, which is neither aux nor a file"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood="nowhere.npz")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("val", r"has no split val \(only train, .*hold ID rows back"), ("aux", "has no split aux")],
)
def test_missing_sides_are_named(tmp_path, missing, message):
    store = make_store(tmp_path, leave_out=(missing,))
    with pytest.raises(StoreError, match=message):
        sweep(store, "energy", [{"temperature": 1.0}])


def test_labelled_rows_of_outliers_count_as_known(store, tmp_path):
    rng = np.random.default_rng(5)
    features = np.abs(rng.normal(size=(20, 8))).astype(np.float32)
    mixed, known = tmp_path / "mixed.npz", tmp_path / "known.npz"
    np.savez(mixed, features=features, sc_label=np.repeat([-1, 2], 10))
    np.savez(known, features=features, sc_label=np.full(20, 1))
    result = sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(mixed))
    head = store.head_arrays()
    logits = features.astype(float) @ head["weight"].T.astype(float) + head["bias"]
    scores = -np.log(np.exp(logits).sum(1))
    of_val = store.split("val").load(["logits"])["logits"].astype(float)
    of_val = -np.log(np.exp(of_val).sum(1))
    expected = auroc(np.concatenate([of_val, scores[10:]]), scores[:10])
    assert result.winner.metrics["auroc"] == pytest.approx(expected, abs=1e-9)
    with pytest.raises(DataError, match=r"rows of .*known.npz carry a class label"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(known))


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


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"percentile": [50, 0, 90]}, ["percentile", "auroc, %"]),
        ({"clip": [1.0, "auto", None]}, ["clip", "null", "auto"]),
        ({"percentile": [0, 50, 90], "clip": [1.0, None]}, ["percentile", "null", "auroc, %"]),
        ({"percentile": [0, 50], "clip": [1.0, 2.0], "temperature": [0.1, 50]}, ["temperature"]),
    ],
)
def test_the_files_of_a_sweep(store, tmp_path, grid, words):
    result = sweep(store, "himplos", grid_candidates(grid))
    for folder in ("a", "b"):
        write_sweep(tmp_path / folder, result)
    names = ["best.yaml", "sweep.csv", "sweep.json", "sweep.png", "sweep.svg"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    section = read_params(tmp_path / "a" / "best.yaml")["methods"]["himplos"]
    assert section == result.winner.section
    parse(section, load("methods", "himplos").Config, "methods.himplos")
    heading = (tmp_path / "a" / "best.yaml").read_text().splitlines()[0]
    assert heading.startswith("# auroc 0.")
    assert heading.endswith(f"on val against aux, best of {len(result.candidates)}")
    with (tmp_path / "a" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.candidates)
    assert float(rows[result.best]["auroc"]) == result.winner.metrics["auroc"]
    assert set(grid) < set(rows[0])
    record = json.loads((tmp_path / "a" / "sweep.json").read_text())
    assert record["best"]["section"] == result.winner.section
    assert record["features_fingerprint"] == store.fingerprint
    drawn = (tmp_path / "a" / "sweep.svg").read_text()
    assert all(f">{word}<" in drawn for word in words)


def test_without_matplotlib_the_files_come_without_a_figure(store, tmp_path, monkeypatch):
    result = sweep(store, "knn", [{"k": 1}, {"k": 3}])
    write_sweep(tmp_path, result)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.warns(UserWarning, match=r'pip install "ltood\[report\]"'):
        write_sweep(tmp_path, result)
    names = ["best.yaml", "sweep.csv", "sweep.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_problems_reach_the_files(store, tmp_path):
    write_sweep(tmp_path, sweep(store, "knn", [{"k": 91}, {"k": 3}]))
    first, _ = csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines())
    assert first["auroc"] == ""
    assert first["problem"].startswith("methods.knn.k is 91")
    assert json.loads((tmp_path / "sweep.json").read_text())["candidates"][0]["metrics"] is None
    grid = grid_candidates({"k": [3, 91], "normalise": [True, False]})
    write_sweep(tmp_path, sweep(store, "knn", grid))
    assert ">-<" in (tmp_path / "sweep.svg").read_text()


def run(*arguments):
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)], catch_exceptions=True)


def quietly(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done


def test_the_command(store, tmp_path):
    common = ("himplos", "--store", store.path, "--device", "cpu", "--out")
    swept = ("--grid", "percentile=0,30,...,90", "--grid", "clip=1,2,null")
    options = ("--set", "scorer=msp", "--metric", "fpr95_ood_pos")
    done = quietly(*common, tmp_path / "g", *swept, *options)
    assert "best of 12: percentile=" in done.output
    assert read_params(tmp_path / "g" / "best.yaml")["methods"]["himplos"]["scorer"] == "msp"
    swept = ("--random", 9, "--range", "percentile=0:95", "--grid", "clip=1,null", "--seed")
    options = ("--calibrator", "patt", "--calibrator-set", "high=1.5")
    for folder, seed in (("r", 3), ("s", 3), ("t", 4)):
        quietly(*common, tmp_path / folder, *swept, seed, *options)
    tables = [(tmp_path / folder / "sweep.csv").read_text() for folder in "rst"]
    assert tables[0] == tables[1] != tables[2]
    assert tables[0].count("\n") == 10


def test_the_command_refuses(store, tmp_path):
    common = ("himplos", "--store", store.path, "--out", tmp_path / "x")
    done = run(*common, "--range", "percentile=0:95")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("--range draws at random; say how many settings")
    done = run(*common, "--grid", "percentile=0,10", "--validation-ood", "ood_far")
    assert "ood_far is a test set" in str(done.exception)
    assert not (tmp_path / "x").exists()


def test_the_command_warns(store, tmp_path):
    common = ("knn", "--store", store.path, "--out", tmp_path / "x")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(*common, "--grid", "k=91,3")
    texts = [str(item.message) for item in caught]
    assert any(text.startswith("1 of 2 candidates could not be scored") for text in texts)
    assert "the best k is 3, at the edge of what was tried; try values beyond it." in texts
