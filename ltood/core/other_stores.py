"""Another feature store that an entry reads, and the head to see it through."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from ltood.core.errors import quoted
from ltood.core.limits import RefusedValueError

#: Between the path of a store and that of a head, in one text.
_THROUGH = "::"


def reference(store: str, head: str | None) -> str:
    """One text for a store and the head to see it through, such as "clip.zarr::head"."""
    return store if head is None else f"{store}{_THROUGH}{head}"


def parts_of(text: str) -> tuple[str, str | None]:
    """Paths of the store and of the head, if any, of a `reference`."""
    store, through, head = text.partition(_THROUGH)
    return store, head if through else None


@dataclass(frozen=True)
class OtherStore:
    """A feature store of the same rows, which are joined by ids.

    Attributes:
        store: Its path.
        head: Folder of a head of the adapt stage, in the place of the store's own; or None.
    """

    words: ClassVar[str] = "the path of a feature store, or a mapping with store and perhaps head"

    store: str
    head: str | None = None

    @classmethod
    def of_setting(cls, value: object) -> Self:
        """A store from its path or a mapping.

        Raises:
            RefusedValueError: If it is neither.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"store": value}
        known = {item.name for item in fields(cls)}
        if not isinstance(value, Mapping) or "store" not in value or value.keys() - known:
            raise RefusedValueError(cls.words)
        given = {key: item for key, item in value.items() if item is not None}
        for key, item in given.items():
            if not isinstance(item, str) or not item:
                raise RefusedValueError(f"{cls.words}, and its {key} cannot be {quoted(item)}")
        return cls(**given)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of what `of_setting` takes from a file."""
        mapping = {
            "type": "object",
            "properties": {"store": {"type": "string"}, "head": {"type": ["string", "null"]}},
            "required": ["store"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, mapping]}

    @property
    def reference(self) -> str:
        """Store and head as one text."""
        return reference(self.store, self.head)

    def plain(self) -> Any:  # noqa: ANN401 - a path or a mapping
        """What a user writes: the path alone where there is no head."""
        return self.store if self.head is None else {"store": self.store, "head": self.head}
