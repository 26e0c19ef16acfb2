"""`ltood list`: every entry by kind, with summary, needs and settings."""

import json
from typing import Annotated, Any

import typer

from ltood.core.errors import UnknownNameError
from ltood.core.registry import KINDS, available, summary

#: Kinds whose entries a user chooses by name.
LISTED = ("methods", "calibrators", "normalisers", "datasets", "backbones", "recipes")


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in LISTED if kind.startswith(incomplete)]


def list_entries(
    kind: Annotated[str, typer.Argument(help=", ".join(LISTED), autocompletion=_kinds)] = "methods",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print needs and settings with types and defaults.")
    ] = False,
) -> None:
    """List methods, calibrators, normalisers, datasets, backbones or recipes."""
    if kind not in LISTED:
        raise UnknownNameError(f"No kind {kind!r}. Known: {', '.join(LISTED)}.")
    if as_json:
        typer.echo(json.dumps([_describe(kind, name) for name in available(kind)], indent=2))
        return
    for name in available(kind):
        typer.echo(f"{name:<24}{summary(kind, name)}")
    typer.echo(f"\n{len(available(kind))} {KINDS[kind]} entries; --json shows needs and settings.")


def _describe(kind: str, name: str) -> dict[str, Any]:
    """Summary, needs and settings of one entry; imports it."""
    import dataclasses
    import typing

    from ltood.core.registry import load
    from ltood.core.settings import in_words, to_section

    module = load(kind, name)
    hints = typing.get_type_hints(module.Config)
    defaults = to_section(module.Config())
    settings = {
        field.name: {"type": in_words(hints[field.name]), "default": defaults[field.name]}
        for field in dataclasses.fields(module.Config)
    }
    entry = getattr(module, "Entry", None)
    needs = sorted(need.name.lower() for need in getattr(entry, "needs", ()))
    return {"name": name, "summary": summary(kind, name), "needs": needs, "settings": settings}
