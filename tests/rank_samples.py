"""Processes of one machine that share a run, as torchrun would start them."""

import os
import socket
import subprocess
import sys


def run_ranks(program, *arguments, world=2):
    """Run `program` with `arguments` on every rank, and see that all end well."""
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
        )
        for rank in range(world)
    ]
    assert [process.wait(200) for process in processes] == [0] * world
