"""A network beside torch.nn and other runtimes: interleaved repeats, medians, one pinned thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rnngen import machine, peers, tensors, validate
from rnngen.machine import Machine
from rnngen.validate import Case, Report

SHAPES = ((1, 1), (100, 1), (1, 8), (100, 8))  # T, B
REPEATS = 15  # odd: the median is one of them
SAMPLE = 2_000_000  # nanoseconds a repeat lasts at least, far above the clock's grain
SLACK = 100  # of other runtimes, times rnngen's limit: less exact will do, another network will not

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One shape of call."""

    steps: int  # T
    batch: int  # B
    own: float  # seconds a call, median
    torch: float
    peers: dict[str, float | str]  # other runtimes that are installed; or why there is no time
    floor: float | None  # at the core's limits; None if they were not measured

    @property
    def ratio(self) -> float:
        """How many times faster than torch."""
        return self.torch / self.own


@dataclass(frozen=True)
class _Bench:
    """A network and what it is held to."""

    net: Any
    own: Any  # torch.nn in the network's dtype
    truth: Any  # and in float64
    core: Machine | None

    def row(self, steps: int, batch: int) -> Row:
        spec, plan = self.net.spec, self.net.plan
        case = Case(steps, batch, ragged=False, states=True, batch_first=spec.batch_first)
        limit = self._checked(case)
        x, hx = validate.arguments(spec, case)
        calls: dict[str, Call] = {"own": _bound(self.net, x, hx), "torch": lambda: self.own(x, hx)}
        found = {name: self._peer(name, case, limit) for name in peers.installed()}
        ready = {n: p.bind(x, hx) for n, p in found.items() if isinstance(p, peers.Peer)}
        times = medians(calls | ready)
        others = {n: times[n] if n in ready else str(found[n]) for n in found}
        floor = self.core.floor(plan, steps, batch) if self.core else None
        return Row(steps, batch, times["own"], times["torch"], others, floor)

    def _checked(self, case: Case) -> float:
        """The error allowed. Raises RuntimeError if the network's is above it."""
        line = validate.measure(self.net, self.own, self.truth, case)
        report = Report((line,), self.net.plan.dtype)
        if not report.ok:
            off = f"an error of at most {report.limit:.2g}; got {report.error:.2g}"
            raise RuntimeError(f"bench: {off}")
        return report.limit

    def _peer(self, name: str, case: Case, limit: float) -> peers.Peer | str:
        """The network in another runtime, or why it is not to be timed."""
        try:
            peer = peers.make(name, self.net.spec, self.net.arrays(), case.steps, case.batch)
            error = validate.measure(peer, self.own, self.truth, case).error
        except Exception as failure:  # whatever a runtime may raise; its time is not ours to fail
            return " ".join(f"failed: {type(failure).__name__}: {failure}".split())[:200]
        if not error <= SLACK * limit:
            return f"wrong: an error of at most {SLACK * limit:.2g}; got {error:.2g}"
        return peer


def compare(net: Any) -> list[Row]:
    """Time every shape. The answers are compared first; a wrong one is not timed.

    Raises MissingError without torch, RuntimeError if the network's own answer is wrong.
    """
    torch = tensors.torch("benchmarking")
    own, truth = (
        validate.reference(net.spec, net.arrays(), d) for d in (net.spec.dtype, "float64")
    )
    bench = _Bench(net, own, truth, machine.known())
    with machine.pinned(), _quiet(torch):
        return [bench.row(steps, batch) for steps, batch in SHAPES]


def _bound(net: Any, x: Any, hx: Any) -> Call:
    """The network's call with these arguments, ready to be timed."""
    run: Call = net.bind(x, hx).run
    return run


def medians(calls: Mapping[str, Call]) -> dict[str, float]:
    """Seconds that each call takes: by turns, the median of them."""
    counts = {name: _count(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            samples[name].append(_time(call, counts[name]) / counts[name] / 1e9)
    return {name: statistics.median(times) for name, times in samples.items()}


def _count(call: Call) -> int:
    """How many calls make a sample."""
    once = min(_time(call, 3) / 3 for _ in range(3))
    return max(1, int(SAMPLE / max(once, 1)))


def _time(call: Call, count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return time.perf_counter_ns() - start


@contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """One thread of torch's, no gradients; everything as it was afterwards."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
