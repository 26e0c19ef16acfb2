"""Zero-shot: a head of text embeddings of the class names, from no image at all.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021 (arXiv:2103.00020), section 3.1; the default template is the one of MCM (Ming, Cai, Gu,
Sun, Li and Li, "Delving into Out-of-Distribution Detection with Vision-Language
Representations", NeurIPS 2022, arXiv:2211.13445), without a full stop. Several templates are
averaged as unit vectors. Score its features with mcm or gl_mcm.
"""

from dataclasses import dataclass

from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.recipes._text_heads import TemplateRecipe

ADAPTS_HEAD = True


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the zero-shot head.

    Attributes:
        templates: Sentence with a place `{}` for the class name, a list of such sentences, or
            "imagenet" for the 80 that open_clip brings along.
        class_names: File with a class name per line (or a WordNet id and a name, as CoOp's),
            "imagenet" for the names that open_clip brings along; null takes those of the store.
    """

    templates: str | tuple[str, ...] = "a photo of a {}"
    class_names: str | None = None

    def check(self) -> None:
        """Check that every template has a place for the name."""
        given = (self.templates,) if isinstance(self.templates, str) else self.templates
        bad = [text for text in given if text.count("{}") != 1]
        if bad != ["imagenet"] and (bad or not given):
            raise self.fault(
                "templates",
                f"is {self.templates!r}; every template needs one {{}} for the class name, such as "
                "'a photo of a {}'.",
            )


class ZeroShot(TemplateRecipe):
    """Mean text embedding of filled-in templates."""

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take the settings; the class counts are not used."""
        super().__init__(prior)
        self.config = config
        self.class_names = config.class_names
        given = config.templates
        self.templates = (given,) if isinstance(given, str) else given


Entry = ZeroShot
