import json
from dataclasses import replace

import numpy as np
import pytest

from ltood.core.errors import StoreError
from ltood.evaluation.config import SetGroups
from ltood.evaluation.intervals import bootstrap, uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.orders import Orders
from ltood.evaluation.summary import summary
from ltood.evaluation.tables import text_table
from ltood.metrics import METRICS
from tests.evaluation.score_samples import Scored, make_scored


def streamed(orders=3, mix="per_set", noise=0.5, seed=0) -> Scored:
    """Scores of two sets in each order of their streams: the same ones with noise."""
    plain, rng = make_scored(seed), np.random.default_rng(seed + 1)
    streams = ["far", "near"] if mix == "per_set" else ["all"]
    rows = {}
    for name, split in plain.rows.items():
        if name == "train":
            continue
        columns = orders * (len(streams) if name == "test" else 1)
        scores = split.scores[:, None] + noise * rng.normal(size=(len(split), columns))
        rows[name] = replace(split, by_order=scores.astype(np.float32))
    record = {"streams": streams, "orders": orders, "mix": mix}
    return Scored(rows, {**plain.attributes, "stream": record})


def alone(scored: Scored, place: int, order: int, name: str) -> Evaluation:
    """One set in one order as scores that need no stream."""
    orders = scored.attributes["stream"]["orders"]
    test, ood = scored.rows["test"], scored.rows[f"ood_{name}"]
    rows = {
        "test": replace(test, scores=test.by_order[:, place * orders + order], by_order=None),
        f"ood_{name}": replace(ood, scores=ood.by_order[:, order], by_order=None),
    }
    plain = {key: value for key, value in scored.attributes.items() if key != "stream"}
    return Evaluation(Scored(rows, plain))


@pytest.mark.parametrize("mix", ["per_set", "all"])
def test_metrics_are_means_over_orders(mix):
    scored = streamed(mix=mix)
    found = Evaluation(scored).metrics
    for place, name in enumerate(("far", "near")):
        place = place if mix == "per_set" else 0
        single = [alone(scored, place, order, name).metrics["ood"][name] for order in range(3)]
        for key in METRICS:
            values = [one[key] for one in single]
            assert found["ood"][name][key] == pytest.approx(np.mean(values))
            assert found["stream"]["std"]["ood"][name][key] == pytest.approx(np.std(values, ddof=1))
        assert found["ood"][name]["num_ood"] == single[0]["num_ood"]
    sets = found["ood"].values()
    assert found["mean"]["auroc"] == pytest.approx(np.mean([one["auroc"] for one in sets]))
    assert found["stream"]["transductive"] is True
    assert json.loads(json.dumps(found)) == found


def test_the_deviation_of_the_mean_is_that_of_the_means():
    scored = streamed()
    means = [
        np.mean(
            [
                alone(scored, p, o, n).metrics["ood"][n]["auroc"]
                for p, n in ((0, "far"), (1, "near"))
            ]
        )
        for o in range(3)
    ]
    found = Evaluation(scored).metrics["stream"]["std"]["mean"]["auroc"]
    assert found == pytest.approx(np.std(means, ddof=1))


def test_equal_orders_have_no_deviation_and_change_no_verdict():
    found = Evaluation(streamed(noise=0.0)).metrics["stream"]
    assert max(found["std"]["mean"].values()) < 1e-12
    assert found["order_dependent"]["mean"] == {"id_pos": 0, "ood_pos": 0}


def test_one_order_has_no_deviation():
    scored = streamed(orders=1)
    found = Evaluation(scored).metrics
    assert found["stream"]["std"]["mean"]["auroc"] is None
    assert found["stream"]["order_dependent"]["mean"]["id_pos"] == 0
    assert "±" not in text_table(found)


def test_order_dependent_verdicts_are_counted_row_by_row():
    scored = streamed()
    found = Evaluation(scored).metrics["stream"]["order_dependent"]["ood"]["far"]
    flags = []
    for order in range(3):
        scores = scored.rows["test"].by_order[:, order]
        limit = np.sort(scores)[int(0.95 * len(scores)) - 1]
        flags.append(scores > limit)
    flags = np.array(flags)
    expected = np.mean(flags.any(axis=0) & ~flags.all(axis=0))
    assert 0 < expected < 1
    assert found["id_pos"] == pytest.approx(expected)


def test_rows_that_were_left_out_do_not_count():
    scored = streamed()
    test = scored.rows["test"]
    thinned = test.by_order.copy()
    thinned[::2] = np.nan
    scored.rows["test"] = replace(test, by_order=thinned)
    found = Evaluation(scored).metrics["ood"]
    assert found["far"]["num_id"] == len(test) // 2
    # The rows of a set that show a class are ID rows too.
    assert found["near"]["num_id"] == len(test) // 2 + 30


def test_every_order_counts_in_the_fingerprint():
    scored = streamed()
    before = Evaluation(scored).fingerprint
    changed = scored.rows["ood_near"].by_order.copy()
    changed[3, 2] += 1
    scored.rows["ood_near"] = replace(scored.rows["ood_near"], by_order=changed)
    assert Evaluation(scored).fingerprint != before


def test_tables_show_mean_and_deviation_and_mark_the_row():
    found = Evaluation(streamed()).metrics
    text = text_table(found)
    assert "±" in text
    assert "transductive" in text
    assert summary(found)["transductive"] == 1
    assert summary(found)["auroc_std"] == found["stream"]["std"]["mean"]["auroc"]
    plain = Evaluation(make_scored()).metrics
    assert "stream" not in plain
    assert "transductive" not in summary(plain)
    assert "±" not in text_table(plain)


def test_false_alarms_are_means_over_orders():
    scored = streamed()
    evaluation = Evaluation(scored)
    single = [alone(scored, 0, order, "far").false_alarms["far"] for order in range(3)]
    found = evaluation.false_alarms["far"]
    assert found["all"] == pytest.approx(np.mean([one["all"] for one in single]))
    assert found["all"] == pytest.approx(evaluation.metrics["ood"]["far"]["fpr95_ood_pos"])
    assert evaluation.breakdown["false_alarms"]["far"] == found
    assert bootstrap(evaluation, samples=2)["ood"].keys() == {"far", "near"}


def test_groups_of_sets_have_means_and_deviations():
    found = Evaluation(streamed(), SetGroups({"close": ("near",)})).metrics
    for key in METRICS:
        assert found["groups"]["close"][key] == pytest.approx(found["ood"]["near"][key])
    std = found["stream"]["std"]
    assert std["groups"]["close"]["auroc"] == pytest.approx(std["ood"]["near"]["auroc"])
    assert "mean, close" in text_table(found)


def test_columns_that_are_missing_are_refused():
    scored = streamed()
    scored.attributes["stream"] = {**scored.attributes["stream"], "orders": 9}
    with pytest.raises(StoreError, match="by order"):
        _ = Evaluation(scored).metrics
    assert Orders.of({}) is None


def test_streams_of_id_rows_alone_have_accuracies():
    scored = streamed(mix="all")
    evaluation = Evaluation(Scored({"test": scored.rows["test"]}, scored.attributes))
    assert set(evaluation.metrics) == {"id", "failures"}
    assert evaluation.by_order == evaluation.false_alarms == {}
    assert uncertainty(evaluation) == {"id": {}}


def test_a_set_that_was_thinned_to_nothing_is_named_with_the_setting():
    scored = streamed(mix="all")
    near = scored.rows["ood_near"]
    thinned = near.by_order.copy()
    thinned[near.labels < 0, 1] = np.nan
    scored.rows["ood_near"] = replace(near, by_order=thinned)
    with pytest.raises(StoreError, match=r"ood_near.*order 1.*id_share"):
        _ = Evaluation(scored).metrics
