"""How much one request may hold, and all of them together."""

from dataclasses import dataclass

from ltood.core.errors import ConfigError

MEGABYTE = 2**20
#: Bodies of all requests together, in bodies of the largest size.
_BODIES = 8


@dataclass(frozen=True)
class Limits:
    """Limits of the service; what is beyond them is refused before it takes memory.

    Attributes:
        body: Bytes of one body.
        images: Images of one request.
        rows: Rows of features of one request.
        pixels: Pixels of one image, and of all images that are decoded at a time.
        requests: Requests in work at a time.
        seconds: Time for a body to arrive, and as much again for its verdicts.
    """

    body: int = 32 * MEGABYTE
    images: int = 64
    rows: int = 1024
    pixels: int = 50_000_000
    requests: int = 64
    seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a limit is not above 0.
        """
        for name in ("body", "images", "rows", "pixels", "requests", "seconds"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ConfigError(f"the limit of {name} is {value}; it must be above 0 and finite.")

    @property
    def bodies(self) -> int:
        """Bytes of the bodies of all requests in work."""
        return _BODIES * self.body
