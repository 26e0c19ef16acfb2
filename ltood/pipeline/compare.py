"""Score the feature store with every method, write the leaderboard."""

from ltood.pipeline._code import SLOTS
from ltood.pipeline._features import features
from ltood.pipeline._shell import COMPARED, RESULTS, Params, stage


@stage("compare")
def run(params: Params) -> None:
    """Read features, write leaderboard.json, .csv and .md, timings.csv and all scores.

    Without an OOD set nothing ranks methods, and all of these are empty.
    """
    from ltood.comparing.plan import Combination, Config
    from ltood.evaluation.config import EvaluationConfig

    # A bad name is refused before torch is loaded, which takes seconds.
    config = params.section("compare", Config)
    evaluation = params.section("evaluation", EvaluationConfig)

    from ltood.comparing.leaderboard import check_any, write_leaderboard
    from ltood.comparing.running import compare, nothing_compared
    from ltood.comparing.scores import ScoreKeeper
    from ltood.runtime.distributed import ranks_from_environment

    # The row of the pipeline's own path is always there, for the report to point at.
    own = Combination(*(params.name(slot) for slot in SLOTS))
    with ranks_from_environment() as ranks:
        store, keeper = features(params), ScoreKeeper(COMPARED)
        if not store.ood_splits:
            if ranks.rank == 0:
                write_leaderboard(RESULTS, nothing_compared(store, keeper), [])
            return
        board, timings = compare(
            store,
            config,
            params.content,
            include=[] if own in config.combinations() else [own],
            groups=evaluation.groups,
            keeper=keeper,
            device=params.device,
            ranks=ranks,
        )
        if ranks.rank:
            return
    write_leaderboard(RESULTS, board, timings)
    check_any(board)
