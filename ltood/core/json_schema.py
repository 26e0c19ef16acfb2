"""JSON schema of settings, for completion and checks in editors.

The schema refuses what the type of a single setting refuses. Rules between settings (`check` of a
section), NaN, and whole numbers written as `1.0` are left to ltood itself.
"""

import types
import typing
from typing import Annotated, Any, Literal

from ltood.core.limits import Limits
from ltood.core.settings import is_section, meanings, setting_types, to_section

#: What editors know best; nothing here needs a later draft.
DRAFT = "http://json-schema.org/draft-07/schema#"
#: Largest float64: a bound that infinity, which YAML can write, does not meet.
_LARGEST = 1.7976931348623157e308

_TYPES: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
}
_KEYWORDS = {
    "at_least": "minimum",
    "above": "exclusiveMinimum",
    "at_most": "maximum",
    "below": "exclusiveMaximum",
}


def section_schema(config: type, description: str = "") -> dict[str, Any]:
    """Schema of one section of `params.yaml`.

    Args:
        config: Class of its settings.
        description: What the section is for, in one line.

    Returns:
        An object that takes the settings of `config` and no others, each with its type, range,
        default and meaning.
    """
    defaults, said = to_section(config()), meanings(config)
    properties = {
        name: {
            **({"description": said[name]} if name in said else {}),
            **(section_schema(hint) if is_section(hint) else type_schema(hint)),
            "default": defaults[name],
        }
        for name, hint in setting_types(config).items()
    }
    # An empty section, `knn:` without anything below, is null to YAML.
    schema = {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
    return {"description": description, **schema} if description else schema


def type_schema(hint: Any) -> dict[str, Any]:  # noqa: ANN401
    """Schema of the values that a type of a setting allows.

    Args:
        hint: The type, with its limits, such as `Count | None`.
    """
    if hasattr(hint, "of_setting"):
        found: dict[str, Any] = hint.schema()
        return found
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [type_schema(option) for option in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is Annotated:
        (bounds,) = (part for part in inner[1:] if isinstance(part, Limits))
        return _number(_TYPES[inner[0]], bounds)
    if origin is tuple:
        return _list(inner)
    return _number("number", Limits()) if hint is float else {"type": _TYPES[hint]}


def _list(inner: tuple[Any, ...]) -> dict[str, Any]:
    if len(inner) == 2 and inner[1] is Ellipsis:
        return {"type": "array", "items": type_schema(inner[0])}
    items = [type_schema(kind) for kind in inner]
    return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}


def _number(kind: str, bounds: Limits) -> dict[str, Any]:
    schema = {"type": kind, **{_KEYWORDS[key]: bound for key, bound in bounds.plain().items()}}
    if kind == "number" and bounds.finite:
        if not {"minimum", "exclusiveMinimum"} & schema.keys():
            schema["minimum"] = -_LARGEST
        if not {"maximum", "exclusiveMaximum"} & schema.keys():
            schema["maximum"] = _LARGEST
    return schema
