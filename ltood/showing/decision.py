"""What a report tells of the detector that was made beside its scores."""

from pathlib import Path

from ltood.deployment.sidecar import description_or_reason
from ltood.deployment.wording import rows_note, threshold_words
from ltood.reporting.threshold import Decision


def read_decision(path: Path) -> Decision:
    """What the threshold of a detector accepts, or why there is no detector.

    Args:
        path: Its description, the `.json` file.

    Raises:
        StoreError: If it is missing or not that of a detector.
        CorruptStoreError: If it is unreadable or was changed.
    """
    found = description_or_reason(path)
    if isinstance(found, str):
        return Decision(None, (f"there is no detector: {found}",))
    note = rows_note(found["threshold"])
    return Decision(found, (threshold_words(found["threshold"]), *([note] if note else [])))
