"""How threads share a call: sequences of a batch, and the directions of a layer, side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rnngen.calls import Input
from rnngen.plan import Plan

WAKING = 5_000_000  # multiply-adds that are done until a sleeping thread begins, some 50 us
MIN_WORK = 2 * WAKING  # that one more thread is worth
MIN_ROWS = 12  # sequences that one thread should have: tiles of fewer do less with what they read


class Share(NamedTuple):
    """What one thread does, as the C has it: ranges of sequences and passes, and its number."""

    first: int
    end: int
    first_pass: int
    end_pass: int
    thread: int


Part = Callable[[], int]  # which gives back 0, or the C's error
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
        lead = WAKING / plan.weights_size
        return [_side_by_side(_ranges(given, most, lead), [(0, passes)])]
    ranges = _ranges(given, most // 2)
    layers = range(0, passes, 2)
    return [_side_by_side(ranges, [(p, p + 1), (p + 1, p + 2)]) for p in layers]


def whole(plan: Plan, given: Input) -> Share:
    """All of a call."""
    return Share(0, given.batch, 0, len(plan.steps), 0)


def _side_by_side(ranges: list[tuple[int, int]], passes: list[tuple[int, int]]) -> list[Share]:
    both = [(*sequences, *some) for sequences in ranges for some in passes]
    return [Share(*share, thread) for thread, share in enumerate(both)]


def _ranges(given: Input, parts: int, lead: float = 0) -> list[tuple[int, int]]:
    """Neighbouring sequences with about as many steps in each of the parts, none of them empty.

    The first is this thread's, which has a lead of so many steps over those that have to wake.
    """
    steps = np.full(given.batch, given.steps) if given.lengths is None else given.lengths
    ends = np.cumsum(steps, dtype=np.float64)
    aims = lead + (ends[-1] - lead) * np.arange(1, parts + 1) / parts
    cuts = np.unique([0, *(np.abs(ends[:, None] - aims).argmin(0) + 1)]).tolist()
    return list(pairwise(cuts))


def run(stages: Sequence[Sequence[Part]]) -> int:
    """Stage by stage, the first of each on this thread; returns the first answer that is not 0."""
    for own, *others in stages:
        futures = [_pool().submit(other) for other in others]
        try:
            code = own()
        finally:
            wait(futures)  # even if interrupted: they write into memory of the caller's
        if failed := [code for code in (code, *(f.result() for f in futures)) if code]:
            return failed[0]
    return 0


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads of this process, started when they are first needed."""
    return ThreadPoolExecutor(max_workers=max(64, os.cpu_count() or 1), thread_name_prefix="rnngen")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has no threads but its own
