"""What is chosen among: a method with its settings, perhaps a calibrator and a normaliser.

Candidates are tried in the order of their cost. The cost is declared, by what a method reads when
it scores, and not measured: a choice that hung on seconds could not be repeated.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from ltood.core.building import NONE
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.holding import HOLDS
from ltood.core.inputs import FitInputs, Need
from ltood.core.members import Member
from ltood.core.prior import ClassPrior
from ltood.core.registry import constant
from ltood.core.slots import Method, check_needs
from ltood.ops.held_methods import HeldMethod
from ltood.ops.pairs import PairMethod

#: Cost classes, in words.
COSTS = (
    "the head's outputs alone",
    "features and their statistics",
    "all training rows",
    "several methods",
)
#: Training rows of the most frequent class over those of the rarest that make a long tail.
LONG_TAIL = 10.0

#: Entries that are left out where the data are not what they are for.
_FOR_LONG_TAILS = frozenset({"himplos", "patt", "logit_adjustment", "imood", "rw_energy"})
_FOR_TEXT = frozenset({"mcm", "gl_mcm", "l_mcm"})


class Candidate(Member):
    """One way to score."""

    may_hold: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """Its name, else its entries in the order of work, such as "patt+knn(k=10)"."""
        slots = {
            self.calibrator: self.calibrator_settings,
            self.method: self.settings,
            self.normaliser: self.normaliser_settings,
        }
        named = [_words(name, given) for name, given in slots.items() if name != NONE.name]
        return self.name or "+".join(named)

    @property
    def cost(self) -> int:
        """Place in `COSTS` of what it reads when it scores."""
        return cost_of(self.method, self.build().method.entry)

    def check(self) -> None:
        """Refuse a candidate that cannot work, whatever the data.

        Raises:
            ConfigError: On an unknown name or setting, a choice among choices, or rows of another
                store.
        """
        if self.method == "auto":
            raise ConfigError("auto cannot choose itself; name other methods.")
        if self.store is not None:
            raise ConfigError(
                f"a candidate scores rows of the present store, not of {self.store}; name an "
                "ensemble with such a member."
            )
        self.build()

    def misfit(self, inputs: FitInputs, has_local: bool) -> str | None:
        """Why these data do not allow it, or are not what it is for; None if they suit."""
        names = {self.method, self.calibrator, self.normaliser}
        if names & _FOR_TEXT and not is_text(inputs):
            return "for heads made of text"
        if names & _FOR_LONG_TAILS and not has_long_tail(inputs.prior):
            return "for long-tailed classes"
        held = HeldMethod(self)
        needs = held.needs | ({Need.HEAD} if {"logits", "aux_outputs"} & held.arrays else set())
        try:
            check_needs(self.title, needs, inputs, has_local)
        except MissingNeedError as error:
            return " ".join(str(error).split())
        return None


def _words(name: str, settings: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name}({listed})" if listed else name


def cost_of(name: str, method: Method) -> int:
    """Cost class of a method; see `COSTS`."""
    if constant("methods", name, HOLDS) is not None:
        return 3
    if isinstance(method, PairMethod):
        return 2
    return 1 if {"features", "local"} & set(method.arrays) else 0


def is_text(inputs: FitInputs) -> bool:
    """Whether the head is made of text embeddings, as that of CLIP."""
    return inputs.head is not None and inputs.head.logit_scale is not None


def has_long_tail(prior: ClassPrior | None) -> bool:
    """Whether the most frequent class has many times the rows of the rarest."""
    if prior is None:
        return False
    counts = prior.counts[prior.counts > 0]
    return bool(counts.max() >= LONG_TAIL * counts.min())
