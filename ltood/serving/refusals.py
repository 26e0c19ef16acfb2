"""What the service answers instead of verdicts: a status and one sentence."""

from ltood.runtime.console import one_line

#: Seconds after which a client that met a full service may ask again.
RETRY_SECONDS = 1


class RefusalError(Exception):
    """A request that is answered with a status of 400 or more.

    Attributes:
        status: HTTP status.
        sentence: What is wrong, the rule and the next step, on one line.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        """Take the status, the sentence and headers."""
        self.sentence = one_line(sentence)
        super().__init__(self.sentence)
        self.status, self.headers = status, headers or {}


def busy(sentence: str) -> RefusalError:
    """The refusal of a service that has no room: 503, and when to ask again."""
    return RefusalError(503, sentence, {"Retry-After": str(RETRY_SECONDS)})
