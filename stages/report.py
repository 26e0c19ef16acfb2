"""Write the report: one HTML file that opens offline."""

import click

from stages._shell import FINAL_SCORES, LEADERBOARD, METRICS, REGIONS, REPORT, Params, stage


@click.command(help=__doc__)
@stage("report")
def main(params: Params) -> None:
    """Read final scores, metrics, leaderboard and regions, write report.html."""
    from ltood.evaluation.measures import bootstrap, breakdown
    from ltood.reporting.write import read_leaderboard, read_metrics, write_report
    from ltood.runtime.console import log
    from ltood.store.regions import read_regions
    from ltood.store.scores import ScoreStore

    metrics, leaderboard = read_metrics(METRICS), read_leaderboard(LEADERBOARD)
    scores = ScoreStore.open(FINAL_SCORES)
    write_report(
        REPORT,
        scores,
        metrics,
        breakdown(scores),
        bootstrap(scores),
        leaderboard,
        regions=read_regions(REGIONS),
    )
    log(f"wrote {REPORT}")


if __name__ == "__main__":
    main()
