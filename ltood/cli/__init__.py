"""The `ltood` command: one file per command, nothing heavy before it is needed."""

import sys
from typing import Any

import typer

from ltood.cli import (
    adapt,
    bench,
    compare,
    data,
    doctor,
    evaluate,
    export,
    export_detector,
    export_onnx,
    figure,
    import_features,
    init,
    listing,
    negatives,
    new,
    predict,
    preset,
    pull,
    push,
    report,
    runs,
    schema,
    score,
    serve,
    skill,
    stage,
    store,
    sweep,
    table,
    visualise,
)
from ltood.runtime.console import EXIT_INTERRUPT, EXIT_USAGE, one_line, one_line_errors
from ltood.runtime.process import passive_omp_wait

app = typer.Typer(
    name="ltood",
    help="Out-of-distribution image detection, iterated on cached features.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_features.import_features)
app.command("export")(export.export)
app.command("export-detector")(export_detector.export_detector)
app.command("export-onnx")(export_onnx.export_onnx)
app.command("push")(push.push)
app.command("pull")(pull.pull)
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("adapt")(adapt.adapt)
app.command("score")(score.score)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("runs")(runs.runs)
app.command("figure")(figure.figure)
app.command("sweep")(sweep.sweep)
app.command("compare")(compare.compare)
app.command("bench")(bench.bench)
app.command("visualise")(visualise.visualise)
app.command("list")(listing.list_entries)
app.command(
    "stage",
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)(stage.stage)
app.command("new")(new.new)
app.command("init")(init.init)
app.command("preset")(preset.preset)
app.command("schema")(schema.schema)
app.command("skill")(skill.skill)
app.command("doctor")(doctor.doctor)
app.add_typer(store.app, name="store")
app.add_typer(negatives.app, name="negatives")
app.add_typer(data.app, name="data")
app.add_typer(table.app, name="table")


#: What Typer raises for a command line that it does not understand; it exports a subclass only.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line; expected failures end in one line."""
    passive_omp_wait()
    with one_line_errors():
        try:
            code = app(standalone_mode=False)
        except _UsageError as error:
            command = error.ctx.command_path if error.ctx else "ltood"
            # Without a message it has printed the help already.
            if message := one_line(error.format_message()).rstrip("."):
                print(f"error: {message}; see `{command} -h`.", file=sys.stderr)
            raise SystemExit(EXIT_USAGE) from None
        except SystemExit as ended:
            if isinstance(ended.__context__, BrokenPipeError):  # a failure to Typer, not to us
                raise ended.__context__ from None
            raise
        sys.stdout.flush()  # A reader that has gone is met here, not at exit.
        if code == EXIT_INTERRUPT:
            raise KeyboardInterrupt
        if code:
            raise SystemExit(code)
