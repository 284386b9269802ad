"""What one core of this machine can do, measured and kept: the floor under a network's times.

The C that is timed is in templates/c/measure.c.j2.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import log2, prod
from pathlib import Path
from typing import Any

import numpy as np

from rnngen import build, cache, compiler, render
from rnngen.build import Library, Source
from rnngen.dtypes import DTYPES, DType
from rnngen.model import Pass
from rnngen.plan import Plan
from rnngen.targets import NATIVE, TARGETS

SIZES = tuple(2**n for n in range(14, 27))  # bytes read over and over: 16 KiB to 64 MiB
SECONDS = 4.0  # what all is measured in, by turns, so that a busy moment spoils no figure
PINNED = hasattr(os, "sched_setaffinity")  # Linux can

_ROUNDS = 200_000  # of multiply-adds in a sample, about a millisecond
_BYTES = 2**27  # read in a sample, or a whole buffer
_PAGE = 4096
_FILE = "machine.json"


@dataclass(frozen=True)
class Machine:
    """One core's limits."""

    flops: float  # float32 operations a second, a multiply-add being two
    bandwidth: dict[int, float]  # bytes read over and over -> bytes a second

    def flops_for(self, dtype: DType) -> float:
        """Operations a second in a dtype: a vector holds half as many numbers twice as wide."""
        return self.flops * DTYPES["float32"].bytes / dtype.bytes

    def bandwidth_for(self, size: int) -> float:
        """Bytes a second where `size` bytes are read over and over, interpolated."""
        sizes = sorted(self.bandwidth)
        rates = [self.bandwidth[n] for n in sizes]
        return float(np.interp(log2(max(size, 1)), [log2(n) for n in sizes], rates))

    def floor(self, plan: Plan, steps: int, batch: int) -> float:
        """Seconds that a call over T steps of B sequences takes at this core's limits.

        Each pass multiplies all steps by W_ih at once, as the sequence is known, then step after
        step by W_hh (and W_hr). A product with n weights takes the longer of two times:

            2 n B / flops        arithmetic; T times that for W_ih
            n bytes / bandwidth  reading the weights: once for W_ih, once a step for W_hh

        The bandwidth is that of what is read over and over: a pass's own W_hh from its second step
        on, the whole network before, if it is called again and again. Activations, the latency of a
        step and the reading of x are not counted, so small networks stay well above. An estimate:
        W_ih could be multiplied while W_hh is read, and near a cache's size bandwidth is a guess.
        """
        whole = plan.model.num_weights * plan.dtype.bytes
        return sum(self._floor(op, plan.dtype, whole, steps, batch) for op in plan.model.passes)

    def _floor(self, op: Pass, dtype: DType, whole: int, steps: int, batch: int) -> float:
        sizes = {name: prod(shape) for name, shape in op.params.items() if len(shape) == 2}
        given = sizes.pop(f"weight_ih_{op.field}")
        fed_back = sum(sizes.values())

        def product(weights: int, rows: int, read_over: int) -> float:
            reading = weights * dtype.bytes / self.bandwidth_for(read_over)
            return max(2 * weights * rows / self.flops_for(dtype), reading)

        first = product(given, steps * batch, whole) + product(fed_back, batch, whole)
        return first + (steps - 1) * product(fed_back, batch, fed_back * dtype.bytes)


def measure() -> Machine:
    """Measure one core, in a few seconds, and keep the figures. Raises BuildError."""
    library = build.module(_source(), TARGETS["c"])
    with pinned():
        flops, *rates = _best(_samples(library))
    machine = Machine(flops, dict(zip(SIZES, _falling(rates), strict=True)))
    cache.entry(_key(), _FILE, lambda folder: _write(folder, machine), again=True)
    return machine


def known() -> Machine | None:
    """What was measured on this processor with this compiler, if it was. Raises BuildError."""
    text = cache.read(_key(), _FILE)
    if text is None:
        return None
    record = json.loads(text)
    return Machine(record["flops"], {int(n): rate for n, rate in record["bandwidth"].items()})


@contextmanager
def pinned() -> Iterator[None]:
    """On one core, the first of those allowed; as before afterwards."""
    cores = os.sched_getaffinity(0) if PINNED else set()
    try:
        if cores:
            os.sched_setaffinity(0, {min(cores)})
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def _source() -> Source:
    files = render.measuring()
    flags = (*TARGETS["c"].flags, *NATIVE)
    return Source(render.digested("measure", files.values()), files, files["measure.h"], flags)


def _key() -> str:
    source = _source()
    return build.key(replace(source, name=f"{source.name}/{_FILE}"), compiler.find(TARGETS["c"]))


def _samples(library: Library) -> list[Callable[[], float]]:
    """What to time, each returns how much it did: arithmetic, then reading of every size."""
    lib, ffi = library.lib, library.ffi
    sum_ = ffi.new("double *")
    memory = np.ones(max(SIZES) // 4 + 16, np.float32)
    aligned = memory[-memory.ctypes.data % 64 // 4 :]
    buffer = ffi.from_buffer("float *", aligned)

    dice = random.Random(0)

    def read(size: int) -> Callable[[], float]:
        """Somewhere in the memory each time: some pages share places in a cache with others."""
        rounds, starts = max(1, _BYTES // size), range(0, max(SIZES) - size + 1, _PAGE)
        return lambda: lib.measure_read(buffer + dice.choice(starts) // 4, size, rounds, sum_)

    return [lambda: lib.measure_flops(_ROUNDS, sum_), *map(read, SIZES)]


def _best(samples: Sequence[Callable[[], float]]) -> list[float]:
    """The highest rate of each, by turns until the time is up."""
    best = [0.0] * len(samples)
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        for n, sample in enumerate(samples):
            amount = sample()
            stop = time.perf_counter()
            best[n] = max(best[n], amount / (stop - start))
            start = stop
    return best


def _falling(rates: Sequence[float]) -> list[float]:
    """None below one further on: where more is read that fast, less can be."""
    return list(accumulate(reversed(rates), max))[::-1]


def _write(folder: Path, machine: Machine) -> int:
    record: dict[str, Any] = asdict(machine)
    (folder / _FILE).write_text(json.dumps(record))
    return 0  # no code
