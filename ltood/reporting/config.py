"""Settings of the report."""

from dataclasses import dataclass
from typing import ClassVar

from ltood.core.settings import Settings


@dataclass(frozen=True)
class ReportConfig(Settings):
    """Settings of the report.

    Attributes:
        images: What the images are called on the page, such as Mushrooms; null takes the title of
            the dataset.
    """

    section: ClassVar[str] = "report"

    images: str | None = None

    def check(self) -> None:
        """Check the name."""
        if self.images is not None and not self.images.strip():
            raise self.fault("images", "is empty; name the images, such as Mushrooms, or null.")
