"""What fitted entries say of themselves, in lines for the console."""

from collections.abc import Iterator, Mapping
from typing import Any

from ltood.choosing.words import lines


def said_of(record: Mapping[str, Any]) -> Iterator[str]:
    """Values that an entry derived from data, and what it found.

    Args:
        record: What scores record of a slot: `name`, `in_use` and, of some methods, `findings`.
    """
    name, findings = record["name"], record.get("findings", {})
    members = findings.get("members", ())
    for key, number in record["in_use"].items():
        if key == "members" and members:
            used = [member["member"] for member in members if member["kept"]]
            yield f"{name}: {len(used)} of {len(members)} members in use: {', '.join(used)}"
        else:
            yield f"{name}: {key} in use {number:.6g}"
    for line in lines(findings["choice"]) if "choice" in findings else ():
        yield f"{name}: {line}"
