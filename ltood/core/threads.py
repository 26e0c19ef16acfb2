"""How the threads of one process behave towards other processes; no torch."""

import os


def yield_cores() -> None:
    """Let waiting threads sleep instead of spin; call it before torch is loaded.

    Threads that spin at each barrier take the cores from the threads they wait for as soon as
    another program runs: with two cores and a load of seven, five epochs of the demo took 496 s
    spinning and 17 s sleeping, with the same bits. A wait policy that the user set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
