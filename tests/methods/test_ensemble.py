"""Ensembles: maps, combination, exact levels, and members of every kind."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.ensemble import ensemble as by_loops
from reference.ensemble import p_value
from scipy.stats import binom
from sklearn.base import clone

import ltood
from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError, NotFittedError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.ensemble import Config, Ensemble
from ltood.methods.temperature_scaling import TemperatureScaling
from ltood.ops.fusion import P_VALUE_RULES
from ltood.ops.held_out import first_part

KNN = {"method": "knn", "settings": {"k": 5}}

rules = pytest.mark.parametrize("rule", P_VALUE_RULES)


def rows_of(source) -> FeatureBatch:
    return next(iter(source.batches()))


class Given(ltood.MaxLogit):
    """Stands for a member whose scores are a column of the logits, whatever they are."""

    def __init__(self, column, change):
        super().__init__()
        self.column, self.change = column, change

    def _score(self, batch):
        return self.change(batch.logits[:, self.column])


def from_scores(val, monkeypatch, changes=None, **more) -> Ensemble:
    """An ensemble of members whose scores are the columns of `val`, [V, K]."""
    count = val.shape[1]
    members = [{"method": "maxlogit", "name": f"m{place}"} for place in range(count)]
    method = Ensemble(members=members, **{"screen": 0, "combine": "simes", **more})

    def fit(held, inputs):
        place = method._held.index(held)
        held.method = Given(place, (changes or {}).get(place, lambda scores: scores))

    monkeypatch.setattr("ltood.ops.held_methods.HeldMethod.fit", fit)
    fit_maps(method, val)
    monkeypatch.undo()
    return method


def fit_maps(method, val):
    batch = FeatureBatch.of(logits=val, labels=torch.zeros(len(val), dtype=torch.int64))
    method._fit(FitInputs.of(logits=val, val=batch))


def batch_of(scores) -> FeatureBatch:
    return FeatureBatch.of(logits=scores)


def parts(method, val):
    """Held-out scores for the maps and for decisions."""
    first = method.learned_rows(torch.arange(len(val)), torch.zeros(len(val)))
    return val[first], val[~first]


@rules
@pytest.mark.parametrize("tail", [True, False])
def test_it_equals_plain_loops(rule, tail, monkeypatch):
    val, new = torch.randn(60, 3), 2 * torch.randn(40, 3)
    val[:, 2] = val[:, 2].round()  # Ties among calibration rows, and with new ones.
    new[:, 2] = new[:, 2].round()
    method = from_scores(val, monkeypatch, combine=rule, tail=tail)
    maps, decision = parts(method, val)
    if not tail:
        new = torch.minimum(new, maps.amax(dim=0))
    expected = by_loops(new.T.tolist(), maps.T.tolist(), rule)
    found = method.score(batch_of(new))
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    columns = method.explain(batch_of(new))
    assert list(columns) == ["p_m0", "p_m1", "p_m2"]
    for place, column in enumerate(columns.values()):
        own = [p_value(score, maps[:, place].tolist()) for score in new[:, place].tolist()]
        torch.testing.assert_close(column, torch.tensor(own, dtype=torch.float64))
    fused = method.score(batch_of(decision)).tolist()
    wanted = [p_value(score, fused) for score in found.tolist()]
    assert method.p_values(batch_of(new)).tolist() == pytest.approx(wanted, abs=1e-12)


def test_held_out_rows_are_cut_by_class_and_share(toy):
    val = rows_of(toy.inputs.val)
    for share, seed in [(0.5, 0), (0.2, 3)]:
        method = Ensemble(members=["gen"], share=share, seed=seed).fit(toy.inputs)
        first = first_part(val.ids, val.labels, share, seed)
        assert torch.equal(method.learned_rows(val.ids, val.labels), first)
        rows = {"map_rows": float(first.sum()), "decision_rows": float((~first).sum())}
        assert method.derived() == {"members": 1.0, **rows}
        assert torch.bincount(val.labels[first]).tolist() == [share * 30] * 4


def test_rows_with_one_id_stay_together(toy):
    val = rows_of(toy.inputs.val)
    twice = FeatureBatch({**val.arrays, "ids": val.ids // 2})
    inputs = dataclasses.replace(toy.inputs, val=TensorSource(twice, 4))
    method = Ensemble(members=["gen"]).fit(inputs)
    learned = method.learned_rows(twice.ids, twice.labels).view(-1, 2)
    assert torch.equal(learned[:, 0], learned[:, 1])
    assert sum(method.derived().values()) == len(val) + 1  # And the one member.


@pytest.mark.parametrize("calibration", [3, 4])
def test_p_values_of_a_member_are_uniform_by_enumeration(calibration, monkeypatch):
    """All orders of n calibration rows and one new row are equally likely."""
    counts = dict.fromkeys(range(1, calibration + 2), 0)
    monkeypatch.setattr("ltood.ops.held_out.keyed_hash", lambda ids, seed: ids.astype(np.uint64))
    for order in itertools.permutations(range(calibration + 1)):
        values = torch.tensor(order, dtype=torch.float32)[:, None]
        with monkeypatch.context() as patch:
            method = from_scores(values[:-1], patch, share=1.0)
        p = method.explain(batch_of(values[-1:]))["p_m0"]
        counts[round(float(p) * (calibration + 1))] += 1
    assert set(counts.values()) == {math.factorial(calibration)}


def test_the_second_map_is_uniform_by_enumeration(monkeypatch):
    """Given the rows of the maps, all orders of the others and a new row are equally likely."""
    maps = torch.tensor([[0.3, 2.0], [1.0, 0.1], [0.6, 0.7]])
    others = torch.tensor([[0.2, 0.2], [0.5, 3.0], [2.0, 0.5], [0.4, 0.9]])
    chosen = torch.tensor([True] * 3 + [False] * 3)
    found = []
    for order in itertools.permutations(range(4)):
        rows = others[list(order)]
        with monkeypatch.context() as patch:
            cut = "ltood.methods.ensemble.first_part"
            patch.setattr(cut, lambda ids, strata, share, seed: chosen)
            method = from_scores(torch.cat([maps, rows[:3]]), patch)
        found.append(round(4 * float(method.p_values(batch_of(rows[3:]))[0])))
    assert sorted(found) == sorted([1, 2, 3, 4] * math.factorial(3))


@rules
def test_the_level_is_exact_for_dependent_members(rule, monkeypatch):
    """Many draws of rows and maps; members share most of what they see, and two are equal."""
    draws, level, hits = 600, 0.1, 0
    method = from_scores(torch.randn(9, 5), monkeypatch, combine=rule)
    monkeypatch.setattr("ltood.ops.held_methods.HeldMethod.fit", lambda held, inputs: None)
    for _ in range(draws):
        shared = torch.randn(59, 1)
        scores = torch.cat([shared + 0.3 * torch.randn(59, 3), shared.exp()], dim=1)
        scores = torch.cat([scores, scores[:, :1]], dim=1)
        fit_maps(method, scores[:-1])
        assert method.derived()["decision_rows"] == 29  # A level of 0.1 is 3 of 30.
        hits += int(method.p_values(batch_of(scores[-1:]))[0] <= level + 1e-12)
    low, high = binom.interval(0.9999, draws, level)
    assert low <= hits <= high


increasing = st.sampled_from(
    [torch.exp, torch.atan, lambda s: s**3, lambda s: 1e6 * s - 4, lambda s: -torch.exp(-s)]
)


@rules
@settings(max_examples=12)
@given(change=increasing, member=st.integers(0, 2), seed=st.integers(0, 99))
def test_increasing_maps_of_a_member_change_nothing(rule, change, member, seed):
    generator = torch.Generator().manual_seed(seed)
    val = torch.randn(80, 3, generator=generator).round(decimals=2)
    new = batch_of(2 * torch.randn(50, 3, generator=generator).round(decimals=2))
    with pytest.MonkeyPatch.context() as patch:
        before = from_scores(val, patch, combine=rule, tail=False)
    with pytest.MonkeyPatch.context() as patch:
        after = from_scores(val, patch, {member: change}, combine=rule, tail=False)
    assert torch.equal(after.score(new), before.score(new))
    assert torch.equal(after.p_values(new), before.p_values(new))
    for name, column in before.explain(new).items():
        assert torch.equal(after.explain(new)[name], column)


@pytest.mark.parametrize("rule", ["simes", "min_p"])
@settings(max_examples=12)
@given(change=increasing, member=st.integers(0, 2), seed=st.integers(0, 99))
def test_decisions_of_the_default_do_not_change_with_the_tail(rule, change, member, seed):
    """The tail lies below all p-values; at a level above K / (n + 1) it decides nothing."""
    generator = torch.Generator().manual_seed(seed)
    val = torch.randn(200, 3, generator=generator).round(decimals=2)
    new = batch_of(2 * torch.randn(60, 3, generator=generator).round(decimals=2))
    with pytest.MonkeyPatch.context() as patch:
        before = from_scores(val, patch, combine=rule)
    maps, decision = parts(before, val)
    # By chance so many rows may lie beyond the maps that the tail decides at a level of 0.1.
    assume((decision > maps.amax(dim=0)).any(dim=1).sum() < 0.08 * len(decision))
    with pytest.MonkeyPatch.context() as patch:
        after = from_scores(val, patch, {member: change}, combine=rule)
    for level in (0.1, 0.2, 0.5):
        flagged = before.p_values(new) <= level
        assert torch.equal(after.p_values(new) <= level, flagged)


@rules
def test_a_duplicate_and_a_useless_member(rule, monkeypatch):
    """Two copies of all members rank alike; a coin beside a strong member does not rule."""
    val, new = torch.randn(400, 3), torch.randn(300, 3)
    once = from_scores(val, monkeypatch, combine=rule).score(batch_of(new))
    twice = from_scores(val.repeat(1, 2), monkeypatch, combine=rule)
    doubled = twice.score(batch_of(new.repeat(1, 2)))
    if rule != "top_half":
        assert torch.equal(doubled.argsort(stable=True), once.argsort(stable=True))
    strong = torch.cat([torch.randn(300, 1) + 4, torch.randn(300, 1)], dim=1)
    method = from_scores(val[:, :2], monkeypatch, combine=rule)
    known, unknown = method.score(batch_of(new[:, :2])), method.score(batch_of(strong))
    assert (unknown[:, None] > known).float().mean() > 0.93


def test_standardised_and_softmax_means(toy):
    val, new = rows_of(toy.inputs.val), toy.ood_batch
    members = ["gen", "energy"]
    method = Ensemble(members=members, combine="z_mean").fit(toy.inputs)
    learned = method.learned_rows(val.ids, val.labels)
    expected = []
    for name in members:
        scorer = ltood.method(name).fit(toy.inputs)
        own = scorer.score(val)[learned].double()
        expected.append((scorer.score(new).double() - own.mean()) / own.std(correction=0))
    torch.testing.assert_close(method.score(new), torch.stack(expected).mean(0).float())
    calibrated = {"method": "msp", "calibrator": "logit_adjustment"}
    method = Ensemble(members=["msp", calibrated], combine="softmax_mean").fit(toy.inputs)
    adjusted = ltood.LogitAdjustment().fit(toy.inputs).adjust_logits(new.logits)
    mean = (new.logits.softmax(dim=1) + adjusted.softmax(dim=1)) / 2
    torch.testing.assert_close(method.score(new), -mean.amax(dim=1).log())
    assert set(method.explain(new)) == {"p_msp", "p_logit_adjustment+msp"}


def test_members_score_as_they_do_alone(toy):
    new = toy.id_batch
    members = [
        KNN,
        {"method": "knn", "settings": {"k": 5}, "calibrator": "patt"},
        {"method": "energy", "normaliser": "imood", "normaliser_settings": {"tau": 0.5}},
        {"method": "msp", "calibrator": "logit_adjustment", "name": "adjusted"},
        "gl_mcm",
    ]
    method = Ensemble(members=members).fit(toy.inputs)
    val = rows_of(toy.inputs.val)
    learned = method.learned_rows(val.ids, val.labels)
    patt = ltood.PATT().fit(toy.inputs)
    moved = ltood.KNN(k=5).fit(patt.transform(rows_of(toy.inputs.train).features))
    imood = ltood.ImOOD(base="energy", tau=0.5).fit(toy.inputs)
    shift = ltood.LogitAdjustment().fit(toy.inputs)
    alone = {
        "p_knn": ltood.KNN(k=5).fit(toy.inputs).score,
        "p_patt+knn": lambda rows: moved.score(patt.transform(rows.features)),
        "p_energy+imood": lambda rows: imood.normalise(ltood.Energy().score(rows), rows),
        "p_adjusted": lambda rows: ltood.MSP().score(logits=shift.adjust_logits(rows.logits)),
        "p_gl_mcm": ltood.GLMCM().fit(toy.inputs).score,
    }
    columns = method.explain(new)
    assert list(columns) == list(alone)
    for name, score in alone.items():
        own, fresh = torch.as_tensor(score(val))[learned], torch.as_tensor(score(new))
        expected = [p_value(one, own.tolist()) for one in fresh.tolist()]
        torch.testing.assert_close(columns[name], torch.tensor(expected, dtype=torch.float64))


def test_entries_are_members_too(toy):
    patt = ltood.PATT()
    objects = [ltood.KNN(k=5).fit(toy.inputs), {"method": ltood.GEN(k=3), "calibrator": patt}]
    named = [KNN, {"method": "gen", "settings": {"k": 3}, "calibrator": "patt"}]
    assert Ensemble(members=objects).config == Ensemble(members=named).config
    assert repr(Ensemble(members=[ltood.KNN(k=50), "gen"])).startswith(
        "Ensemble(members=['knn', 'gen']"
    )
    twin = clone(Ensemble(members=objects))
    assert twin.config == Ensemble(members=named).config
    assert twin.set_params(combine="fisher").config.members == twin.config.members


def test_a_method_is_fitted_and_scores_once_for_all(toy, monkeypatch):
    calls = {"fit": 0, "score": 0}

    def counted(name, function):
        def call(self, *given):
            calls[name] += 1
            return function(self, *given)

        return call

    monkeypatch.setattr(ltood.KNN, "_fit", counted("fit", ltood.KNN._fit))
    monkeypatch.setattr(ltood.KNN, "_score", counted("score", ltood.KNN._score))
    inputs, batch = dataclasses.replace(toy.inputs), dataclasses.replace(toy.id_batch)
    several = [Ensemble(members=[KNN, "gen"], combine=rule).fit(inputs) for rule in P_VALUE_RULES]
    held_out = len(P_VALUE_RULES)
    assert calls == {"fit": 1, "score": held_out}
    for method in several:
        method.score(batch)
        method.explain(batch)
    assert calls == {"fit": 1, "score": held_out + 1}


@pytest.mark.parametrize(
    ("members", "key"),
    [
        ([], "is empty"),
        (["knnn"], "Did you mean"),
        (["gen", "gen"], "names gen twice"),
        (["ensemble"], "holds methods itself"),
        ([{"method": "knn", "settings": {"k": 0}}], "methods.knn.k"),
        ([{"method": "knn", "settings": {"kk": 1}}], "kk"),
        ([{"method": "knn", "normaliser": "imood"}], "imood"),
        ([{"method": "knn", "calibrator": "pat"}], "pat"),
        ([{"method": "knn", "weight": 2}], "must be"),
        ([{"settings": {}}], "must be"),
        ([{"method": "knn", "settings": 3}], "must be"),
        ([{"method": "knn", "store": 3}], "must be"),
        ([3], "must be"),
        ("knn", "must be"),
    ],
)
def test_members_that_do_not_work_are_refused(members, key):
    with pytest.raises(ConfigError, match=f"members .*{key}"):
        Ensemble(members=members)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"combine": "best"}, "combine"),
        ({"share": 0}, "share"),
        ({"share": 1.1}, "share"),
        ({"groups": "class_group"}, "groups"),
        ({"combine": "softmax_mean", "two_sided": True}, "two_sided"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, key):
    with pytest.raises(ConfigError, match=key):
        Ensemble(**given)


def test_held_out_rows_may_be_too_few(toy):
    val = rows_of(toy.inputs.val)
    few = dataclasses.replace(toy.inputs, val=TensorSource(val.slice(0, 1), 4))
    with pytest.raises(DataError, match="leaves none of 1 held-out rows"):
        Ensemble(members=["gen"]).fit(few)
    whole = Ensemble(members=["gen"], share=1.0).fit(toy.inputs)
    assert whole.derived() == {"members": 1.0, "map_rows": 120.0, "decision_rows": 0.0}
    assert torch.isfinite(whole.score(toy.id_batch)).all()
    with pytest.raises(NotFittedError, match="no held-out rows for decisions"):
        whole.p_values(toy.id_batch)
    with pytest.raises(NotFittedError, match="call fit"):
        Ensemble(members=["gen"]).p_values(toy.id_batch)


def grouped(toy, rows: int) -> FitInputs:
    """The toy's inputs with so many held-out rows of each class."""
    val = rows_of(toy.inputs.val)
    chosen = torch.arange(4).repeat(rows)
    features = val.features[chosen] + 0.05 * torch.randn(len(chosen), val.features.shape[1])
    held_out = FeatureBatch.of(
        features, labels=val.labels[chosen], ids=torch.arange(len(chosen)), head=toy.head
    )
    return dataclasses.replace(toy.inputs, val=TensorSource(held_out, 4))


def test_groups_have_maps_of_their_own(toy):
    inputs, new = grouped(toy, 300), toy.id_batch
    method = Ensemble(members=["gen", "energy"], groups="class_group", combine="simes").fit(inputs)
    val = rows_of(inputs.val)
    first = method.learned_rows(val.ids, val.labels)
    names = ClassPrior(toy.inputs.prior.counts).groups()
    own = [str(names[label]) for label in val.logits.argmax(dim=1)]
    counted = [sum(n == name for n, f in zip(own, first, strict=True) if f) for name in names]
    assert sum(part["rows"] for part in method.findings()["groups"]) == int(first.sum())
    scores = ltood.GEN().score(val)
    expected = []
    for row, score in enumerate(ltood.GEN().score(new).tolist()):
        group = str(names[new.logits[row].argmax()])
        like = [s for s, n, f in zip(scores.tolist(), own, first, strict=True) if f and n == group]
        expected.append(p_value(score, like))
    assert counted
    torch.testing.assert_close(
        method.explain(new)["p_gen"], torch.tensor(expected, dtype=torch.float64)
    )
    twin = Ensemble(method.config).restore(method.state())
    assert torch.equal(twin.score(new), method.score(new))
    assert twin.findings() == method.findings()


def test_small_groups_are_merged_and_it_is_said(toy):
    method = Ensemble(members=["gen"], groups="class_group", combine="simes").fit(toy.inputs)
    merged = [{"groups": ["many", "medium", "few"], "rows": 60}]
    assert method.findings()["groups"] == merged
    plain = Ensemble(members=["gen"], combine="simes").fit(toy.inputs)
    assert torch.equal(method.score(toy.id_batch), plain.score(toy.id_batch))
    assert plain.findings().keys() == {"members"}


def test_both_sides_may_count(monkeypatch):
    val = torch.randn(100, 1)
    low = batch_of(torch.tensor([[-50.0], [50.0], [0.0]]))
    one = from_scores(val, monkeypatch).score(low)
    assert one[0] < one[2] < one[1]
    both = from_scores(val, monkeypatch, two_sided=True).score(low)
    assert both[2] < both[0]
    assert both[2] < both[1]


def test_the_config_records_all_settings_of_members():
    config = Config(members=("knn", {"method": "energy", "normaliser": "imood", "name": "e"}))
    knn, energy = config.in_full()["members"]
    assert knn == {"method": "knn", "settings": dataclasses.asdict(ltood.KNN().config)}
    assert energy["settings"] == {"temperature": 1.0}
    assert energy["normaliser_settings"]["tau"] == 1.0
    assert Ensemble(**config.in_full()).config.in_full() == config.in_full()


def test_public_arrays(toy):
    train, val = rows_of(toy.inputs.train), rows_of(toy.inputs.val)
    method = Ensemble(members=[KNN, "gen"])
    method.fit(
        train.features.numpy(),
        train.labels.numpy(),
        head=toy.head,
        val=val.features.numpy(),
        val_labels=val.labels.numpy(),
    )
    found = method.p_values(toy.id_batch.features.numpy())
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    assert np.array_equal(found, method.p_values(toy.id_batch))


def wrongly_labelled(toy) -> FitInputs:
    """The toy's inputs with held-out rows of which the odd ones, mixtures, have a wrong label."""
    val = rows_of(toy.inputs.val)
    rows = val.features.repeat(3, 1)
    odd = torch.arange(len(rows)) % 2 == 1
    rows[odd] = (rows + rows.roll(7, dims=0))[odd] / 2
    held_out = FeatureBatch.of(rows, ids=torch.arange(len(rows)), head=toy.head)
    labels = held_out.logits.argmax(dim=1)
    labels[odd] = (labels[odd] + 1) % 4
    arrays = {**held_out.arrays, "labels": labels}
    return dataclasses.replace(toy.inputs, val=TensorSource(FeatureBatch(arrays), 4))


@pytest.mark.parametrize("rule", ["simes", "z_mean", "softmax_mean"])
def test_members_that_are_blind_to_errors_are_left_out(rule, toy, monkeypatch):
    class Inverted(ltood.Energy):
        """Scores mixtures below all others."""

        def _score(self, batch):
            return -super()._score(batch)

    monkeypatch.setattr("ltood.methods.maxlogit.Entry", Inverted)
    monkeypatch.setattr("ltood.methods.maxlogit.Config", Inverted.Config)
    inputs, new = wrongly_labelled(toy), toy.ood_batch
    both = Ensemble(members=["gen", "maxlogit"], combine=rule).fit(inputs)
    gen, inverted = both.findings()["members"]
    assert (gen["member"], gen["kept"]) == ("gen", True)
    assert gen["error_auroc"] > 0.8
    assert (inverted["member"], inverted["kept"]) == ("maxlogit", False)
    assert inverted["error_auroc"] < 0.2
    alone = Ensemble(members=["gen"], combine=rule).fit(inputs)
    assert torch.equal(both.score(new), alone.score(new))
    assert torch.equal(both.p_values(new), alone.p_values(new))
    assert list(both.explain(new)) == ["p_gen"]
    twin = Ensemble(both.config).restore(both.state())
    assert torch.equal(twin.score(new), both.score(new))
    assert twin.findings() == both.findings()
    every = Ensemble(members=["gen", "maxlogit"], combine=rule, screen=0).fit(inputs)
    assert [member["kept"] for member in every.findings()["members"]] == [True, True]
    assert list(every.explain(new)) == ["p_gen", "p_maxlogit"]


def test_rows_for_decisions_say_nothing_of_members(toy):
    inputs = wrongly_labelled(toy)
    val = rows_of(inputs.val)
    method = Ensemble(members=["gen"]).fit(inputs)
    learned = method.learned_rows(val.ids, val.labels)
    labels = torch.where(learned, val.labels, val.logits.argmax(dim=1))
    changed = FeatureBatch({**val.arrays, "labels": labels})
    # Strata are the old ones, so that the cut is the same.
    with pytest.MonkeyPatch.context() as patch:
        strata = "ltood.methods.ensemble.ids_and_strata"
        patch.setattr(strata, lambda source: (val.ids, val.labels))
        other = Ensemble(members=["gen"]).fit(
            dataclasses.replace(inputs, val=TensorSource(changed, 4))
        )
    assert other.findings() == method.findings()
    assert (changed.labels != val.labels).any()


def test_decisions_rest_on_rows_that_no_member_has_learned_from(toy):
    scaling = {"method": "temperature_scaling", "settings": {"share": 0.3, "seed": 5}}
    method = Ensemble(members=["energy", scaling]).fit(toy.inputs)
    val = next(iter(toy.inputs.val.batches()))
    member = TemperatureScaling(share=0.3, seed=5).fit(toy.inputs)
    learned = member.learned_rows(val.ids, val.labels)
    whole = method.learned_rows(val.ids, val.labels)
    alone = Ensemble(members=["energy"]).fit(toy.inputs).learned_rows(val.ids, val.labels)
    assert torch.equal(whole, alone | learned)
    assert int((learned & ~alone).sum()) > 0
    assert method.derived()["decision_rows"] == int((~whole).sum())
