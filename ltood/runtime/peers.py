"""Which of the processes that share a run have ended, as far as this machine can see."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: How often, and with what pause in seconds, a process is looked for that may be about to end.
LOOKS, PAUSE = 20, 0.05


@dataclass(frozen=True)
class Peer:
    """One of the processes.

    Attributes:
        host: Name of its machine.
        process: Its number there.
    """

    host: str
    process: int

    @classmethod
    def own(cls) -> "Peer":
        """This process."""
        return cls(platform.node(), os.getpid())

    def has_ended(self) -> bool:
        """Whether it is known to have ended; nothing is known of other machines."""
        if self.host != platform.node() or os.name != "posix":
            return False
        try:
            os.kill(self.process, 0)
            status = Path(f"/proc/{self.process}/stat").read_text()
        except ProcessLookupError:
            return True
        except OSError:  # It is another user's, or the system tells no more.
            return False
        # Its number is kept until its parent has looked at it.
        return status.rpartition(")")[2].split()[0] == "Z"


def ended(peers: Sequence[Peer]) -> list[int]:
    """Ranks of the processes that have ended, or are about to."""
    for look in range(LOOKS):
        found = [rank for rank, peer in enumerate(peers) if peer.has_ended()]
        if found:
            return found
        if look < LOOKS - 1:
            time.sleep(PAUSE)
    return []
