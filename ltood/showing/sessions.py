"""The features that some scores were made from, as their calibrator shows them."""

from collections.abc import Mapping
from typing import Any

from ltood.core.building import EntrySpec, build_calibrator
from ltood.core.errors import DataError
from ltood.scoring.session import ScoringSession, calibrate
from ltood.store.reading import StoreReader


def scored_session(
    store: StoreReader, attributes: Mapping[str, Any], device: str = "auto"
) -> ScoringSession:
    """Open a store as it was seen when it was scored; the calibrator is fitted again.

    Args:
        store: Features.
        attributes: Those of the scores.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        DataError: If the scores were made from other features.
        MissingNeedError: If the store lacks what the calibrator learns from.
    """
    wanted = str(attributes.get("features_fingerprint"))
    if store.fingerprint != wanted:
        raise DataError(
            f"{store.path} holds features {store.fingerprint[:12]}… but the scores were made from "
            f"{wanted[:12]}…; give the store (and the head) that was scored."
        )
    entry = attributes["calibrator"]
    slot = build_calibrator(EntrySpec(entry["name"], entry["settings"]))
    return calibrate(ScoringSession.open(store, device), slot)[0]
