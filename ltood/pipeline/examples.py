"""Pick the detector's clearest errors, with their pictures and the nearest training pictures."""

import warnings

from ltood.pipeline._features import features
from ltood.pipeline._shell import CALIBRATION, EXAMPLES, FINAL_SCORES, PREPARED, Params, stage


@stage("examples")
def run(params: Params) -> None:
    """Read final scores, features, calibration and images, write the examples."""
    from ltood.evaluation.config import EvaluationConfig
    from ltood.evaluation.measures import Evaluation
    from ltood.scoring.session import ScoringSession, restore_calibrator
    from ltood.showing.pictures import PreparedPictures
    from ltood.showing.sheet import example_sheet
    from ltood.store.examples import write_examples
    from ltood.store.fitted import read_fitted
    from ltood.store.scores import ScoreStore

    groups = params.section("evaluation", EvaluationConfig).groups
    evaluation = Evaluation(ScoreStore.open(FINAL_SCORES), groups)
    session = ScoringSession.open(features(params), params.device)
    session = restore_calibrator(session, read_fitted(CALIBRATION))
    pictures = PreparedPictures(PREPARED)
    write_examples(EXAMPLES, example_sheet(evaluation, session, pictures))
    for reason in list(pictures.unreadable.values())[:3]:
        warnings.warn(f"an example has no picture: {reason}", stacklevel=1)
