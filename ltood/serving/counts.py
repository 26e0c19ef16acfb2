"""What the service counts, as text for Prometheus."""

from collections import Counter
from dataclasses import dataclass, field

from ltood.serving.judge import Judge


@dataclass
class Counts:
    """Counts since the start; changed in the event loop only.

    Attributes:
        answers: Answers of /predict by status.
        rows: Rows by verdict.
        seconds: Time that answers of /predict took, together.
        in_work: Requests of /predict in work.
    """

    answers: Counter[int] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    in_work: int = 0

    def text(self, judge: Judge) -> str:
        """All counts in the text format of Prometheus, version 0.0.4."""
        lines = [
            *_head("requests", "counter", "Answers of /predict by status."),
            *(
                f'ltood_requests_total{{status="{status}"}} {num}'
                for status, num in sorted(self.answers.items())
            ),
            *_head("rows", "counter", "Images and rows of features by verdict."),
            *(
                f'ltood_rows_total{{verdict="{verdict}"}} {num}'
                for verdict, num in sorted(self.rows.items())
            ),
            *_head("request_seconds", "counter", "Time that answers of /predict took, together."),
            f"ltood_request_seconds_total {self.seconds:.6f}",
            *_head("batches", "counter", "Batches of images that went through the network."),
            f"ltood_batches_total {judge.batches}",
            *_head("requests_in_work", "gauge", "Requests of /predict in work."),
            f"ltood_requests_in_work {self.in_work}",
            *_head("queue", "gauge", "Images that wait for the network."),
            f"ltood_queue {judge.waiting}",
        ]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    full = f"ltood_{name}_total" if kind == "counter" else f"ltood_{name}"
    return f"# HELP {full} {text}", f"# TYPE {full} {kind}"
