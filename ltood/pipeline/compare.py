"""Score the feature store with every method, write the leaderboard."""

from ltood.pipeline._code import SLOTS
from ltood.pipeline._features import features
from ltood.pipeline._shell import COMPARED, RESULTS, Params, stage


@stage("compare")
def run(params: Params) -> None:
    """Read features, write leaderboard.json, .csv and .md, timings.csv and all scores."""
    from ltood.comparing.plan import Combination, Config
    from ltood.evaluation.config import EvaluationConfig

    # A bad name is refused before torch is loaded, which takes seconds.
    config = params.section("compare", Config)
    evaluation = params.section("evaluation", EvaluationConfig)

    from ltood.comparing.leaderboard import check_any, write_leaderboard
    from ltood.comparing.running import compare
    from ltood.comparing.scores import ScoreKeeper

    # The row of the pipeline's own path is always there, for the report to point at.
    own = Combination(*(params.name(slot) for slot in SLOTS))
    board, timings = compare(
        features(params),
        config,
        params.content,
        include=[] if own in config.combinations() else [own],
        groups=evaluation.groups,
        keeper=ScoreKeeper(COMPARED),
        device=params.device,
    )
    write_leaderboard(RESULTS, board, timings)
    check_any(board)
