"""`ltood list`: every entry by kind, and each with its needs and settings."""

import json
import textwrap
from typing import Annotated, Any

import typer

from ltood.cli.options import AsJson
from ltood.core.errors import UnknownNameError
from ltood.core.registry import KINDS, TRANSDUCTIVE, available, check_name, flag, summary

#: Kinds whose entries a user chooses by name.
LISTED = ("methods", "calibrators", "normalisers", "datasets", "backbones", "recipes")


def _complete(incomplete: str) -> list[str]:
    names = (*LISTED, *(name for kind in LISTED for name in available(kind)))
    return sorted({name for name in names if name.startswith(incomplete)})


def list_entries(
    kind: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(LISTED)}; or the name of one entry.", autocompletion=_complete
        ),
    ] = "methods",
    name: Annotated[
        str | None, typer.Argument(help="One entry of that kind.", autocompletion=_complete)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the entries of a kind, or show what one entry needs and takes."""
    if kind not in LISTED and name is None:
        kind, name = _kind_of(kind), kind
    if kind not in LISTED:
        raise UnknownNameError(f"No kind {kind!r}. Known: {', '.join(LISTED)}.")
    if name is not None:
        check_name(kind, name)
        found = entry(kind, name)
        typer.echo(json.dumps(found, indent=2) if as_json else _details(kind, found))
    elif as_json:
        typer.echo(json.dumps([entry(kind, name) for name in available(kind)], indent=2))
    else:
        for name in available(kind):
            mark = " [transductive]" if flag(kind, name, TRANSDUCTIVE) else ""
            typer.echo(f"{name:<24}{summary(kind, name)}{mark}")
        others = ", ".join(other for other in LISTED if other != kind)
        typer.echo(
            f"\n{len(available(kind))} {KINDS[kind]} entries; `ltood list {kind} NAME` shows the "
            f"settings of one. Other lists: {others}."
        )


def _kind_of(name: str) -> str:
    """The kind that has an entry of that name.

    Raises:
        UnknownNameError: If there is none, or several kinds have one.
    """
    kinds = [kind for kind in LISTED if name in available(kind)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        commands = " or ".join(f"`ltood list {kind} {name}`" for kind in kinds)
        raise UnknownNameError(f"{name!r} is the name of several entries; use {commands}.")
    import difflib

    names = {*LISTED, *(entry for kind in LISTED for entry in available(kind))}
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UnknownNameError(f"No kind or entry {name!r}.{hint} Kinds: {', '.join(LISTED)}.")


def entry(kind: str, name: str) -> dict[str, Any]:
    """Summary, needs and settings of one entry, as plain values; imports it."""
    from ltood.core.registry import load
    from ltood.core.settings import describe

    module = load(kind, name)
    found = getattr(module, "Entry", None)
    needs, may_read = (getattr(found, name, ()) for name in ("needs", "may_read"))
    return {
        "name": name,
        "summary": summary(kind, name),
        "needs": sorted(need.name.lower() for need in needs),
        "may_read": sorted(need.name.lower() for need in may_read),
        "transductive": flag(kind, name, TRANSDUCTIVE),
        "settings": describe(module.Config),
    }


def _details(kind: str, found: dict[str, Any]) -> str:
    """One entry for people."""
    lines = [found["summary"], ""]
    if found["transductive"]:
        lines += [
            "Transductive: scores depend on the other test rows (docs/how-to/streams.md).",
            "",
        ]
    if found["needs"]:
        lines += [f"Needs: {', '.join(found['needs'])}", ""]
    if found["may_read"]:
        lines += [f"Learns from where it is there: {', '.join(found['may_read'])}", ""]
    if not found["settings"]:
        return "\n".join([*lines, "It takes no settings."])
    lines.append(f"Settings ({kind}.{found['name']} in params.yaml):")
    for key, setting in found["settings"].items():
        default = json.dumps(setting["default"], ensure_ascii=False)
        lines.append(f"  {key}: {setting['type']}; {default} by default")
        lines += textwrap.wrap(
            setting["meaning"], 88, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines)
