"""Write the report: one HTML file that opens offline."""

from ltood.pipeline._shell import FINAL_SCORES, LEADERBOARD, METRICS, REGIONS, REPORT, Params, stage


@stage("report")
def run(params: Params) -> None:
    """Read final scores, metrics, leaderboard and regions, write report.html."""
    from ltood.evaluation.config import EvaluationConfig
    from ltood.evaluation.intervals import uncertainty
    from ltood.evaluation.measures import Evaluation
    from ltood.reporting.inputs import read_leaderboard, read_metrics
    from ltood.reporting.write import check_packages, write_report
    from ltood.runtime.console import log
    from ltood.store.regions import read_regions
    from ltood.store.scores import ScoreStore

    check_packages()
    evaluation = Evaluation(
        ScoreStore.open(FINAL_SCORES), params.section("evaluation", EvaluationConfig).groups
    )
    read_metrics(METRICS, evaluation)  # Refuses a file that is not of these scores.
    write_report(
        REPORT,
        evaluation,
        leaderboard=read_leaderboard(LEADERBOARD, evaluation),
        intervals=uncertainty(evaluation),
        regions=read_regions(REGIONS),
    )
    log(f"wrote {REPORT}")
