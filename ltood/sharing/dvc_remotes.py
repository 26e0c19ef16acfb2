"""DVC remotes by name, read from DVC's own configuration files.

DVC itself is not needed. Its files are those of the user, of the repository and of this copy of
it, in this order; a later one has the last word.
"""

from pathlib import Path
from typing import Any

from ltood.core.errors import StoreError
from ltood.runtime.dvc_config import configurations
from ltood.runtime.workspace import origin

#: What the file systems of fsspec call the settings of a remote.
_S3 = {
    "profile": "profile",
    "access_key_id": "key",
    "secret_access_key": "secret",
    "session_token": "token",
    "endpointurl": "endpoint_url",
}
_SSH = {"user": "username", "port": "port", "password": "password", "keyfile": "client_keys"}


def read_remote(address: str) -> tuple[str, dict[str, Any]]:
    """URL of a DVC remote with what its file system needs.

    Args:
        address: "remote://NAME" or "remote://NAME/folder".

    Returns:
        A path, or a URL with the folder appended, and options for fsspec.

    Raises:
        StoreError: If there is no DVC repository, or no such remote in it.
    """
    name, _, folder = address.removeprefix("remote://").partition("/")
    remotes = _remotes()
    if name not in remotes:
        known = ", ".join(sorted(remotes)) or "none"
        raise StoreError(
            f"there is no DVC remote {name!r} (known: {known}); add it with `dvc remote add "
            f"{name} ADDRESS`."
        )
    settings = remotes[name]
    if "url" not in settings:
        raise StoreError(f"the DVC remote {name!r} has no url; set it with `dvc remote modify`.")
    url = settings["url"].rstrip("/") + (f"/{folder}" if folder else "")
    scheme = url.partition("://")[0]
    if scheme == "s3":
        options: dict[str, Any] = {_S3[key]: settings[key] for key in _S3 if key in settings}
        if "region" in settings:
            options["client_kwargs"] = {"region_name": settings["region"]}
        return url, options
    if scheme == "ssh":
        options = {_SSH[key]: settings[key] for key in _SSH if key in settings}
        if "port" in options:
            options["port"] = int(options["port"])
        if "client_keys" in options:
            options["client_keys"] = [options["client_keys"]]
        return url, options
    return url, {}


def _remotes() -> dict[str, dict[str, str]]:
    """Settings of every remote by name; relative folders start at the file that names them."""
    found: dict[str, dict[str, str]] = {}
    for file, parser in configurations(_repository()):
        for section in parser.sections():
            kind, _, name = section.strip("'").partition(" ")
            if kind != "remote":
                continue
            settings = {key: value.strip("'\"") for key, value in parser[section].items()}
            if "url" in settings and "://" not in settings["url"]:
                settings["url"] = str((file.parent / Path(settings["url"]).expanduser()).resolve())
            found.setdefault(name.strip('"'), {}).update(settings)
    return found


def _repository() -> Path:
    """The DVC repository that the current folder belongs to.

    Raises:
        StoreError: If it belongs to none.
    """
    here = origin() or Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise StoreError(
        "remote:// names a DVC remote, but this folder belongs to no DVC repository; give the "
        "address itself, or change to the repository."
    )
