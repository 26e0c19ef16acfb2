"""The service on a socket, until a signal ends it."""

import asyncio
import logging
import os
import signal
import socket

import uvicorn
from fastapi import FastAPI

from ltood.core.errors import ConfigError
from ltood.serving.limits import Limits

#: Connections at a time; further ones get 503.
_CONNECTIONS = 512


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which is taken before anything heavy is loaded.

    Args:
        host: Name or address.
        port: Number; 0 takes a free one.

    Raises:
        ConfigError: If the address cannot be had.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}; choose from 0 (any free one) to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host} is not an address of this machine ({error}).") from error
    try:
        if os.name == "posix":  # A service may take the address of one that has just ended.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise _taken(host, port, error) from error
    return listening


def listen(listening: socket.socket) -> None:
    """Let clients connect; before, they are refused.

    Raises:
        ConfigError: If another program has begun to listen there.
    """
    try:
        listening.listen()
    except OSError as error:
        host, port = listening.getsockname()[:2]
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"{host} port {port} cannot be had ({error.strerror}); end what listens there, or choose "
        "another --port."
    )


def address_of(listening: socket.socket) -> str:
    """The address of a socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def make_server(app: FastAPI, limits: Limits, *, access_log: bool = False) -> uvicorn.Server:
    """A server of the application; its `serve` takes a socket.

    Args:
        app: The application.
        limits: Its limits.
        access_log: Print a line for each request.
    """
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.WARNING)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=access_log,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
    )


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, and finish the requests in work.

    Args:
        server: From `make_server`.
        listening: From `bind`.
    """
    # uvicorn sends itself the signal again when it has stopped, which would end us with an error.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(server.serve([listening]))
