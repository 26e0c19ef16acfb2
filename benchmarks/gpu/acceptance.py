"""One run of the acceptance: what was checked, what was found, and how things are measured."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

CUDA = torch.device("cuda")
Verdict = Literal["pass", "fail", "note"]


class Finding(NamedTuple):
    """One line of the page.

    Attributes:
        verdict: "note" where there is no bound to keep.
        name: What was looked at.
        found: What it gave.
        bound: What was asked of it.
        seconds: When, since the start of the run.
    """

    verdict: Verdict
    name: str
    found: str
    bound: str
    seconds: float


@dataclass
class Acceptance:
    """A run of all checks.

    Attributes:
        folder: For stores and checkpoints; in memory where there is room.
        quick: Small sizes, which show that everything runs and nothing about speed.
        gpu: Counts of a pretended GPU; None on a real one.
        findings: What was found so far.
        ceilings: What the card reaches by itself: TFLOP/s by number format, GB/s of copies.
    """

    folder: Path
    quick: bool = False
    gpu: Any = None
    findings: list[Finding] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def pretends(self) -> bool:
        """Whether there is no GPU, so that neither time nor memory means anything."""
        return self.gpu is not None

    @property
    def failed(self) -> list[str]:
        """Names of what failed."""
        return [finding.name for finding in self.findings if finding.verdict == "fail"]

    def size(self, whole: int, quick: int) -> int:
        """A number of rows, images or steps."""
        return quick if self.quick else whole

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def say(self, verdict: Verdict, name: str, found: str, bound: str = "") -> None:
        """Keep one finding and print it."""
        self.findings.append(Finding(verdict, name, found, bound, self.elapsed()))
        asked = f" (asked: {bound})" if bound else ""
        print(f"[{self.elapsed():6.1f} s] {verdict.upper():4} {name}: {found}{asked}", flush=True)

    def check(self, name: str, found: str, bound: str, *, holds: bool) -> None:
        """A finding with a bound on results, which holds on any GPU."""
        self.say("pass" if holds else "fail", name, found, bound)

    def agree(
        self, what: str, gaps: Mapping[str, float], tolerance: float, wanted: int | None = None
    ) -> None:
        """A finding on relative differences from the CPU, by name.

        Args:
            what: What was compared.
            gaps: The differences.
            tolerance: The largest that may be.
            wanted: How many there should be; one or more if not given.
        """
        far = {name: f"{value:.1e}" for name, value in gaps.items() if not value <= tolerance}
        worst = max(gaps.values(), default=1.0)
        self.check(
            f"{what} agree with the CPU",
            f"largest relative difference {worst:.1e}, beyond: {far or 'none'}",
            f"{tolerance:g}",
            holds=not far and (bool(gaps) if wanted is None else len(gaps) == wanted),
        )

    def measure(self, name: str, found: str, bound: str, *, holds: bool) -> None:
        """A finding with a bound on time or memory, which a pretended GPU cannot judge."""
        judged: Verdict = "pass" if holds else "fail"
        self.say("note" if self.pretends or self.quick else judged, name, found, bound)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Turn an error within into a finding, so that the other parts are still looked at."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split())[:240]
            self.say("fail", name, f"{type(error).__name__}: {text}", "no error")

    def clock(self, call: Callable[[], object], times: int = 5, warm: int = 2) -> float:
        """Median seconds of a call until the device is done."""
        times, warm = (1, 1) if self.quick else (times, warm)
        for _ in range(warm):
            call()
        found = []
        for _ in range(times):
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return float(np.median(found))

    def waits(self, call: Callable[[], object]) -> int:
        """How often the host waits for the device in one call, by torch's own count."""
        call()
        if self.gpu is not None:
            before = sum(self.gpu.waits.values())
            call()
            return int(sum(self.gpu.waits.values()) - before)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in seen)

    def peak(self, call: Callable[[], object]) -> int:
        """Bytes of the device that a call takes beyond what is held before; 0 if pretended."""
        if self.pretends:
            call()
            return 0
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the range of the expected values."""
    wanted = expected.double().cpu()
    spread = float(wanted.max() - wanted.min()) or 1.0
    return float((found.double().cpu() - wanted).abs().max()) / spread
