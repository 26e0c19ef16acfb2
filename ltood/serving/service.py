"""A detector file served over HTTP until it is told to stop."""

import ipaddress
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from ltood.deployment.deciding import deciding_by
from ltood.deployment.opening import open_detector
from ltood.deployment.promises import Promise
from ltood.deployment.sidecar import network_folder
from ltood.runtime.console import log
from ltood.runtime.extras import require
from ltood.serving.app import make_app
from ltood.serving.judge import Judge
from ltood.serving.limits import Limits
from ltood.serving.running import address_of, bind, listen, make_server, run
from ltood.serving.tokens import VARIABLE, read_token


@dataclass(frozen=True)
class Address:
    """Where the service listens, and to whom.

    Attributes:
        host: Name or address.
        port: Number; 0 takes a free one.
        token_file: File of the token that clients must send; that of LTOOD_TOKEN if None.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None


def serve_detector(
    path: Path,
    checkpoint: Path | None,
    address: Address,
    limits: Limits,
    *,
    threshold: float | None = None,
    promise: Promise | None = None,
    batch_size: int = 16,
    wait: float = 0.005,
    access_log: bool = False,
    device: str = "auto",
) -> None:
    """Load a detector, serve it, and return when a signal has ended the service.

    Args:
        path: Detector file.
        checkpoint: Folder of its network, instead of the one beside it; with neither, only features
            are judged.
        address: Where to listen.
        limits: How much is let in.
        threshold: Largest score that counts as ID; None for the detector's own.
        promise: What verdicts promise instead.
        batch_size: Most images per batch of the network.
        wait: Seconds that a batch waits for further images.
        access_log: Print a line for each request.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        LtoodError: If the address cannot be had, or detector and network cannot be used.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    token = read_token(address.token_file)
    listening = bind(address.host, address.port)
    try:
        opened = open_detector(path, checkpoint, device)
        detector = deciding_by(opened.detector, threshold=threshold, promise=promise)
        embedder = None
        if opened.checkpoint is not None:
            require("PIL", "serving a detector of images")
            embedder = opened.network
        judge = Judge(detector, embedder, batch_size=batch_size, wait=wait)
        server = make_server(make_app(judge, limits, token=token), limits, access_log=access_log)
        listen(listening)
        _say(path, judge, address_of(listening), token)
        run(server, listening)
        judge.close()
    finally:
        listening.close()
    log("stopped; every request has its answer.")


def _say(path: Path, judge: Judge, url: str, token: str | None) -> None:
    """Say what is served, and what is missing."""
    what = "features" if judge.embedder is None else "images and features"
    log(f"{path.name} judges {what} at {url}/predict on {judge.detector.device}; Ctrl-C ends it.")
    if judge.embedder is None:
        log(
            "without a network only features are judged; for images, copy the folder "
            f"{network_folder(path).name} next to the detector, or pass --checkpoint."
        )
    if token is None and not _is_local(url):
        log(
            f"warning: whoever reaches {url} may use it; set {VARIABLE}, or listen at 127.0.0.1 "
            "behind a proxy."
        )


def _is_local(url: str) -> bool:
    host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
    return ipaddress.ip_address(host).is_loopback
