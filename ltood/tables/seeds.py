"""`${seed}` in the texts of a table, which stands for the seed of a cell."""

from collections.abc import Mapping
from typing import Any

#: Such as in the path of a checkpoint that was published for each seed.
MARK = "${seed}"


def with_seed(value: Any, seed: int) -> Any:  # noqa: ANN401 - whatever YAML holds
    """A value with the seed in the place of each mark; a text that is the mark becomes the number.

    Args:
        value: Settings of any form; keys stay as they are.
        seed: The seed.
    """
    if isinstance(value, Mapping):
        return {key: with_seed(item, seed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_seed(item, seed) for item in value]
    if not isinstance(value, str):
        return value
    return seed if value == MARK else value.replace(MARK, str(seed))
