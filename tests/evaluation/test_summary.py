from ltood.evaluation.measures import Evaluation
from ltood.evaluation.summary import summary
from tests.evaluation.score_samples import make_scored


def test_a_summary_holds_the_main_metrics_and_two_accuracies():
    metrics = Evaluation(make_scored()).metrics
    found = summary(metrics)
    assert list(found) == [
        *("auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in"),
        *("accuracy", "accuracy_few"),
    ]
    assert found["auroc"] == metrics["mean"]["auroc"]
    assert found["accuracy_few"] == metrics["id"]["few"]
    without = {**metrics, "id": {**metrics["id"], "few": None}}
    assert summary(without) == {k: v for k, v in found.items() if k != "accuracy_few"}
