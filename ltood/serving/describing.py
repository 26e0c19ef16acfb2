"""What the service says of itself: detector, versions, and the interface for programs."""

from typing import Any

import ltood
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.images import Embedder

_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}
_ROW = {
    "type": "object",
    "description": "The fields of `ltood predict --format jsonl`; among several inputs, one that "
    "cannot be judged has the verdict `error` and a `reason`, and no other values.",
    "properties": {
        "path": {"type": "string"},
        "id": {"type": ["integer", "null"]},
        "verdict": {"enum": ["ID", "OOD", "error"]},
        "score": _NUMBER,
        "threshold": _NUMBER,
        "class": _TEXT,
        "probability": _NUMBER,
        "p_value": _NUMBER,
        "nearest": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"class": {"type": "string"}, "cosine": {"type": "number"}},
            },
        },
        "reason": _TEXT,
    },
    "required": ["path", "id", "verdict"],
}
_ROWS = {"type": "object", "properties": {"rows": {"type": "array", "items": _ROW}}}
_REFUSED = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
_REFUSALS = {
    400: "malformed body",
    401: "token missing or wrong",
    408: "body too slow",
    413: "too large, or too many",
    415: "body of another type",
    422: "not an image, or not features",
    500: "failure of the service",
    503: "no room or no time; ask again",
}
_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
_BINARY = {"type": "string", "format": "binary"}
_BODIES: dict[str, dict[str, Any]] = {
    "image/*": _BINARY,
    "application/octet-stream": _BINARY,
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": _BINARY}},
    },
    "application/json": {
        "type": "object",
        "properties": {
            "features": {"type": "array", "items": _NUMBERS},
            "local": {"type": "array", "items": {"type": "array", "items": _NUMBERS}},
            "ids": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["features"],
        "additionalProperties": False,
    },
}


def _content(kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in kinds.items()}


#: How /predict stands in /openapi.json.
PREDICT: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {
            "description": "One row for a body that is an image, else rows.",
            "content": _content({"application/json": {"oneOf": [_ROW, _ROWS]}}),
        },
        **{
            status: {"description": text, "content": _content({"application/json": _REFUSED})}
            for status, text in _REFUSALS.items()
        },
    },
    "openapi_extra": {"requestBody": {"required": True, "content": _content(_BODIES)}},
}


def described(detector: DeployedDetector, embedder: Embedder | None) -> dict[str, Any]:
    """Names, digest and versions of a detector that is served, as plain values."""
    description = detector.description
    slots = ("calibrator", "method", "normaliser")
    return {
        "detector": {
            **{slot: description[slot]["name"] for slot in slots},
            "sha256": description.get("sha256"),
            "classes": len(detector.class_names),
            "columns": detector.head.dim,
            "threshold": detector.threshold,
        },
        "takes": ["features"] if embedder is None else ["images", "features"],
        "device": str(detector.device),
        "ltood": ltood.__version__,
    }
