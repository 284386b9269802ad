"""How threads share a call: sequences of a batch, and the directions of a layer, side by side."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnngen import tensors
from rnngen.calls import Input
from rnngen.plan import Plan

MIN_WORK = 10_000_000  # multiply-adds that one more thread is worth, some 100 us
# That a thread stays awake for: 0.2 ms or a few times as much, where waking takes a quarter of it.
PAUSES = 20_000
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
        try:
            answers = _stage(net, own, others, workers)
        except BaseException:
            for worker in workers:
                worker.settle()  # again, if the first time was interrupted
                worker.wake()  # as it may have been offered something and not called
            raise
        finally:
            _idle.extend(workers)
        if failed := [answer for answer in answers if answer]:
            return failed[0]
    return 0


def _stage(net: Any, own: Part, others: Sequence[Part], workers: list[_Worker]) -> list[int]:
    """Answers of all parts; which workers took some. They end before this does, interrupted or not,
    as they write into memory of the caller's.
    """
    answers = []
    try:
        for part in others:
            if not (worker := _free(net)):
                break
            workers.append(worker)
            worker.offer(*part.job)
        answers += [part() for part in (own, *others[len(workers) :])]
    finally:
        answers += [worker.settle() for worker in workers]
    return answers


def _free(net: Any) -> _Worker | None:
    """One that has nothing to do, or a new one. None if there can be none: where the interpreter
    ends, a thread would not begin.
    """
    try:
        return _idle.pop()
    except IndexError:  # other threads take some, too
        pass
    try:
        return None if sys.is_finalizing() else _Worker(net)
    except RuntimeError:
        return None


class _Worker:
    """A thread of this process that takes shares of any network's calls."""

    def __init__(self, net: Any) -> None:
        self._memory = tensors.aligned(64)
        self._memory[:] = 0
        self._place = net.pointer(self._memory, "worker")
        names = "offer", "settle", "serve"
        self._offer, self._settle, self._serve = (net.function(f"_worker_{n}") for n in names)
        self._call = threading.Lock()
        self._call.acquire()
        self._number = len(_started)
        threading.Thread(target=self._work, name="rnngen", daemon=True).start()
        _started.append(self)

    def offer(self, run: Any, job: Any) -> None:
        """A C function and its argument, which have to stay until it is settled."""
        if self._offer(self._place, run, job):
            self.wake()

    def wake(self) -> None:
        """Call the thread, which may be awake."""
        if self._call.locked():
            self._call.release()

    def settle(self) -> int:
        """Wait for what was offered, or do it here if the thread has not begun; the C's answer."""
        return int(self._settle(self._place))

    def _work(self) -> None:
        while True:
            self._call.acquire()
            # With nobody's core to themselves threads would keep others from theirs.
            alone = self._number < _cores() - 1
            self._serve(self._place, PAUSES if alone else 0)


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
