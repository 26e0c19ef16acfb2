"""Addresses: which place one stands for.

folder, file:///folder    a folder of this machine
hf://[datasets/]owner/name[@revision][/folder]   a repository of the Hugging Face hub
remote://NAME[/folder]    a DVC remote by its name
s3://..., ssh://...       whatever else fsspec opens
"""

import re
from pathlib import Path

from ltood.core.errors import TransferError
from ltood.runtime.drivers import path_of
from ltood.sharing.places import Folder, Place

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def open_place(address: str, *, private: bool = False) -> Place:
    """The place of an address; nothing is reached before it is used.

    Args:
        address: As the module describes it.
        private: Whether a repository of the hub that has to be made is private.

    Raises:
        TransferError: If the address is malformed.
        StoreError: If there is no such DVC remote.
        MissingPackageError: If a package that it needs is not installed.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        if not address:
            raise TransferError("the address is empty; give a folder, s3://, ssh:// or hf://.")
        return Folder(Path(address))
    if scheme[1] == "file":
        return Folder(path_of(address))
    if scheme[1] == "hf":
        from ltood.sharing.hub import Hub

        return Hub(address, private=private)
    if scheme[1] == "remote":
        from ltood.sharing.dvc_remotes import read_remote

        url, options = read_remote(address)
        return Folder(Path(url)) if _SCHEME.match(url) is None else _remote(url, options)
    return _remote(address, {})


def _remote(address: str, options: dict[str, object]) -> Place:
    from ltood.sharing.remotes import Remote

    return Remote(address, options)
