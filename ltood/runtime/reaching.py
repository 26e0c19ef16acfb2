"""The Hugging Face hub as a source of weights: what is cached is taken, without waiting for it.

The client of the hub tries a request again for most of a minute, which helps where a server is
busy. Where the hub cannot be reached at all, that is known at once.
"""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from ltood.runtime.extras import is_there

#: A lost packet is sent again within this time, also the first question to a name server.
_SECONDS = 6.0


@contextmanager
def hub_or_cache() -> Iterator[str | None]:
    """Let packages that fetch weights use the hub, or only its cache where it is out of reach.

    Yields:
        Why the hub cannot be reached; None where it can, or is not to be asked.
    """
    if not is_there("huggingface_hub"):
        yield None
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    reason = None if before else out_of_reach(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or reason is not None
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = before


def out_of_reach(address: str) -> str | None:
    """Why no connection to an address can be made, or to the proxy on the way; None if one can.

    Args:
        address: Such as "https://huggingface.co".
    """
    host, port = _first_stop(address)
    found: list[str] = []
    # Asking a name server takes as long as the system likes.
    asking = threading.Thread(target=_connect, args=(host, port, found), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    said = found[0] if found else f"no answer within {_SECONDS:g} s"
    return f"{host} cannot be reached: {said}" if said else None


def _first_stop(address: str) -> tuple[str, int]:
    """Host and port that a client connects to: a proxy where the environment names one."""
    parts = urlsplit(address)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    usual = {"https": 443, "http": 80}.get(parts.scheme, 1080)
    return parts.hostname or "", parts.port or usual


def _connect(host: str, port: int, found: list[str]) -> None:
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        found.append(error.strerror or str(error) or type(error).__name__)
    else:
        found.append("")
