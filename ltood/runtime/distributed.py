"""Several processes that share one piece of work, as `torchrun` starts them.

Each process is a rank. Without `torchrun` there is one rank and nothing is sent.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ltood.core.errors import ConfigError, LtoodError
from ltood.runtime.peers import Peer, ended

if TYPE_CHECKING:
    import torch

_Plain = TypeVar("_Plain")


class LostRankError(BaseException):
    """Another process has ended or went another way; whatever this one does is in vain.

    No entry may catch it: `ranks_from_environment` makes a sentence of it.

    Attributes:
        is_silent: Whether one has ended without a word.
    """

    def __init__(self, what: str, *, is_silent: bool = False) -> None:
        """Take what is known, as part of a sentence."""
        super().__init__(what)
        self.is_silent = is_silent

    @classmethod
    def unreachable(cls) -> "LostRankError":
        """What to raise where meeting another process fails, which says nothing more."""
        return cls("another process has ended before its work was done", is_silent=True)


@dataclass(frozen=True)
class Ranks:
    """This process among all that share the work.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
        local_rank: Number of this process on its host, from 0.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever rank 0 has to say
        """The plain value that rank 0 gave; all ranks must call it."""
        if self.world_size == 1:
            return value
        import torch.distributed

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def on_rank_zero(self, make: Callable[[], _Plain]) -> _Plain:
        """The plain value that `make` gives on rank 0, where alone it is called.

        All ranks must call it. An expected failure of rank 0 is that of all: else the others would
        bury its sentence under what they say of a lost connection.
        """
        if self.world_size == 1:
            return make()
        made: _Plain | LtoodError | None = None
        if self.rank == 0:
            try:
                made = make()
            except LtoodError as error:
                made = error
        made = self.broadcast(made)
        if isinstance(made, LtoodError):
            raise made
        return cast("_Plain", made)

    def barrier(self) -> None:
        """Go on once all ranks have come here."""
        if self.world_size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def check_gpu(self, device: "torch.device") -> None:
        """Refuse GPUs that two ranks were to use, which NCCL cannot do; all ranks must call it.

        Raises:
            ConfigError: If two ranks have one GPU.
        """
        if self.world_size == 1:
            return
        import torch.distributed

        # Not by its number: each process may be shown another GPU as its first.
        on_gpu = device.type == "cuda"
        own = str(torch.cuda.get_device_properties(device).uuid) if on_gpu else None
        found: list[str | None] = [None] * self.world_size
        torch.distributed.all_gather_object(found, own)
        gpus = [gpu for gpu in found if gpu is not None]
        if len(set(gpus)) < len(gpus):
            raise ConfigError(
                f"{len(gpus)} processes were to train on {len(set(gpus))} GPUs, but each needs one "
                "of its own; give torchrun as many processes as there are GPUs and set device to "
                "auto, or to cpu."
            )

    def device_name(self, name: str) -> str:
        """Device setting of this rank: "auto" and "cuda" spread the ranks over the GPUs."""
        if self.world_size > 1 and name in ("auto", "cuda"):
            import torch

            count = torch.cuda.device_count()
            return f"cuda:{self.local_rank % count}" if count else name
        return name


def _named() -> Ranks:
    """This process by the names that `torchrun` gives, all of which must be there and fit.

    Raises:
        ConfigError: If they do not.
    """
    try:
        ranks = Ranks(*(int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except (KeyError, ValueError) as error:
        wrong = f"RANK and LOCAL_RANK are not numbers ({error})"
    else:
        port = os.environ.get("MASTER_PORT", "")
        if not 0 <= ranks.rank < ranks.world_size or ranks.local_rank < 0:
            wrong = f"RANK {ranks.rank} is not below it ({ranks.world_size})"
        elif ranks.world_size == 1 or (os.environ.get("MASTER_ADDR") and port.isdecimal()):
            return ranks
        else:
            wrong = "MASTER_ADDR and MASTER_PORT, where the processes meet, are not"
    raise ConfigError(
        f"WORLD_SIZE is set but {wrong}; start the command with torchrun, or unset WORLD_SIZE."
    )


@contextmanager
def ranks_from_environment() -> Iterator[Ranks]:
    """Join the other processes that `torchrun` started, for as long as the block runs.

    Raises:
        ConfigError: If the environment names ranks but is not that of `torchrun`.
        LtoodError: If another process has ended before the work was done.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    ranks = _named()
    if ranks.world_size == 1:
        yield ranks
        return
    import torch
    import torch.distributed

    # Lists and barriers go through the host; tensors of training from GPU to GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # A rank may wait for the slowest for hours; torchrun ends all where one dies.
    torch.distributed.init_process_group(backend, timeout=timedelta(days=1))
    peers: list[Any] = [None] * ranks.world_size
    try:
        # All have met once: who fails from here on does so among others that know of it.
        torch.distributed.all_gather_object(peers, Peer.own())
        yield ranks
    except LostRankError as lost:
        raise _cannot_go_on(ranks, peers, lost) from None
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        raise _cannot_go_on(ranks, peers, LostRankError.unreachable()) from None
    except LtoodError as error:
        error.add_note(f"(said by process {ranks.rank} of {ranks.world_size})")
        raise
    finally:
        torch.distributed.destroy_process_group()


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether an error says that another process can no longer be reached."""
    import torch.distributed

    # Gloo has no error of its own; each of its sentences names its file.
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def _cannot_go_on(ranks: Ranks, peers: list[Any], lost: LostRankError) -> LtoodError:
    """What to say once another process is lost."""
    gone = " and ".join(map(str, ended(peers))) if lost.is_silent else ""
    what = f"process {gone} has ended before its work was done" if gone else str(lost)
    return LtoodError(
        f"process {ranks.rank} of {ranks.world_size} cannot go on: {what}. Look for what was said "
        "before this, or why it was killed; then run the same command again, with as many "
        "processes as you like."
    )
