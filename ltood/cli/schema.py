"""`ltood schema`: the JSON schema of params.yaml, by which editors complete and check it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ltood.cli.options import file_option
from ltood.cli.sections import PACKAGES, sections

#: File name that the first line of params.yaml refers to.
FILE = "params.schema.json"


def schema(
    out: Annotated[Path, file_option("Schema file to write")] = Path(FILE),
    check: Annotated[
        bool, typer.Option("--check", help="Only compare with the file; exit 1 if it differs.")
    ] = False,
) -> None:
    """Write the JSON schema of params.yaml, for completion and checks in editors."""
    from ltood.core.errors import ConfigError
    from ltood.runtime.files import write_atomically

    text = json.dumps(params_schema(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if not check:
        write_atomically(out, text.encode())
    elif not out.is_file() or out.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{out} is not the schema of this version; run `ltood schema`.")


def params_schema() -> dict[str, Any]:
    """Schema of all of params.yaml; loads every entry."""
    from ltood.core.json_schema import DRAFT, section_schema, type_schema
    from ltood.core.limits import Seed
    from ltood.core.registry import KINDS, available

    names: dict[str, Any] = {
        KINDS[package]: {
            "description": f"Name of a {KINDS[package]}, whose settings are in {package}.NAME.",
            "enum": available(package),
        }
        for package in PACKAGES
    }
    others: dict[str, Any] = {
        "seed": {"description": "Seed of training and prompt learning.", **type_schema(Seed)},
        "device": {
            "description": "auto, cpu, cuda, or one GPU such as cuda:1.",
            "type": "string",
            "pattern": r"^(auto|(cpu|cuda)(:\d+)?)$",
        },
    }
    for name, (config, meaning) in sections().items():
        others[name] = section_schema(config, meaning)
    others["compare"] = _with_names(others["compare"])
    entries = {package: _entries(package) for package in PACKAGES}
    return {
        "$schema": DRAFT,
        "title": "params.yaml of ltood",
        "description": "Written by `ltood schema` from the settings of every entry.",
        "type": "object",
        # Experiments may have settings of their own, which ltood does not read.
        "additionalProperties": True,
        "required": [*names, *others],
        "properties": {**names, **others, **entries},
    }


def _entries(package: str) -> dict[str, Any]:
    """Schema of the sections of all entries of one kind."""
    from ltood.core.json_schema import section_schema
    from ltood.core.registry import available, load, summary

    sections = {
        name: section_schema(load(package, name).Config, summary(package, name))
        for name in available(package)
    }
    return {"type": "object", "properties": sections, "additionalProperties": False}


def _with_names(compare: dict[str, Any]) -> dict[str, Any]:
    """The section `compare` with the names that its lists take."""
    from ltood.comparing.plan import GROUPS
    from ltood.core.registry import available

    for package, setting in compare["properties"].items():
        listed = {"type": "array", "items": {"enum": available(package)}}
        words = ["all", *(GROUPS if package == "methods" else ())]
        setting["anyOf"] = [{"enum": words}, {**listed, "minItems": 1, "uniqueItems": True}]
    return compare
