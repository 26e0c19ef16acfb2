"""How negative labels are prompted and chosen: what each recipe publishes, and settings."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar

from ltood.core.limits import Count, Limits, Share
from ltood.core.settings import SettingError, Settings

#: A cosine.
Cosine = Annotated[float, Limits(at_least=-1, at_most=1)]


@dataclass(frozen=True)
class Rules:
    """How the words of a list become negative labels.

    Attributes:
        noun_templates: Sentences around a noun, whose features are averaged.
        adjective_templates: The same around an adjective.
        class_templates: The same around a class name, for the choice alone.
        quantile: Of the cosines with the class names, by which words are ranked.
        share: Part of the words that is kept, the ones of the smallest quantile.
        labels: Number that is kept, instead of a share.
        exclude_above: Largest cosine with a class name, or None for any.
        by_images: Whether words are ranked by the mean image of each class, not by its name.
    """

    noun_templates: tuple[str, ...] = ("{}",)
    adjective_templates: tuple[str, ...] = ("{}",)
    class_templates: tuple[str, ...] = ("{}",)
    quantile: float = 0.95
    share: float = 1.0
    labels: int | None = None
    exclude_above: float | None = None
    by_images: bool = False


_NICE, _ADJECTIVE = ("the nice {}",), ("This is a {} photo",)
#: The settings are those of the paper, the wording is a fact of its figures.
_CSP_NOUNS = (
    "a close-up photo of the nice {}.",
    "a photo with the nice {}.",
    "a good photo with the nice {}.",
    "a photo of the nice {}.",
    "{}",
    "the {}",
    "the good {}",
    "the nice {}",
)
_CSP_ADJECTIVES = ("{}", "a nice photo of {}", "a good photo of {}", "a close-up photo of {}")
_CSP = Rules(_CSP_NOUNS, _CSP_ADJECTIVES, _CSP_NOUNS)
RECIPES: Mapping[str, Rules] = {
    # Jiang et al., "Negative Label Guided OOD Detection ...", ICLR 2024.
    "neglabel": Rules(_NICE, _ADJECTIVE, _NICE, share=0.15),
    # Chen, Gao and Xu, "Conjugated Semantic Pool Improves OOD Detection ...", NeurIPS 2024.
    "csp": replace(_CSP, share=0.15, exclude_above=0.95),
    # Ansari, Wang and Xiong, "NegRefine ...", ICCV 2025: a list that was chosen and filtered.
    "negrefine-list": _CSP,
    # Xu et al., "Mind the Way You Select Negative Texts ...", CVPR 2026, its choice of texts.
    "interneg": Rules(
        ("The nice {}.",), ("This is a {} photo.",), ("The nice {}.",), labels=2000, by_images=True
    ),
    # Labels as somebody chose and wrote them.
    "listed": Rules(),
}


@dataclass(frozen=True)
class NegativesConfig(Settings):
    """Settings of negative labels; null takes what the recipe of the list publishes.

    Attributes:
        words: List that `ltood negatives build` or `import` wrote; null makes no negative labels.
        noun_templates: Sentences with a place `{}` for a noun; their features are averaged.
        adjective_templates: The same for an adjective.
        class_templates: The same for a class name, for the choice of words alone; the score takes
            the head's own.
        quantile: Quantile over the classes of the cosine with a word, by which words are ranked;
            the published one is 0.95.
        share: Part of the words to keep, separately of nouns and of adjectives; published is 0.15.
        labels: Number of words to keep, instead of a share.
        exclude_above: Words with a larger cosine with any class name are left out; CSP takes 0.95.
        official_class_names: Keep words that are the name of a class, as NegLabel's code does.
    """

    section: ClassVar[str] = "negatives"

    words: str | None = None
    noun_templates: tuple[str, ...] | None = None
    adjective_templates: tuple[str, ...] | None = None
    class_templates: tuple[str, ...] | None = None
    quantile: Share | None = None
    share: Share | None = None
    labels: Count | None = None
    exclude_above: Cosine | None = None
    official_class_names: bool = False

    def check(self) -> None:
        """Check that every template has a place for the word, and that one size is given."""
        for key in ("noun_templates", "adjective_templates", "class_templates"):
            given = getattr(self, key)
            if given is not None and (not given or any(text.count("{}") != 1 for text in given)):
                raise self.fault(
                    key,
                    f"is {list(given)!r}; every template needs one {{}} for the word, such as 'the "
                    "nice {}'.",
                )
        if self.share is not None and self.labels is not None:
            raise self.fault("labels", "is set beside share; set one of them to null.")

    def rules(self, recipe: str) -> Rules:
        """What is in use for a list of this recipe.

        Raises:
            SettingError: If a setting has no meaning for it.
        """
        published = RECIPES[recipe]
        given: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(Rules)
            if getattr(self, field.name, None) is not None
        }
        if published.by_images and (taken := {"quantile", "exclude_above"} & given.keys()):
            raise SettingError(
                self.section,
                min(taken),
                f"has no meaning for a list of the recipe {recipe}, which ranks words by images; "
                "set it to null.",
            )
        if "share" in given:
            given["labels"] = None
        return replace(published, **given)
