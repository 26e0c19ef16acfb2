"""A fitted method kept as plain arrays, so that another stage need not learn it again."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ltood.core.building import Slot
from ltood.core.slots import Method
from ltood.core.streams import StreamMethod
from ltood.scoring.session import ScoringSession
from ltood.store.fitted import FittedEntry

#: Larger ones are learned again; most of them hold the training rows.
MOST_BYTES = 64 * 2**20


def kept_method(
    session: ScoringSession, slot: Slot[Method], calibration: FittedEntry
) -> FittedEntry:
    """A fitted method as `restore_method` takes it.

    Args:
        session: What it was fitted on.
        slot: The method, fitted.
        calibration: The fitted calibrator of the session.

    Returns:
        Nothing but the name where there is too much to keep, or a part of it lies elsewhere.
    """
    state = {} if isinstance(slot.entry, StreamMethod) else slot.entry.state()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if not state or size > MOST_BYTES or not session.crew.is_alone:
        return FittedEntry(slot.name, {}, "")
    record = slot.record()
    return FittedEntry(
        slot.name,
        slot.settings,
        session.store.fingerprint,
        record["in_use"],
        {name: tensor.detach().cpu().numpy() for name, tensor in state.items()},
        record.get("findings", {}),
        calibration.digest,
    )


def restore_method(
    session: ScoringSession, slot: Slot[Method], kept: FittedEntry, calibration: FittedEntry
) -> bool:
    """Give a method what was learned before, if that was on the same features by the same settings.

    Args:
        session: The features, seen through the calibrator.
        slot: The method; fitted afterwards where the result is true.
        kept: What `kept_method` gave.
        calibration: The fitted calibrator of the session.
    """
    made = (kept.name, kept.features_fingerprint, kept.behind)
    if made != (slot.name, session.store.fingerprint, calibration.digest):
        return False
    if _plain(kept.settings) != _plain(slot.settings):
        return False
    state: dict[str, Tensor] = {
        name: torch.tensor(values, device=session.device) for name, values in kept.state.items()
    }
    slot.entry.restore(state)
    return True


def _plain(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
