"""How threads share a call: sequences of a batch, and the directions of a layer, side by side."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnngen import tensors
from rnngen.calls import Input
from rnngen.plan import Plan

MIN_WORK = 10_000_000  # multiply-adds that one more thread is worth, some 100 us
PAUSES = (
    20_000  # that a thread stays awake for, 0.2 ms or a few times as much: twice waking and more
)
NAP = 50e-6  # seconds; between looks at a share that takes longer than ours
MIN_ROWS = 12  # sequences that one thread should have: tiles of fewer do less with what they read


class Share(NamedTuple):
    """What one thread does, as the C has it: ranges of sequences and passes, and its number."""

    first: int
    end: int
    first_pass: int
    end_pass: int
    thread: int


class Part(Protocol):
    """A share that is ready to be done, here or by a worker."""

    job: tuple[Any, Any]  # C's function and its argument

    def __call__(self) -> int:
        """0, or the C's error."""


Stages = list[list[Share]]  # one after the other, and what goes on side by side in each


def split(plan: Plan, given: Input, threads: int) -> Stages:
    """Shares of a call for up to so many threads; fewer where the work is not worth them.

    Batches are split by sequences, which need not wait for each other. Where there are too few,
    the directions of a layer run side by side, and layers one after the other.
    """
    passes = len(plan.steps)
    if threads == 1 or (most := min(threads, given.rows * plan.weights_size // MIN_WORK)) < 2:
        return [[whole(plan, given)]]
    if not plan.bidirectional or given.batch >= MIN_ROWS * most:
        return [_side_by_side(_ranges(given, most), [(0, passes)])]
    ranges = _ranges(given, most // 2)
    layers = range(0, passes, 2)
    return [_side_by_side(ranges, [(p, p + 1), (p + 1, p + 2)]) for p in layers]


def whole(plan: Plan, given: Input) -> Share:
    """All of a call."""
    return Share(0, given.batch, 0, len(plan.steps), 0)


def _side_by_side(ranges: list[tuple[int, int]], passes: list[tuple[int, int]]) -> list[Share]:
    both = [(*sequences, *some) for sequences in ranges for some in passes]
    return [Share(*share, thread) for thread, share in enumerate(both)]


def _ranges(given: Input, parts: int) -> list[tuple[int, int]]:
    """Neighbouring sequences with about as many steps in each of the parts, none of them empty."""
    steps = np.full(given.batch, given.steps) if given.lengths is None else given.lengths
    ends = np.cumsum(steps, dtype=np.float64)
    aims = ends[-1] * np.arange(1, parts + 1) / parts
    cuts = np.unique([0, *(np.abs(ends[:, None] - aims).argmin(0) + 1)]).tolist()
    return list(pairwise(cuts))


def run(net: Any, stages: Sequence[Sequence[Part]]) -> int:
    """Stage by stage, the first of each on this thread; returns the first answer that is not 0."""
    for own, *others in stages:
        workers: list[_Worker] = []
        answers: list[int] = []
        try:
            for part in others:
                workers.append(_free(net))
                workers[-1].offer(*part.job)
            answers.append(own())
        finally:
            # Even if interrupted: they write into memory of the caller's.
            answers += [worker.settle() for worker in workers]
        _idle.extend(workers)
        if failed := [answer for answer in answers if answer]:
            return failed[0]
    return 0


def _free(net: Any) -> _Worker:
    """One that has nothing to do; a new one where there is none. Other threads ask as well."""
    try:
        return _idle.pop()
    except IndexError:
        return _Worker(net)


class _Worker:
    """A thread of this process that takes shares of any network's calls."""

    def __init__(self, net: Any) -> None:
        self._memory = tensors.aligned(64)
        self._memory[:] = 0
        self._place = net.pointer(self._memory, "worker")
        names = "offer", "settle", "serve"
        self._offer, self._settle, self._serve = (net.function(f"_worker_{n}") for n in names)
        # With nobody's core to themselves they would keep others from theirs.
        self._pauses = PAUSES if len(_started) < _cores() - 1 else 0
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._work, name="rnngen", daemon=True).start()
        _started.append(self)

    def offer(self, run: Any, job: Any) -> None:
        """A C function and its argument, which have to stay until it is settled."""
        if self._offer(self._place, run, job):
            self._wake.release()

    def settle(self) -> int:
        """Wait for what was offered, or do it here if the thread has not begun; the C's answer."""
        while (answer := self._settle(self._place)) < 0:
            time.sleep(NAP)
        return int(answer)

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            self._serve(self._place, self._pauses)


def _cores() -> int:
    """Processors that this thread may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_started: list[_Worker] = []  # when they are first needed
_idle: list[_Worker] = []


def _forget() -> None:
    """In a child, which has no threads but its own."""
    _started.clear()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
