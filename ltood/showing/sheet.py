"""The clearest errors of a detector, each with its picture and the nearest training pictures."""

import numpy as np

from ltood.evaluation.measures import Evaluation
from ltood.scoring.session import ScoringSession
from ltood.showing.choosing import Chosen, clearest_errors
from ltood.showing.nearest import NearestRows, nearest_rows
from ltood.showing.pictures import NoPictures, Pictures
from ltood.store.examples import Example, ExampleGroup, Examples, Neighbour

#: Nearest training images of each error.
NEAREST = 3
_TRAIN = "train"


def example_sheet(
    evaluation: Evaluation,
    session: ScoringSession | None = None,
    pictures: Pictures | None = None,
) -> Examples:
    """Find the errors that a reader should see first.

    Args:
        evaluation: Scores of the test split and of OOD sets, if there are any.
        session: The features that were scored, as the calibrator shows them; None leaves the
            nearest training images out.
        pictures: Gives the pictures of rows; None shows ids and classes alone.

    Raises:
        StoreError: If scores or features lack a split.
        DataError: If labels break a rule, or pictures are those of other features.
        CorruptStoreError: If stored bytes are missing or changed.
    """
    chosen = list(clearest_errors(evaluation))
    wanted: dict[str, list[int]] = {}
    for group in chosen:
        wanted.setdefault(group.split, []).extend(group.rows.tolist())
    found: dict[str, NearestRows] = {}
    if session is not None and _TRAIN in session.store.splits:
        rows = {name: np.array(rows, dtype=np.int64) for name, rows in wanted.items()}
        found = nearest_rows(session, rows, NEAREST)
    shown = pictures or NoPictures()
    groups = [_group(group, wanted[group.split], found.get(group.split), shown) for group in chosen]
    return Examples(evaluation.fingerprint, tuple(groups))


def _group(
    chosen: Chosen, wanted: list[int], found: NearestRows | None, pictures: Pictures
) -> ExampleGroup:
    examples = []
    for row, share in zip(chosen.rows.tolist(), chosen.shares.tolist(), strict=True):
        scores = chosen.scores
        number, label = int(scores.ids[row]), int(scores.labels[row])
        examples.append(
            Example(
                pictures.of(chosen.split, row, number, label),
                int(scores.predictions[row]),
                float(scores.scores[row]),
                None if np.isnan(share) else share,
                _nearest(found, wanted.index(row), pictures),
            )
        )
    return ExampleGroup(chosen.kind, chosen.name, chosen.total, tuple(examples))


def _nearest(found: NearestRows | None, place: int, pictures: Pictures) -> tuple[Neighbour, ...]:
    if found is None:
        return ()
    columns = (found.ids[place], found.labels[place], found.similarities[place])
    return tuple(
        Neighbour(pictures.of(_TRAIN, -1, number, label), round(similarity, 4))
        for number, label, similarity in zip(*(column.tolist() for column in columns), strict=True)
    )
