"""Rules against slow references, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from reference import conformal as reference

from ltood.core.errors import ConfigError, DataError
from ltood.deployment.promises import Promise
from ltood.deployment.rules import groups_of_classes, make_rule
from tests.deployment.rule_samples import (
    CLASS_GROUPS,
    COUNTS,
    NAMES,
    as_rows,
    description,
    draw,
    judged,
)


@pytest.fixture(scope="module")
def held_out():
    return draw(400, np.random.default_rng(1))


@pytest.fixture(scope="module")
def new():
    return draw(150, np.random.default_rng(2))


def rule_of(rows, **options):
    return make_rule(Promise(**options), as_rows(*rows), description())


def test_a_rate_is_a_threshold_on_p_values(held_out, new):
    found = judged(rule_of(held_out, fpr=0.1), *new)
    scores = held_out[0].tolist()
    want = [reference.p_value(score, scores) for score in new[0].tolist()]
    assert found.p_values.tolist() == want
    assert found.is_ood.tolist() == [p <= 0.1 for p in want]
    assert torch.equal(new[0] > found.thresholds, found.is_ood)
    assert len(found.thresholds.unique()) == 1
    # floor(0.1 * 401) = 40 of the 400 scores are at or above a flagged one at most 39 times.
    assert found.thresholds[0].item() == sorted(scores)[-40]


def test_confidence_takes_the_guaranteed_rank(held_out, new):
    found = judged(rule_of(held_out, fpr=0.1, confidence=0.9), *new)
    rank = max(k for k in range(1, 401) if reference.confidence_of_rank(k, 400, 0.1) >= 0.9)
    assert found.thresholds[0].item() == sorted(held_out[0].tolist())[-rank]
    assert found.is_ood.sum() <= judged(rule_of(held_out, fpr=0.1), *new).is_ood.sum()


@pytest.mark.parametrize("per_group", ["class_group", "class"])
def test_groups_judge_by_their_own_rows(held_out, new, per_group):
    rule = rule_of(held_out, fpr=0.1, per_group=per_group)
    found = judged(rule, *new)
    classes = held_out[1].argmax(dim=1)
    sides = CLASS_GROUPS if per_group == "class_group" else torch.arange(6)
    for score, logits, p_value, threshold in zip(
        new[0], new[1], found.p_values, found.thresholds, strict=True
    ):
        beside = held_out[0][sides[classes] == sides[logits.argmax()]].tolist()
        assert p_value.item() == reference.p_value(score.item(), beside)
        assert (score > threshold) == (p_value <= 0.1)
    assert len(found.thresholds.unique()) == len(sides.unique())


def test_weights_are_ratios_of_shares(held_out, new):
    mix = {"ant": 3.0, "bee": 1.0, "fox": 1.0}
    found = judged(rule_of(held_out, fpr=0.2, class_mix=mix), *new)
    counts = torch.bincount(held_out[2], minlength=6).tolist()
    of_class = [mix.get(name, 0.0) / 5 * 400 / counts[c] for c, name in enumerate(NAMES)]
    weights = [of_class[label] for label in held_out[2].tolist()]
    want = [
        reference.p_value(score, held_out[0].tolist(), weights, max(of_class))
        for score in new[0].tolist()
    ]
    np.testing.assert_allclose(found.p_values, want, rtol=1e-12)
    assert torch.equal(new[0] > found.thresholds, found.is_ood)


@pytest.mark.parametrize(
    "mix", ["train", COUNTS, np.array(COUNTS), dict(zip(NAMES, COUNTS, strict=True))]
)
def test_the_same_mix_in_four_ways(held_out, new, mix):
    found = judged(rule_of(held_out, fpr=0.2, class_mix=mix), *new)
    again = judged(rule_of(held_out, fpr=0.2, class_mix=[2.0 * c for c in COUNTS]), *new)
    torch.testing.assert_close(found.p_values, again.p_values)


def test_the_mix_of_the_calibration_rows_changes_nothing_much(held_out, new):
    counts = torch.bincount(held_out[2], minlength=6).tolist()
    weighted = judged(rule_of(held_out, fpr=0.1, class_mix=counts), *new)
    torch.testing.assert_close(weighted.p_values, judged(rule_of(held_out, fpr=0.1), *new).p_values)


def test_sets_hold_the_classes_that_are_not_ruled_out(held_out, new):
    found = judged(rule_of(held_out, sets=0.1), *new)
    own = [held_out[1][held_out[2] == c].double().softmax(dim=1)[:, c] for c in range(6)]
    for logits, p_value, is_ood, kept in zip(
        new[1], found.p_values, found.is_ood, found.sets, strict=True
    ):
        soft = logits.double().softmax(dim=0)
        p_values = [reference.p_value(1 - soft[c].item(), (1 - own[c]).tolist()) for c in range(6)]
        assert kept.tolist() == [p > 0.1 for p in p_values]
        assert p_value.item() == max(p_values)
        assert is_ood.item() == (not any(kept.tolist()))
    assert found.thresholds is None


def test_sets_do_not_depend_on_how_many_rows_are_judged_at_once(held_out, new, monkeypatch):
    rule = rule_of(held_out, sets=0.1)
    whole = judged(rule, *new)
    monkeypatch.setattr("ltood.deployment.rules._PAIRS", 7)
    parts = judged(rule, *new)
    assert torch.equal(whole.p_values, parts.p_values)
    assert torch.equal(whole.sets, parts.sets)


def test_discoveries_wait_for_all_rows(held_out, new):
    rule = rule_of(held_out, fdr=0.2)
    scores = torch.cat([new[0], new[0][:40] + 30])
    logits = torch.cat([new[1], new[1][:40]])
    found = rule.judge(scores, logits.argmax(dim=1), logits)
    assert rule.is_joint
    assert not found.is_ood.any()
    values, counts = found.p_values.unique(return_counts=True)
    cutoff = rule.cutoff(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    want = reference.benjamini_hochberg(found.p_values.numpy(), 0.2)
    assert (found.p_values <= cutoff).tolist() == want.tolist()
    assert want[-40:].all()
    assert rule.cutoff({}) == 0.0


@pytest.mark.parametrize(
    "options", [{"fpr": 0.1}, {"fpr": 0.1, "per_group": "class"}, {"fdr": 0.1}, {"sets": 0.1}]
)
def test_no_rows_are_judged(held_out, options):
    found = rule_of(held_out, **options).judge(
        torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, 6)
    )
    assert len(found.p_values) == len(found.is_ood) == 0


def test_groups_that_are_too_small_are_merged_and_named(held_out):
    scores, logits, labels = held_out
    kept = (logits.argmax(dim=1) != 3) | (torch.arange(400) < 30)
    rule = rule_of((scores[kept], logits[kept], labels[kept]), fpr=0.05, per_group="class")
    # Class 3 has too few rows, and class 4 is the next in the order of training rows.
    assert rule.fitted.parts[rule.groups].tolist() == [0, 1, 2, 3, 3, 4]
    assert any("dog + elk" in note and "19" in note for note in rule.notes)


def test_a_group_without_classes_is_not_named(held_out):
    # Classes of equal counts share a group, so that here none is left for "few".
    said = description() | {"class_counts": [500, 300, 80, 60, 8, 8]}
    rule = make_rule(Promise(fpr=0.1, per_group="class_group"), as_rows(*held_out), said)
    assert len(rule.fitted.counts) == len(set(rule.groups.tolist())) == 2
    assert not any("few" in note or "merged" in note for note in rule.notes)


def test_groups_of_classes_go_by_training_rows():
    said = {"class_names": ["rare", "many", "some"], "class_counts": [1, 50, 10]}
    groups, names = groups_of_classes("class", said)
    assert [names[g] for g in groups.tolist()] == said["class_names"]
    assert names == ["many", "some", "rare"]
    groups, names = groups_of_classes("class_group", description())
    assert groups.tolist() == CLASS_GROUPS.tolist()
    assert names == ["many", "medium", "few"]


def test_both_levels_and_the_assumption_are_said(held_out):
    text = " ".join(rule_of(held_out, fpr=0.05).notes)
    for said in ("400 calibration rows of val", f"{20 / 401:.4g} on average", "confidence 0.9"):
        assert said in text
    assert "assumes" in text
    text = " ".join(rule_of(held_out, fpr=0.05, confidence=0.8).notes)
    assert "0.8" in text
    for options in ({"fdr": 0.1}, {"sets": 0.05}, {"fpr": 0.1, "class_mix": "uniform"}):
        assert "assumes" in " ".join(rule_of(held_out, **options).notes)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"fpr": 0.05}, 19),
        ({"fpr": 0.01}, 99),
        ({"fdr": 0.05}, 19),
        ({"fpr": 0.05, "confidence": 0.9}, 45),
        ({"fpr": 0.05, "per_group": "class"}, 19),
    ],
)
def test_too_few_rows_name_how_many_are_needed(options, needed):
    rows = draw(needed, np.random.default_rng(0))
    rule = rule_of(rows, **options)
    assert rule.fitted.parts.max() == 0
    far = torch.full((1,), 1e6)
    assert rule.judge(far, torch.tensor([5]), torch.zeros(1, 6)).p_values.item() == 1 / (needed + 1)
    fewer = tuple(column[1:] for column in rows)
    with pytest.raises(ConfigError, match=rf"{needed - 1} calibration rows.*needs {needed}"):
        rule_of(fewer, **options)


def test_a_class_with_too_few_rows_for_sets_is_named(held_out):
    scores, logits, labels = held_out
    kept = (labels != 4) | (torch.arange(400) < 60)
    with pytest.raises(ConfigError, match=r"19.*'elk'"):
        rule_of((scores[kept], logits[kept], labels[kept]), sets=0.05)


def test_a_mix_of_absent_or_rare_classes_is_refused(held_out):
    scores, logits, labels = held_out
    for most, match in ((0, "no calibration rows"), (2, "'fox'.*needs about")):
        ranks = (labels == 5).cumsum(0)
        kept = (labels != 5) | (ranks <= most)
        with pytest.raises(ConfigError, match=match):
            rule_of((scores[kept], logits[kept], labels[kept]), fpr=0.05, class_mix="uniform")


def test_the_rows_a_class_needs_are_enough(held_out):
    scores, logits, labels = held_out
    needed = math.ceil((1 / 0.05 - 1) / 6)
    for most, is_enough in ((needed, True), (needed - 1, False)):
        kept = (labels != 5) | ((labels == 5).cumsum(0) <= most)
        rows = (scores[kept], logits[kept], labels[kept])
        if is_enough:
            assert rule_of(rows, fpr=0.05, class_mix="uniform").fitted.smallest_p <= 0.05
        else:
            with pytest.raises(ConfigError, match=f"about {needed} rows"):
                rule_of(rows, fpr=0.05, class_mix="uniform")


@pytest.mark.parametrize("options", [{"sets": 0.1}, {"fpr": 0.1, "class_mix": "uniform"}])
def test_true_classes_must_be_known(held_out, options):
    scores, logits, labels = held_out
    some = labels.clone()
    some[:3] = -1
    with pytest.raises(DataError, match=f"{'sets' if 'sets' in options else 'class_mix'}.* 3 of"):
        rule_of((scores, logits, some), **options)
    assert rule_of((scores, logits, some), fpr=0.1).notes
