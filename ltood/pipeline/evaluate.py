"""Turn final scores into metrics and plot data."""

from ltood.pipeline._shell import CHOICE, FINAL_SCORES, METRICS, PLOTS, SUMMARY, Params, stage


@stage("evaluate")
def run(params: Params) -> None:
    """Read final scores, write metrics, summary, choice and the plot files."""
    from ltood.evaluation.config import EvaluationConfig

    config = params.section("evaluation", EvaluationConfig)

    from ltood.evaluation.binding import bind, write_bound
    from ltood.evaluation.measures import Evaluation
    from ltood.evaluation.plots import write_plots
    from ltood.evaluation.summary import summary
    from ltood.runtime.files import to_json_bytes, write_atomically
    from ltood.store.scores import ScoreStore

    scores = ScoreStore.open(FINAL_SCORES)
    evaluation = Evaluation(scores, config.groups)
    write_bound(METRICS, bind(evaluation.metrics, scores=evaluation.fingerprint))
    write_atomically(SUMMARY, to_json_bytes(summary(evaluation.metrics)))
    method = scores.attributes["method"]
    # Always there, since the outputs of a stage are fixed; null where params.yaml named the method.
    chosen = {"method": method["name"], "choice": method.get("findings", {}).get("choice")}
    write_atomically(CHOICE, to_json_bytes(chosen))
    write_plots(evaluation, PLOTS)
