"""Settings of evaluation: which OOD sets belong together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from ltood.core.errors import DataError
from ltood.core.limits import RefusedValueError
from ltood.core.settings import Settings


@dataclass(frozen=True)
class SetGroups:
    """Groups of OOD sets, such as near and far, over which means are taken.

    Attributes:
        sets: Names of the sets of each group, without the prefix "ood_".
    """

    words: ClassVar[str] = "a section of groups, each a list of names of OOD sets"

    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_setting(cls, value: object) -> Self:
        """Groups from a mapping as settings have it.

        Raises:
            RefusedValueError: If it is something else, a group is empty or names a set twice.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise RefusedValueError(cls.words)
        sets = {}
        for name, names in value.items():
            listed = isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)
            if not isinstance(name, str) or not listed or not names or len({*names}) < len(names):
                raise RefusedValueError(f"{cls.words}, without repeats, such as near: [cifar100]")
            sets[name] = tuple(names)
        return cls(sets)

    def plain(self) -> dict[str, list[str]]:
        """As `params.yaml` writes it."""
        return {name: list(names) for name, names in self.sets.items()}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of what `of_setting` takes from a file."""
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
        return {"type": "object", "additionalProperties": names}

    def checked(self, known: Iterable[str]) -> Self:
        """The same, if every set is known.

        Raises:
            DataError: With the name of the first set that is not.
        """
        listed = sorted(known)
        for group, names in self.sets.items():
            for name in names:
                if name not in listed:
                    sets = f"the OOD sets are {', '.join(listed)}" if listed else "there are none"
                    raise DataError(
                        f"evaluation.groups.{group} names {name!r} as an OOD set, and {sets}; "
                        "correct the name, or score that set too."
                    )
        return self


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """Settings of evaluation.

    Attributes:
        groups: OOD sets that belong together, by the name of their group, such as near and far;
            means over each are shown beside the mean over all.
    """

    section: ClassVar[str] = "evaluation"

    groups: SetGroups = field(default_factory=SetGroups)
