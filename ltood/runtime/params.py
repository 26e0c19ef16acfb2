"""Settings from outside: parameter files and `KEY=VALUE` texts of the command line.

Both are read with the YAML 1.2 reader that DVC uses, so that `1e-3` is a number everywhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError


def read_params(path: Path) -> dict[str, Any]:
    """Read a YAML parameter file into plain Python values.

    Raises:
        ConfigError: If the file is missing, unreadable or not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run from the folder that holds it.")
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {line}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; it must be a mapping of names.")
    return content


def parse_value(text: str) -> Any:  # noqa: ANN401 - a YAML scalar is any plain value
    """Read one command-line value the way `params.yaml` would read it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:  # The latter for dates that the calendar lacks.
        raise ConfigError(f"{text!r} is not a YAML value.") from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `["percentile=60", "clip=1.6"]` into a settings mapping.

    Raises:
        ConfigError: If an item has no `=` or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for item in assignments:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes KEY=VALUE, such as percentile=60; got {item!r}.")
        if key in settings:
            raise ConfigError(f"--set {key} is given twice; give it once.")
        settings[key] = parse_value(text)
    return settings
