"""The `ltood` command: one file per command, nothing heavy before it is needed."""

import typer

from ltood.cli import (
    bench,
    compare,
    data,
    doctor,
    evaluate,
    export,
    export_detector,
    import_features,
    init,
    listing,
    predict,
    report,
    score,
    stage,
    store,
    sweep,
    visualise,
)
from ltood.runtime.console import EXIT_INTERRUPT, one_line_errors
from ltood.runtime.process import passive_omp_wait

app = typer.Typer(
    name="ltood",
    help="Out-of-distribution image detection, iterated on cached features.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_features.register(app)
export.register(app)
export_detector.register(app)
predict.register(app)
score.register(app)
evaluate.register(app)
report.register(app)
sweep.register(app)
compare.register(app)
bench.register(app)
visualise.register(app)
listing.register(app)
store.register(app)
data.register(app)
stage.register(app)
init.register(app)
doctor.register(app)


def main() -> None:
    """Run the command line; expected failures end in one line."""
    passive_omp_wait()
    with one_line_errors():
        try:
            app()
        except SystemExit as ended:
            # Typer ends an interrupted command without a word; a stage has said it already.
            told = isinstance(ended.__context__, KeyboardInterrupt)
            if ended.code == EXIT_INTERRUPT and not told:
                raise KeyboardInterrupt from None
            raise
