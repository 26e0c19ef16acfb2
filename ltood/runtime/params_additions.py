"""Settings added to the text of a parameter file, of which every other character stays."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError
from ltood.runtime.params import merge, params_text, parse_params, with_settings

#: Names of sections and of a setting in them, from the outside in.
Place = tuple[str, ...]
#: Replacement of the characters from the first place up to the second.
_Edit = tuple[int, int, str]
_STEP = 2


def with_missing(
    path: Path, missing: Mapping[str, Any], comments: Mapping[Place, str] | None = None
) -> str:
    """Text of a parameter file with settings that it lacks, each at the end of its section.

    Args:
        path: The file; empty or absent counts as one without settings.
        missing: Values by name, in sections inside one another; only what the file lacks.
        comments: Comments to write after new settings, by their place, such as "# auto, cpu".

    Raises:
        ConfigError: As `read_params`.
    """
    text = params_text(path) if path.exists() else ""
    wanted = parse_params(text, path)
    merge(wanted, missing)
    made = _added(text, missing, comments or {})
    try:
        if parse_params(made, path) == wanted:
            return made
    except ConfigError:
        pass
    # What stands in braces, say, is written anew, and comments of the others stay.
    return with_settings(path, missing)


def comments_of(text: str) -> dict[Place, str]:
    """Comments that stand after the settings of a parameter file, by their place."""
    found = {}
    for place, key, value in _settings(_composed(text)):
        line_end = text.find("\n", key.end_mark.index)
        line = text[key.end_mark.index : None if line_end < 0 else line_end]
        within = max(value.end_mark.index - key.end_mark.index, 0) if _is_plain(value) else 0
        before, sign, after = line[within:].partition("#")
        if sign and not before.strip(" :"):
            found[place] = f"# {after.strip()}"
    return found


def _composed(text: str) -> Any:  # noqa: ANN401 - a node of ruamel, or None
    from ruamel.yaml import YAML

    return YAML(typ="rt", pure=True).compose(text)


def _settings(node: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:  # noqa: ANN401
    """Place, key and value of all settings of a mapping and of those inside it."""
    if node is None or node.id != "mapping":
        return
    for key, value in node.value:
        inner = (*place, str(key.value))
        yield inner, key, value
        yield from _settings(value, inner)


def _is_plain(node: Any) -> bool:  # noqa: ANN401
    """Whether a value stands in the line of its key."""
    return bool(node.id == "scalar" or node.flow_style)


def _added(text: str, missing: Mapping[str, Any], comments: Mapping[Place, str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    root = _composed(text)
    if root is None:
        edits = [(len(text), len(text), _block(missing, (), 0, comments))]
    else:
        edits = list(_edits(text, root, missing, (), comments))
    for start, end, new in sorted(edits, reverse=True):
        # A last line may lack its end.
        joint = "\n" if new.endswith("\n") and start and text[start - 1] != "\n" else ""
        text = text[:start] + (joint + new).replace("\n", newline) + text[end:]
    return text


def _edits(
    text: str,
    node: Any,  # noqa: ANN401
    missing: Mapping[str, Any],
    place: Place,
    comments: Mapping[Place, str],
) -> Iterator[_Edit]:
    """Changes that add settings to a mapping in block form and to those inside it."""
    there = {str(key.value): (key, value) for key, value in node.value}
    fresh = {key: value for key, value in missing.items() if key not in there}
    column = node.value[0][0].start_mark.column
    if fresh:
        end = _line_after(text, _last(node))
        yield end, end, _block(fresh, place, column, comments)
    for name in missing.keys() - fresh.keys():
        key, value = there[name]
        if value.id == "mapping" and value.value:
            yield from _edits(text, value, missing[name], (*place, name), comments)
            continue
        # Nothing, null or empty braces become a block.
        start, stop = value.start_mark.index, value.end_mark.index
        if start < stop:
            yield key.end_mark.index, stop, ":"
        end = _line_after(text, value)
        inner = key.start_mark.column + _STEP
        yield end, end, _block(missing[name], (*place, name), inner, comments)


def _last(node: Any) -> Any:  # noqa: ANN401
    """The value that ends a mapping or list in block form."""
    while node.id != "scalar" and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if node.id == "mapping" else last
    return node


def _line_after(text: str, node: Any) -> int:  # noqa: ANN401
    """Where the line after a value begins."""
    end: int = node.end_mark.index
    if node.id == "scalar" and node.style in ("|", ">"):
        return end  # Its last line is its own.
    found = text.find("\n", end)
    return len(text) if found < 0 else found + 1


def _block(
    settings: Mapping[str, Any], place: Place, column: int, comments: Mapping[Place, str]
) -> str:
    """Lines of settings in block form."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=_STEP, sequence=4, offset=2)
    lines = []
    for key, value in settings.items():
        inner = (*place, key)
        comment = f"  {comments[inner]}" if inner in comments else ""
        if isinstance(value, Mapping) and value:
            lines.append(f"{' ' * column}{key}:{comment}\n")
            lines.append(_block(value, inner, column + _STEP, comments))
            continue
        written = io.StringIO()
        yaml.dump({key: value}, written)
        first, *others = written.getvalue().splitlines()
        lines.append(f"{' ' * column}{first}{comment}\n")
        lines += [f"{' ' * column}{line}\n" for line in others]
    return "".join(lines)
