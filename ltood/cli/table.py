"""`ltood table`: whole tables of papers, run, shown beside published rows and checked."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import AsJson, Device, echo_for, file_option

app = typer.Typer(no_args_is_help=True, help="Whole tables: run, show, check and export them.")

Name = Annotated[str, typer.Argument(help="Name of a table, or a .yaml file.")]
Jobs = Annotated[
    int | None,
    typer.Option(help="Trainings at once; one for each GPU, else for each core, by default."),
]
Threads = Annotated[
    int, typer.Option(help="CPU threads of each training; numbers may depend on it.")
]


@app.command("list")
def list_tables(as_json: AsJson = False) -> None:
    """List all tables with their rows, seeds and published figures."""
    import json

    from ltood.tables.spec import known_tables, load_table

    tables = [load_table(name) for name in known_tables()]
    if as_json:
        facts = [
            {"name": t.name, "version": t.version, "title": t.title, "rows": len(t.rows)}
            for t in tables
        ]
        typer.echo(json.dumps(facts, indent=2))
        return
    wide = max((len(table.name) for table in tables), default=0)
    for table in tables:
        typer.echo(
            f"{table.name:<{wide}}  v{table.version}  {len(table.rows):>3} rows  "
            f"{len(table.seeds)} seeds  {len(table.published):>3} published  {table.title}"
        )


@app.command()
def show(name: Name) -> None:
    """Show what a table runs, what it needs, and its published rows."""
    from ltood.tables.describing import described
    from ltood.tables.spec import load_table

    typer.echo(described(load_table(name)))


@app.command()
def status(name: Name) -> None:
    """Say which trainings of a table are done, missing or failed."""
    from ltood.tables.view import View

    view = View.of(name)
    for line in view.status_lines():
        typer.echo(line)
    typer.echo(view.cost())


@app.command()
def run(
    name: Name,
    jobs: Jobs = None,
    threads: Threads = 1,
    processes: Annotated[
        int, typer.Option(help="Processes that share each training and extraction (torchrun).")
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="slurm, or local: send cells there as jobs (extra slurm)."),
    ] = None,
    cluster_option: Annotated[
        list[str] | None,
        typer.Option(help="Parameter of submitit KEY=VALUE, such as slurm_partition=gpu."),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Do not wait for the jobs of a cluster.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, and stop.")] = False,
) -> None:
    """Run what is missing of a table, then print it; a cell that exists is never run again.

    Killing it at any moment loses nothing: run the same command again. Any number of processes may
    run the same table at once, on one machine or on several that share the folder.
    """
    from ltood.tables.running import Job
    from ltood.tables.scheduling import default_jobs, run_table
    from ltood.tables.view import View

    view = View.of(name, make=True)
    typer.echo(view.cost(), err=True)
    if dry_run:
        return
    if cluster is not None:
        sent = view.send(cluster, cluster_option or [], Job(threads, processes=processes))
        if detach:
            typer.echo(f"sent: {', '.join(sent.names)}; `ltood table status {name}` looks at them")
            return
        outcome = sent.wait()
    else:
        chosen = default_jobs(threads) if jobs is None else jobs
        outcome = run_table(
            view.root,
            view.table,
            view.cells,
            view.states,
            jobs=chosen,
            threads=threads,
            processes=processes,
        )
    view = view.again(outcome)
    typer.echo(view.written())
    view.refuse_gaps()


@app.command()
def check(name: Name) -> None:
    """Compare a table with its published rows; exit 1 where a figure is outside the tolerance."""
    from ltood.tables.view import View

    view = View.of(name)
    for line in view.checked():
        typer.echo(line)


@app.command()
def export(
    name: Name,
    out: Annotated[Path, file_option("The file to write")] = Path("-"),
    format: Annotated[
        str, typer.Option(help="text, markdown, csv, latex, html or openood.")
    ] = "markdown",
) -> None:
    """Write a table as Markdown, CSV, LaTeX or HTML, or for OpenOOD's leaderboard."""
    from ltood.tables.view import View

    text = View.of(name).rendered(format)
    from ltood.runtime.files import write_atomically

    write_atomically(out, text.encode())
    echo_for(out)(str(out))


@app.command()
def submit(
    name: Name,
    row: Annotated[str | None, typer.Option(help="Name of a row; all rows by default.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Who sends it; the name that git knows by default.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Where `ltood pull` finds the features; {seed} stands for the seed."),
    ] = None,
) -> None:
    """Write a record of each row for the leaderboard, from finished trainings of all seeds."""
    from ltood.boards.submitting import submit as write
    from ltood.tables.view import View

    for record in write(View.of(name), row, by, address):
        typer.echo(str(record.path))


@app.command()
def verify(
    record: Annotated[list[Path], typer.Argument(help="Record of the leaderboard, or a folder.")],
    store: Annotated[
        list[Path] | None,
        typer.Option(help="Feature store; repeatable; the pipeline's own by default."),
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(help="Head of the adapt stage, through which a store is seen; repeatable."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option(help="Fetch features that are not there from the record's address.")
    ] = False,
    skip: Annotated[
        bool, typer.Option(help="Do not fail for records whose features are not at hand.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Recompute rows of the leaderboard from their features; exit 1 where one is off."""
    from ltood.boards.verifying import at_hand, refuse_off, verify_all

    verdicts = []
    stores, heads = at_hand(store, head)
    for verdict in verify_all(record, stores, heads, fetch=fetch, device=device):
        typer.echo(str(verdict))
        verdicts.append(verdict)
    refuse_off(verdicts, skip=skip)


@app.command()
def board(
    out: Annotated[Path, file_option("The HTML file to write")] = Path("leaderboard.html"),
    records: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("leaderboard"),
) -> None:
    """Write the leaderboard as one HTML page: rows of all records beside published ones."""
    from ltood.boards.page import as_html
    from ltood.boards.record import records_in
    from ltood.runtime.files import write_atomically
    from ltood.tables.spec import known_tables, load_table

    tables = [load_table(name) for name in known_tables()]
    text = as_html(list(records_in(records)), tables)
    write_atomically(out, text.encode())
    echo_for(out)(str(out))
