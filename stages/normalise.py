"""Normalise the raw scores with the class prior, or pass them on unchanged."""

import click

from stages._shell import (
    CALIBRATION,
    FINAL_SCORES,
    RAW_SCORES,
    choice,
    features,
    plain_errors,
    value,
)


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read raw scores and features, write final scores."""
    from ltood.core.settings import to_section
    from ltood.store.scores import ScoreStore, copy_scores

    raw = ScoreStore.open(RAW_SCORES)
    if value("normaliser") == "none":  # Nothing to compute: no torch, no waiting.
        copy_scores(raw, FINAL_SCORES, overwrite=True)
        return
    name, _, config = choice("normaliser", "normalisers")

    from ltood.scoring.run import normalise_scores
    from ltood.scoring.session import ScoringSession, restore_calibrator
    from ltood.scoring.slots import EntrySpec
    from ltood.store.fitted import read_fitted

    session = ScoringSession.open(features(), value("device"))
    session = restore_calibrator(session, read_fitted(CALIBRATION))
    normalise_scores(
        session, raw, EntrySpec(name, to_section(config)), FINAL_SCORES, overwrite=True
    )


if __name__ == "__main__":
    main()
