"""Repositories of the Hugging Face hub as places.

Parts go to the hub's store of large files one by one, where those that an interrupted run has sent
are found by their checksum. Readers see nothing of them before one commit names all parts, the card
and the list, and drops parts of an older version.
"""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ltood.core.errors import TransferError
from ltood.runtime.drivers import remedy, told
from ltood.runtime.extras import require

_ADDRESS = re.compile(
    r"hf://(?:(?P<type>datasets|models)/)?(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>[\w./-]+?))?(?:/(?P<folder>[\w./-]+?))?/?"
)
_TYPES = {"datasets": "dataset", "models": "model", None: "model"}


class Hub:
    """A repository of the hub, or a folder in it."""

    is_near = False

    def __init__(self, address: str, *, private: bool = False) -> None:
        """Take an address; nothing is reached before it is used.

        Args:
            address: "hf://owner/name" for a model, "hf://datasets/owner/name" for a data set,
                with "@revision" and a folder where wanted.
            private: Whether a repository that has to be made is private.

        Raises:
            TransferError: If the address is malformed.
            MissingPackageError: If huggingface_hub is not installed.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise TransferError(
                f"{address} is not an address of the hub; write hf://owner/name or "
                "hf://datasets/owner/name."
            )
        require("huggingface_hub", address)
        from huggingface_hub import HfApi
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            disable_progress_bars,
        )

        self.address, self._private = address, private
        disable_progress_bars()  # There is one for the whole.
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="ltood")
        self._folder = found["folder"] or ""
        self._repo: dict[str, Any] = {
            "repo_id": found["repo"],
            "repo_type": _TYPES[found["type"]],
            "revision": found["revision"],
        }
        self._sent: list[Any] = []
        self._made = False

    def sizes(self) -> dict[str, int]:
        """Bytes of every file by name."""
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        with self._told("listed"):
            try:
                tree = list(
                    self._api.list_repo_tree(
                        path_in_repo=self._folder or None, recursive=True, **self._repo
                    )
                )
            except (EntryNotFoundError, RepositoryNotFoundError):
                return {}
        skipped = len(self._folder) + 1 if self._folder else 0
        return {file.path[skipped:]: int(file.size) for file in tree if isinstance(file, RepoFile)}

    def fetch(self, name: str, target: Path) -> None:
        """Download a file; one that broke off is continued."""
        with self._told("read"):
            found = self._api.hf_hub_download(
                filename=self._at(name), local_dir=target.parent / "hub", **self._repo
            )
            Path(found).replace(target)

    def send(self, name: str, source: Path) -> None:
        """Upload a part, unless the hub has one of that checksum."""
        from huggingface_hub import CommitOperationAdd

        with self._told("written"):
            self._make()
            part = CommitOperationAdd(self._at(name), str(source))
            self._api.preupload_lfs_files(additions=[part], num_threads=1, **self._repo)
        self._sent.append(part)

    def publish(self, files: Mapping[str, bytes], stale: Sequence[str]) -> None:
        """Make one commit of all parts that were sent and of these files."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._told("written"):
            self._make()
            added = [CommitOperationAdd(self._at(name), data) for name, data in files.items()]
            gone = [CommitOperationDelete(self._at(name)) for name in stale]
            self._api.create_commit(
                operations=[*self._sent, *added, *gone],
                commit_message="Update with ltood push",
                num_threads=1,
                **self._repo,
            )
        self._sent.clear()

    def _make(self) -> None:
        """Make the repository if it is missing."""
        if not self._made:
            self._api.create_repo(
                self._repo["repo_id"],
                repo_type=self._repo["repo_type"],
                private=self._private or None,
                exist_ok=True,
            )
            self._made = True

    def _at(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name

    def _told(self, what: str) -> AbstractContextManager[None]:
        """One sentence for what the hub or the way there raises."""
        return told(self.address, what, _remedy)


def _remedy(error: BaseException) -> str:
    """What to do after an exception, as `remedy` says it, with the hub's own way to log in."""
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return (
            "you have no permission: log in with `hf auth login` or set HF_TOKEN, and see "
            "that the token may write there."
        )
    return remedy(error)
