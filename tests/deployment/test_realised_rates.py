"""What the promises come to on new rows, by exact binomial intervals on seeded simulations.

Every draw has calibration rows of its own and judges one new row of each kind, so that alarms of
different draws are independent. Rows of one draw are judged by methods whose scores depend on
one another, and their alarms are counted apart.
"""

import numpy as np
import pytest
import torch
from scipy import stats

import ltood
from ltood.deployment.promises import Promise
from ltood.deployment.rules import make_rule
from tests.deployment.rule_samples import CLASS_GROUPS, COUNTS, as_rows, description, draw

#: A failure by chance is rarer than this, in each of the few intervals below.
RARE = 1e-4

#: Class mix of calibration rows that were drawn as the training rows were.
LONG_TAILED = [50, 30, 20, 15, 8, 6]


def interval(alarms, draws):
    """Clopper-Pearson interval of a rate."""
    found = stats.binomtest(int(alarms), draws).proportion_ci(1 - RARE, "exact")
    return found.low, found.high


def scored(method, scores, logits):
    """Scores of the rows by three methods that depend on one another."""
    if method == "energy":
        return -logits.logsumexp(dim=1)
    return scores if method == "own" else -logits.softmax(dim=1).amax(dim=1)


def alarms(options, rng, *, draws, rows, kinds, method="own", mix=None, new_mix=None):
    """Alarms and rows of each kind over many draws: [kinds] each.

    Args:
        kinds: Kinds of new rows, as functions of logits and labels; one row of each is judged.
    """
    counts, judged = np.zeros(len(kinds)), np.zeros(len(kinds), int)
    for _ in range(draws):
        scores, logits, labels = draw(rows, rng, mix)
        rule = make_rule(
            Promise(**options),
            as_rows(scored(method, scores, logits), logits, labels),
            description(),
        )
        scores, logits, labels = draw(60, rng, new_mix if new_mix is not None else mix)
        first = [torch.nonzero(kind(logits, labels)).flatten()[:1] for kind in kinds]
        picked = torch.cat(first)
        found = rule.judge(
            scored(method, scores, logits)[picked],
            logits[picked].argmax(dim=1),
            logits[picked],
        )
        there = np.array([len(rows) for rows in first], bool)
        counts[there] += found.is_ood.numpy()
        judged += there
    return counts, judged


def anything(logits, labels):
    del labels
    return torch.ones(len(logits), dtype=torch.bool)


PREDICTED = [lambda logits, _, g=g: CLASS_GROUPS[logits.argmax(dim=1)] == g for g in range(3)]
TRUE = [lambda _, labels, g=g: CLASS_GROUPS[labels] == g for g in range(3)]


@pytest.mark.parametrize("method", ["own", "energy", "msp"])
def test_a_rate_holds_for_any_method(rng, method):
    counts, draws = alarms({"fpr": 0.1}, rng, draws=400, rows=59, kinds=[anything], method=method)
    low, high = interval(counts[0], draws[0])
    assert low <= 0.1 <= high  # 0.1 is a multiple of 1 / 60, so that the level is exact


def test_plain_alarms_fall_on_rare_classes_and_groups_share_them(rng):
    """Many / medium / few by prediction: a plain rate is unfair, each group keeps its own."""
    kinds = [anything, *PREDICTED]
    plain, draws = alarms({"fpr": 0.1}, rng, draws=300, rows=239, kinds=kinds)
    low, high = interval(plain[0], draws[0])
    assert low <= 0.1 <= high
    assert interval(plain[3], draws[3])[0] > 0.1
    assert interval(plain[1], draws[1])[1] < 0.1
    grouped, draws = alarms(
        {"fpr": 0.1, "per_group": "class_group"}, rng, draws=300, rows=239, kinds=kinds
    )
    for count, num in zip(grouped, draws, strict=True):
        low, high = interval(count, num)
        assert low <= 0.1  # floor(0.1 (n + 1)) / (n + 1) is a little less than 0.1
        assert high >= 0.07


@pytest.mark.parametrize("method", [ltood.Energy(), ltood.KNN(k=5), ltood.Mahalanobis()])
def test_rates_of_whole_detectors(rng, method):
    """Alarms on many new rows behind one calibration set follow a beta-binomial distribution."""
    centres, num, new = 3.0 * np.eye(6, 8), 399, 3000

    def rows(labels):
        return centres[labels] + rng.normal(size=(len(labels), 8))

    shares = np.array(COUNTS) / sum(COUNTS)
    pipe = ltood.Pipeline(method, head=(centres, np.zeros(6)), device="cpu")
    labels = np.repeat(np.arange(6), COUNTS)
    pipe.fit(rows(labels), labels)
    held_out = rows(rng.choice(6, num, p=shares))
    pipe.set_threshold(held_out)
    features = rows(rng.choice(6, new, p=shares))
    found = pipe.predict(features, fpr=0.1)
    assert _is_likely(found.is_ood.sum(), new, num, 0.1)
    predicted = pipe.predict(held_out).classes
    found = pipe.predict(features, fpr=0.1, per_group="class_group")
    for group in range(3):
        mine = (CLASS_GROUPS[found.classes] == group).numpy()
        rows_held = int((CLASS_GROUPS[predicted] == group).sum())
        assert rows_held >= 9  # none is merged
        assert _is_likely(found.is_ood[mine].sum(), mine.sum(), rows_held, 0.1)


def _is_likely(alarms, new, held_out, level):
    """Whether a number of alarms lies in its exact interval."""
    rank = int(level * (held_out + 1) + 1e-9)
    low, high = stats.betabinom(new, rank, held_out + 1 - rank).interval(1 - RARE)
    return low <= alarms <= high


def test_confidence_holds_for_the_share_of_calibration_sets(rng):
    """The level given the calibration rows, over 200 sets: plain is above 0.1 in half of them."""
    held = {"plain": 0, "confident": 0}
    for _ in range(200):
        _, logits, labels = draw(200, rng)
        uniform = torch.tensor(rng.uniform(size=200)).float()
        rows = as_rows(uniform, logits, labels)
        for name, confidence in (("plain", None), ("confident", 0.9)):
            rule = make_rule(Promise(fpr=0.1, confidence=confidence), rows, description())
            found = rule.judge(uniform[:1], labels[:1], logits[:1])
            held[name] += float(1 - found.thresholds[0]) <= 0.1
    assert stats.binomtest(held["confident"], 200, 0.9, "less").pvalue > RARE
    assert stats.binomtest(held["plain"], 200, 0.9, "less").pvalue < RARE


def test_another_class_mix_breaks_the_plain_rate_and_not_the_others(rng):
    """Calibration rows as in training, and balanced rows at deployment."""
    given = {"rng": rng, "draws": 250, "rows": 300, "mix": LONG_TAILED, "new_mix": [1] * 6}
    plain, draws = alarms({"fpr": 0.1}, kinds=[anything], **given)
    assert interval(plain[0], draws[0])[0] > 0.1
    weighted, draws = alarms({"fpr": 0.1, "class_mix": "uniform"}, kinds=[anything], **given)
    assert interval(weighted[0], draws[0])[0] <= 0.1
    grouped, draws = alarms({"fpr": 0.1, "per_group": "class"}, kinds=[anything], **given)
    assert interval(grouped[0], draws[0])[0] <= 0.1


def test_sets_hold_for_every_class_under_any_mix(rng):
    """Alarms among true many / medium / few rows, and classes that are missed."""
    given = {"draws": 200, "rows": 400, "mix": LONG_TAILED, "new_mix": [1] * 6}
    counts, draws = alarms({"sets": 0.2}, rng, kinds=TRUE, **given)
    for count, num in zip(counts, draws, strict=True):
        assert interval(count, num)[0] <= 0.2
    missed, num = 0, 0
    for _ in range(150):
        rows = as_rows(*draw(400, rng, LONG_TAILED))
        rule = make_rule(Promise(sets=0.2), rows, description())
        scores, logits, labels = draw(30, rng)
        rare = (labels == 5).nonzero().flatten()[:1]
        found = rule.judge(scores[rare], logits[rare].argmax(dim=1), logits[rare])
        missed += int((~found.sets[:, 5]).sum())
        num += len(rare)
    low, high = interval(missed, num)
    assert low <= 0.2
    assert high >= 0.1  # at least floor(0.2 (n + 1)) / (n + 1) for the few rows of this class


def test_discoveries_keep_their_share(rng):
    """The mean share of ID rows among discoveries, at most fdr times the share of ID rows."""
    shares = []
    for _ in range(150):
        rule = make_rule(Promise(fdr=0.2), as_rows(*draw(300, rng)), description())
        scores, logits, _ = draw(60, rng)
        scores[:30] += 4.0
        found = rule.judge(scores, logits.argmax(dim=1), logits)
        values, counts = found.p_values.unique(return_counts=True)
        flagged = found.p_values <= rule.cutoff(
            dict(zip(values.tolist(), counts.tolist(), strict=True))
        )
        shares.append(float(flagged[30:].sum()) / max(float(flagged.sum()), 1.0))
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.2 * 0.5 + 4 * error
    assert np.mean(shares) >= 0.2 * 0.5 - 4 * error - 0.02
