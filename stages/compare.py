"""Score the feature store with every method, write the leaderboard."""

import click

from stages._features import features
from stages._shell import RESULTS, Params, stage


@click.command(help=__doc__)
@stage("compare")
def main(params: Params) -> None:
    """Read features, write leaderboard.json, .csv and .md and timings.csv."""
    from ltood.comparing.plan import Config

    # A bad name is refused before torch is loaded, which takes seconds.
    config = params.section("compare", Config)

    from ltood.comparing.leaderboard import check_any, write_leaderboard
    from ltood.comparing.running import compare

    board, timings = compare(features(), config, params.content, device=params.device)
    write_leaderboard(RESULTS, board, timings)
    check_any(board)


if __name__ == "__main__":
    main()
