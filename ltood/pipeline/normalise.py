"""Normalise the raw scores with the class prior, or pass them on unchanged."""

from ltood.pipeline._features import features
from ltood.pipeline._shell import CALIBRATION, FINAL_SCORES, RAW_SCORES, Params, stage


@stage("normalise")
def run(params: Params) -> None:
    """Read raw scores and features, write final scores."""
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.runtime.first import is_first
    from ltood.store.scores import ScoreStore, copy_scores

    raw = ScoreStore.open(RAW_SCORES)
    if params.name("normaliser") == "none":  # Nothing to compute: no torch, no waiting.
        if is_first():
            copy_scores(raw, FINAL_SCORES, overwrite=True)
        return
    chosen = params.chosen("normaliser")

    from ltood.core.building import EntrySpec, build_normaliser
    from ltood.scoring.run import base_of, normalise_scores
    from ltood.scoring.session import ScoringSession, restore_calibrator
    from ltood.store.fitted import read_fitted

    with ranks_from_environment() as ranks:
        session = ScoringSession.open(features(params), params.device, ranks)
        session = restore_calibrator(session, read_fitted(CALIBRATION))
        slot = build_normaliser(EntrySpec(chosen.name, chosen.settings), base_of(raw))
        normalise_scores(session, raw, slot, FINAL_SCORES, overwrite=True)
