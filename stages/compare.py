"""Score the feature store with every method, write the leaderboard."""

import click

from stages._shell import RESULTS, features, params, plain_errors, value


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read features, write leaderboard.json, .csv and .md and timings.csv."""
    from ltood.comparing.plan import Config
    from ltood.core.settings import parse

    content = params()
    # A bad name is refused before torch is loaded, which takes seconds.
    config = parse(content.get("compare"), Config, "compare")

    from ltood.comparing.leaderboard import check_any, write_leaderboard
    from ltood.comparing.running import compare

    board, timings = compare(features(), config, content, device=value("device"))
    write_leaderboard(RESULTS, board, timings)
    check_any(board)


if __name__ == "__main__":
    main()
