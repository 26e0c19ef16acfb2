"""Fit the feature calibrator on the stored training features."""

from ltood.pipeline._features import features
from ltood.pipeline._shell import CALIBRATION, Params, stage


@stage("calibrate")
def run(params: Params) -> None:
    """Fit the calibrator on features and write it."""
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.runtime.first import is_first
    from ltood.store.fitted import FittedEntry, write_fitted

    store = features(params)
    if params.name("calibrator") == "none":  # Nothing to learn: no torch, no waiting.
        if is_first():
            write_fitted(CALIBRATION, FittedEntry("none", {}, store.fingerprint))
        return
    from ltood.core.building import EntrySpec, build_calibrator
    from ltood.scoring.session import ScoringSession, fit_calibrator

    chosen = params.chosen("calibrator")
    with ranks_from_environment() as ranks:
        session = ScoringSession.open(store, params.device, ranks)
        slot = build_calibrator(EntrySpec(chosen.name, chosen.settings))
        fitted = fit_calibrator(session, slot)
        if ranks.rank == 0:
            write_fitted(CALIBRATION, fitted)
