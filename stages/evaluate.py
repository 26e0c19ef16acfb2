"""Turn final scores into metrics and plot data."""

import click

from stages._shell import FINAL_SCORES, METRICS, PLOTS, Params, stage


@click.command(help=__doc__)
@stage("evaluate")
def main(params: Params) -> None:
    """Read final scores, write metrics.json and the plot files."""
    from ltood.evaluation.measures import evaluate, write_metrics
    from ltood.evaluation.plots import write_plots
    from ltood.store.scores import ScoreStore

    scores = ScoreStore.open(FINAL_SCORES)
    write_metrics(METRICS, evaluate(scores))
    write_plots(scores, PLOTS)


if __name__ == "__main__":
    main()
