"""Processes of one machine that share a run, as torchrun would start them."""

import os
import socket
import subprocess
import sys


def run_ranks(program, *arguments, world=2, codes=None):
    """Run `program` with `arguments` on every rank, and see that all end well, or with `codes`.

    Returns:
        What each said on stderr, where they end with codes of their own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
            },
            stderr=None if codes is None else subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == (codes or [0] * world), said
    return said
