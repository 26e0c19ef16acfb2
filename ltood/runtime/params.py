"""Settings from outside: parameter files and `KEY=VALUE` texts of the command line.

Both are read with the YAML 1.2 reader that DVC uses, so that `1e-3` is a number everywhere, and
within limits that no real settings reach: a short text cannot keep the reader busy for minutes.
"""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError, CorruptStoreError
from ltood.runtime.files import read_regular

#: Most characters of a parameter file or of one value.
MOST_CHARACTERS = 2**18
#: Most lists and mappings inside one another.
MOST_LEVELS = 20
#: Whole numbers are below this in size, so that every library takes them.
MOST_WHOLE = 2**63

_NULLS = ("null", "Null", "NULL", "~")


def read_params(path: Path) -> dict[str, Any]:
    """Read a YAML parameter file into plain Python values.

    Args:
        path: A regular file of at most `MOST_CHARACTERS`.

    Returns:
        A mapping of texts to texts, numbers, true, false, null, and lists and mappings of these;
        empty where the file is.

    Raises:
        ConfigError: If the file is missing, unreadable, not a mapping, beyond the limits, or
            holds aliases, anchors, merge keys or other values than these.
    """
    return parse_params(params_text(path), path)


def params_text(path: Path) -> str:
    """Text of a parameter file, for `parse_params`.

    Raises:
        ConfigError: If it is missing, unreadable, too large or not UTF-8.
    """
    try:
        return read_regular(path, 4 * MOST_CHARACTERS).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; run from the folder that holds it.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}).") from None
    except CorruptStoreError as error:
        raise ConfigError(f"{error} Name a file of settings.") from None


def parse_params(text: str, path: Path) -> dict[str, Any]:
    """Values of a parameter file, as `read_params` gives them, from its text.

    Raises:
        ConfigError: As `read_params`; names `path`.
    """
    content = _load(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; it must be a mapping of names.")
    return content


def section(content: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A section inside others; empty where one of them is absent or empty.

    Args:
        content: What `read_params` gave.
        names: Names of the sections from the outside in, such as "datasets", "folder".

    Raises:
        ConfigError: If one is something else than a section.
    """
    for depth, name in enumerate(names, 1):
        inner = content.get(name)
        if not isinstance(inner, Mapping | None):
            where = ".".join(names[:depth])
            raise ConfigError(f"{where} is {inner!r}; it must be a section of settings.")
        content = inner or {}
    return content


def with_settings(path: Path, settings: Mapping[str, Any]) -> str:
    """Text of a parameter file with settings replaced or added; the rest and its comments stay.

    Args:
        path: The file; empty or absent counts as one without settings.
        settings: Values by name, in sections inside one another as in the file.

    Raises:
        ConfigError: As `read_params`.
    """
    from ruamel.yaml import YAML

    text = params_text(path) if path.exists() else ""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    # The reader that keeps comments has no limits.
    content = yaml.load(text) if parse_params(text, path) else {}
    kept = "" if content else text  # Comments alone belong to nothing that is written below.
    merge(content, settings)
    written = io.StringIO(kept)
    written.seek(0, io.SEEK_END)
    yaml.dump(content, written)
    return written.getvalue()


def merge(content: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put settings into those of a file, section by section."""
    for key, value in settings.items():
        if key in content and content[key] == value:
            continue  # a list keeps its form
        if not isinstance(value, Mapping):
            content[key] = value
            continue
        if not isinstance(content.get(key), dict):
            content[key] = {}
        merge(content[key], value)


def parse_value(text: str) -> Any:  # noqa: ANN401 - a YAML scalar is any plain value
    """Read one command-line value the way `params.yaml` would read it.

    Raises:
        ConfigError: If it is empty, is not YAML, or `read_params` would refuse it.
    """
    value = _load(text, repr(text))
    if value is None and text.strip() not in _NULLS:
        raise ConfigError(f"{text!r} is not a value; write null where none is meant.")
    return value


def parse_assignments(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Turn `["percentile=60", "clip=1.6"]` into a settings mapping.

    Args:
        assignments: KEY=VALUE items.
        option: The option that takes them, for messages.

    Raises:
        ConfigError: If an item has no `=`, no value or a bad one, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for item in assignments:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"{option} takes KEY=VALUE, such as percentile=60; got {item!r}.")
        if key in settings:
            raise ConfigError(f"{option} {key} is given twice; give it once.")
        if not text.strip():
            raise ConfigError(f"{option} {key} has no value; write {key}=null where none is meant.")
        settings[key] = parse_value(text)
    return settings


def _load(text: str, where: str) -> Any:  # noqa: ANN401
    """Read YAML within the limits; errors begin with `where`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"{where} has {len(text):,} characters; the limit is {MOST_CHARACTERS:,}."
        )
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _limited_composer()
    try:
        value = reader.load(text)
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from None
    # Beyond its own errors, the reader lets those of dates, numbers and keys through.
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {line}.") from error
    _check_plain(value, where)
    return value


@functools.cache
def _limited_composer() -> type[Any]:
    """A composer that refuses what lets a short text grow; made late, as ruamel loads slowly."""
    from ruamel.yaml.composer import Composer
    from ruamel.yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent

    class LimitedComposer(Composer):
        level = 0

        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
            event = self.parser.peek_event()
            line = event.start_mark.line + 1
            if isinstance(event, AliasEvent) or event.anchor is not None:
                raise ConfigError(f"has an anchor or alias in line {line}; write the value itself.")
            if isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]:
                raise ConfigError(f"has a merge key << in line {line}; write the settings there.")
            deeper = isinstance(event, CollectionStartEvent)
            if deeper and self.level >= MOST_LEVELS:
                raise ConfigError(
                    f"has more than {MOST_LEVELS} levels of lists and mappings in line {line}."
                )
            self.level += deeper
            node = super().compose_node(parent, index)
            self.level -= deeper
            return node

    return LimitedComposer


def _check_plain(value: object, where: str) -> None:
    """Refuse what YAML can hold and settings cannot, such as dates and bytes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ConfigError(
                    f"{where} has the key {key!r}, which is not text; put it into quotes."
                )
            _check_plain(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, where)
    elif isinstance(value, bool | str | float | None):
        return
    elif not isinstance(value, int):
        raise ConfigError(
            f"{where} holds a {type(value).__name__}; if it is meant as text, put it into quotes."
        )
    elif abs(value) >= MOST_WHOLE:
        raise ConfigError(
            f"{where} holds a whole number of {value.bit_length()} bits; the limit is 63."
        )
