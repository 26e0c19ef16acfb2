"""Differences between runs: paired where they may be, and never larger than they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, DataError
from ltood.evaluation.intervals import ACCURACIES, bootstrap
from ltood.evaluation.measures import Evaluation
from ltood.runs.comparing import compare_runs
from ltood.runs.groups import KEYS, resampled
from ltood.runs.settings import differing, label
from ltood.runs.sheets import sheets_of
from ltood.store.scores import ScoreStore
from tests.runs.run_samples import write_scores

SAMPLES = 40
#: Three classes have no group of few.
FOUND = tuple(key for key in KEYS if key != "few")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ä b")
    made = {
        "good": write_scores(folder / "good.zarr", "energy"),
        "same": write_scores(folder / "same.zarr", "energy"),
        "bad": write_scores(folder / "bad.zarr", "msp"),
        "short": write_scores(folder / "short.zarr", "energy", rows=90),
        "one_set": write_scores(folder / "one_set.zarr", "energy", sets=("far",)),
        "others": write_scores(folder / "others.zarr", "energy", sets=("else",)),
        "plain": write_scores(folder / "plain.zarr", "msp", sets=()),
    }
    made |= {f"seed{n}": write_scores(folder / f"s{n}.zarr", "msp", seed=n) for n in (1, 2, 3)}
    return {name: f"{name}={path}" for name, path in made.items()}


def compared(stores, *names, **options):
    return compare_runs([stores[name] for name in names], None, samples=SAMPLES, **options)


def test_intervals_are_those_of_the_report_of_each_run(stores):
    found = compared(stores, "good", "bad")
    for group in found.groups:
        path = stores[group.name].partition("=")[2]
        wanted = bootstrap(Evaluation(ScoreStore.open(path)), samples=SAMPLES)
        figure = found.figure(group, "auroc")
        bounds = wanted["mean"]["auroc"]
        assert (figure.low, figure.high) == pytest.approx((bounds["low"], bounds["high"]))
        many = wanted["id"]["many"]
        assert found.figure(group, "many").low == pytest.approx(many["low"])
        assert found.figure(group, "few").value is None
        far = wanted["ood"]["far"]["fpr95_ood_pos"]
        assert found.figure(group, "fpr95_ood_pos", "far").high == pytest.approx(far["high"])


def test_a_table_of_differences_leaves_out_accuracies_of_one_network(stores):
    def shown(*names):
        sheets = {sheet.name: sheet for sheet in sheets_of(compared(stores, *names))}
        return [column.key for column in sheets["differences"].columns]

    assert shown("good", "bad") == list(FOUND)
    assert shown("good", "same") == [key for key in FOUND if key not in ACCURACIES]


def test_equal_runs_do_not_differ_at_all(stores):
    found = compared(stores, "good", "same", against="good")
    for key in FOUND:
        gap = found.difference(found.groups[1], key)
        assert (gap.value, gap.low, gap.high, gap.is_paired) == (0, 0, 0, True)
        assert not gap.is_clear


def test_a_difference_turns_with_its_sides_and_with_the_metric(stores):
    found = compared(stores, "good", "bad")
    good, bad = found.groups
    for key in FOUND:
        there = found.difference(good, key, to=bad)
        back = found.difference(bad, key, to=good)
        assert there.value == -back.value
        assert there.low == pytest.approx(-back.high)
    # The run that separates better is better by every metric of separation.
    assert found.against == "good"
    for key in ("auroc", "fpr95_ood_pos", "fpr95_id_pos"):
        gap = found.difference(bad, key)
        assert gap.value < 0


def test_runs_of_other_images_are_not_paired(stores):
    found = compared(stores, "good", "short")
    assert not found.is_paired
    gap = found.difference(found.groups[1], "auroc", to=found.groups[0])
    assert not gap.is_paired
    assert gap.low < gap.high
    paired = compared(stores, "good", "same").difference
    assert paired is not None


def test_only_shared_sets_are_compared(stores):
    found = compared(stores, "good", "one_set")
    assert found.sets == ("far",)
    assert found.others == ("near",)
    with pytest.raises(DataError, match="others"):
        compared(stores, "good", "others")


def test_runs_without_sets_stand_beside_those_that_have_some(stores):
    found = compared(stores, "plain", "good", "bad", "one_set")
    plain, good = found.groups[:2]
    assert found.sets == ("far",)
    assert found.without_sets == ["plain"]
    assert found.against in ("good", "one_set")
    for key in KEYS:
        known = found.figure(plain, key)
        assert (known.value is None) == (key not in ACCURACIES or key == "few")
        assert (found.difference(plain, key, to=good) is None) == (known.value is None)
    assert found.figure(plain, "auroc", "far").value is None
    sheets = {sheet.name: sheet for sheet in sheets_of(found)}
    rows = {name: [value.value for value in values] for name, values in sheets["summary"].rows}
    keys = [column.key for column in sheets["summary"].columns]
    assert keys == list(FOUND)
    assert rows["plain"][keys.index("auroc")] is None
    assert rows["plain"][keys.index("accuracy")] is not None
    assert "plain" in " ".join(sheets["summary"].notes)


@pytest.mark.parametrize("names", [("plain", "bad"), ("bad", "plain")])
def test_what_is_paired_with_a_run_without_sets_is_its_accuracy(stores, names):
    found = compared(stores, *names)
    one, other = found.groups
    assert found.is_paired
    assert found.main == "accuracy"
    gap = found.difference(one, "accuracy", to=other)
    # The same rows in the same draws: what both get right makes no difference in any of them.
    assert gap.is_paired
    wanted = np.array(one.draws("accuracy", ())) - np.array(other.draws("accuracy", ()))
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(wanted, [0.025, 0.975])))
    sheets = {sheet.name: sheet for sheet in sheets_of(found)}
    assert "auroc" not in [column.key for column in sheets["differences"].columns]
    short = compared(stores, names[0], "short")
    assert not short.difference(short.groups[0], "accuracy", to=short.groups[1]).is_paired


def test_seeds_are_one_group_with_mean_and_deviation(stores):
    found = compared(stores, "good", "seed1", "seed2", "seed3", by=["seed"])
    alone, group = found.groups
    assert (alone.name, group.name, len(group.runs)) == ("good", "seed", 3)
    values = group.values("auroc", found.sets)
    figure = found.figure(group, "auroc")
    assert figure.value == pytest.approx(np.mean(values))
    assert figure.std == pytest.approx(np.std(values, ddof=1))
    assert figure.low < figure.value < figure.high
    assert "seed" not in found.differing
    assert found.difference(alone, "auroc", to=group).is_clear
    with pytest.raises(ConfigError, match="nothing"):
        compared(stores, "good", "bad", by=["nothing"])


def test_names_are_checked(stores):
    with pytest.raises(ConfigError, match="elsewhere"):
        compared(stores, "good", "bad", against="elsewhere")
    with pytest.raises(ConfigError, match="good"):
        compared(stores, "good", "good")
    with pytest.raises(ConfigError):
        compared(stores, "good")


def test_a_run_that_is_not_clearly_worse_is_marked(stores):
    found = compared(stores, "good", "same", "bad")
    summary = sheets_of(found)[0]
    marks = {name: values[0].is_best for name, values in summary.rows}
    assert marks == {"good": True, "same": True, "bad": False}


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=1, max_size=4).map(
        np.array
    )
)
def test_a_mean_of_drawn_runs_stays_among_them(drawn):
    mean = resampled(drawn)
    assert mean.shape == (5,)
    assert (mean >= drawn.min(axis=0) - 1e-12).all()
    assert (mean <= drawn.max(axis=0) + 1e-12).all()
    if len(drawn) == 1:
        assert (mean == drawn[0]).all()


def test_settings_that_differ_are_those_that_two_runs_record():
    runs = [{"method": "msp", "seed": 0, "training.epochs": 3}, {"method": "knn", "seed": 0}]
    assert differing(runs) == ["method"]
    assert (
        label(
            {"method": "knn", "methods.knn.k": 5, "normaliser": "none"},
            ["method", "methods.knn.k", "normaliser"],
        )
        == "knn, k=5"
    )
