"""Fit the feature calibrator on the stored training features."""

import click

from stages._shell import CALIBRATION, choice, features, plain_errors, value


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read features, write what the calibrator learned."""
    from ltood.core.settings import to_section
    from ltood.store.fitted import FittedEntry, write_fitted

    store = features()
    if value("calibrator") == "none":  # Nothing to learn: no torch, no waiting.
        write_fitted(CALIBRATION, FittedEntry("none", {}, store.fingerprint))
        return
    from ltood.scoring.session import ScoringSession, fit_calibrator
    from ltood.scoring.slots import EntrySpec

    name, _, config = choice("calibrator", "calibrators")
    session = ScoringSession.open(store, value("device"))
    write_fitted(CALIBRATION, fit_calibrator(session, EntrySpec(name, to_section(config))))


if __name__ == "__main__":
    main()
