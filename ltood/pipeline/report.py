"""Write the report: one HTML file that opens offline."""

from ltood.pipeline._shell import (
    CHECKPOINT,
    DETECTOR,
    EPOCHS,
    EXAMPLES,
    FINAL_SCORES,
    HEAD,
    LEADERBOARD,
    METRICS,
    REGIONS,
    REPORT,
    RESULTS_OF,
    RUNS,
    Params,
    stage,
)


@stage("report")
def run(params: Params) -> None:
    """Read scores, metrics, leaderboard and what else there is; write report.html, training.csv."""
    from ltood.evaluation.config import EvaluationConfig
    from ltood.evaluation.intervals import uncertainty
    from ltood.evaluation.measures import Evaluation
    from ltood.reporting.config import ReportConfig
    from ltood.reporting.content import Pieces
    from ltood.reporting.inputs import read_leaderboard, read_metrics
    from ltood.reporting.training import epochs_csv, read_history
    from ltood.reporting.write import check_packages, write_report
    from ltood.runtime.console import log
    from ltood.runtime.files import write_atomically
    from ltood.runtime.records import record_of
    from ltood.showing.decision import read_decision
    from ltood.store.examples import read_examples
    from ltood.store.regions import read_regions
    from ltood.store.scores import ScoreStore

    check_packages()
    evaluation = Evaluation(
        ScoreStore.open(FINAL_SCORES), params.section("evaluation", EvaluationConfig).groups
    )
    read_metrics(METRICS, evaluation)  # Refuses a file that is not of these scores.
    history = read_history(_history(evaluation.scores.attributes.get("provenance")))
    write_report(
        REPORT,
        evaluation,
        leaderboard=read_leaderboard(LEADERBOARD, evaluation),
        intervals=uncertainty(evaluation),
        pieces=Pieces(
            regions=read_regions(REGIONS),
            examples=read_examples(EXAMPLES),
            history=history,
            records={name: record_of(RUNS / name, file) for name, file in RESULTS_OF.items()},
            images=params.section("report", ReportConfig).images,
            decision=read_decision(DETECTOR.with_suffix(".json")),
        ),
    )
    write_atomically(EPOCHS, epochs_csv(history).encode())
    log(
        f"wrote {REPORT}; open it in a browser. `git add -A && git commit` keeps this run; after "
        "that `dvc exp run -S method=NAME` tries another method (`ltood list`)."
    )


def _history(provenance: object) -> str:
    """Epochs of the network or of the head behind the scores; empty where neither was learned.

    Raises:
        StoreError: If what lies here is damaged, or not what the scores were made with.
    """
    from ltood.networks import checkpoint_files
    from ltood.runtime.provenance import recorded_of
    from ltood.store import adapted

    recorded = recorded_of(provenance, "checkpoint", "fingerprint")
    of_head = adapted.read_history(HEAD, recorded_of(provenance, "head"))
    of_network = checkpoint_files.read_history(CHECKPOINT, str(recorded)) if recorded else ""
    return of_network or of_head
