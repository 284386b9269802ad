"""A network beside torch.nn on this machine: interleaved repeats, medians, one pinned thread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rnngen import tensors, validate
from rnngen.validate import Case, Report

SHAPES = ((1, 1), (100, 1), (1, 8), (100, 8))  # T, B
REPEATS = 15  # odd: the median is one of them
PINNED = hasattr(os, "sched_setaffinity")  # Linux can
SAMPLE = 2_000_000  # nanoseconds a repeat lasts at least, far above the clock's grain


@dataclass(frozen=True)
class Row:
    """One shape of call."""

    steps: int  # T
    batch: int  # B
    own: float  # seconds a call, median
    torch: float

    @property
    def ratio(self) -> float:
        """How many times faster than torch."""
        return self.torch / self.own


def compare(net: Any) -> list[Row]:
    """Time every shape. The answers are compared first; a wrong one is not timed.

    Raises MissingError without torch, RuntimeError if an answer is wrong.
    """
    torch = tensors.torch("benchmarking")
    own, truth = (
        validate.reference(net.spec, net.arrays(), d) for d in (net.spec.dtype, "float64")
    )
    with _quiet(torch):
        return [_row(net, own, truth, steps, batch) for steps, batch in SHAPES]


def _row(net: Any, own: Any, truth: Any, steps: int, batch: int) -> Row:
    case = Case(steps, batch, ragged=False, states=True, batch_first=net.spec.batch_first)
    report = Report((validate.measure(net, own, truth, case),), net.plan.dtype)
    if not report.ok:
        raise RuntimeError(f"bench: an error of at most {report.limit:.2g}; got {report.error:.2g}")
    x, hx = validate.arguments(net.spec, case)
    calls = {"own": lambda: net(x, hx), "torch": lambda: own(x, hx)}
    counts = {name: _count(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            samples[name].append(_time(call, counts[name]) / counts[name] / 1e9)
    return Row(steps, batch, *(statistics.median(samples[name]) for name in ("own", "torch")))


def _count(call: Callable[[], Any]) -> int:
    """How many calls make a sample."""
    once = min(_time(call, 3) / 3 for _ in range(3))
    return max(1, int(SAMPLE / max(once, 1)))


def _time(call: Callable[[], Any], count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return time.perf_counter_ns() - start


@contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """One thread on one core, no gradients; everything as it was afterwards."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if PINNED else set()
    try:
        torch.set_num_threads(1)
        if cores:
            os.sched_setaffinity(0, {min(cores)})
        with torch.inference_mode():
            yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
