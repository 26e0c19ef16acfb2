"""Score every row of the feature store with the chosen method."""

import click

from stages._shell import CALIBRATION, RAW_SCORES, choice, features, plain_errors, value


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read features and calibration, write raw scores."""
    from ltood.core.settings import to_section
    from ltood.runtime.console import log

    name, _, config = choice("method", "methods")

    from ltood.scoring.run import write_scores
    from ltood.scoring.session import ScoringSession, restore_calibrator
    from ltood.scoring.slots import EntrySpec
    from ltood.store.fitted import read_fitted

    calibration = read_fitted(CALIBRATION)
    session = ScoringSession.open(features(), value("device"))
    session = restore_calibrator(session, calibration)
    chosen = EntrySpec(name, to_section(config))
    scores = write_scores(session, calibration, chosen, RAW_SCORES, overwrite=True)
    for key, number in scores.attributes["method"]["in_use"].items():
        log(f"{name}: {key} in use {number:.6g}")


if __name__ == "__main__":
    main()
