"""Score every row of the feature store with the chosen method."""

from ltood.pipeline._features import features
from ltood.pipeline._shell import CALIBRATION, METHOD, RAW_SCORES, Params, stage


@stage("score")
def run(params: Params) -> None:
    """Read features and calibration, write raw scores and the method."""
    from ltood.runtime.console import log

    method = params.chosen("method")

    from ltood.core.building import EntrySpec, build_method
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.scoring.kept import kept_method
    from ltood.scoring.run import write_scores
    from ltood.scoring.session import ScoringSession, restore_calibrator, shares_banks
    from ltood.scoring.wording import said_of
    from ltood.store.fitted import read_fitted, write_fitted

    calibration = read_fitted(CALIBRATION)
    with ranks_from_environment() as ranks:
        shares = shares_banks([method.name])
        session = ScoringSession.open(features(params), params.device, ranks, shares_banks=shares)
        session = restore_calibrator(session, calibration)
        chosen = build_method(EntrySpec(method.name, method.settings))
        scores = write_scores(session, calibration, chosen, RAW_SCORES, overwrite=True)
        if ranks.rank:
            return
        write_fitted(METHOD, kept_method(session, chosen, calibration))
    for line in said_of(scores.attributes["method"]):
        log(line)
