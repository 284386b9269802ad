"""The floor under a step's time on a CUDA device, which no way of keeping weights there can beat.

A step of a recurrence waits for the one before: h has to arrive, be multiplied, summed, go through
the cell and be seen by all who need it. None of it was measured here: latencies are what others
found on H100 and later, rates are NVIDIA's. The sums of x, which can be made before, cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

MHZ = 1980  # of an H200 at most; where nvidia-smi does not say
# Multiply-adds of a multiprocessor in a cycle: float32; 16 bits by tensor cores, sums in float32.
RATES = {"sm_90": (128, 2048), "sm_100": (128, 4096), "sm_120": (128, 256)}
KEPT = 390 * 1024  # bytes of weights in its registers and shared memory, beside all else
STREAMED = 2800  # bytes that L2 gives all of them in a cycle, where weights do not fit: 5.3 TB/s
ROWS = 8  # sequences that tensor cores multiply at least, be there fewer
CELL = 170  # cycles: sigmoid, then tanh of the new c, both by two special functions


@dataclass(frozen=True)
class Way:
    """Cycles that a step waits beside its multiply-adds and its cell, by who shares a network."""

    arriving: int  # h is noticed and read from shared memory
    summing: int  # lanes' sums are added up, by shuffles
    publishing: int  # h is written where others see it

    @property
    def cycles(self) -> int:
        return self.arriving + self.summing + CELL + self.publishing


SM = Way(30, 75, 60)  # a read of shared memory; written there, and a barrier
CLUSTER = Way(50, 75, 235)  # an mbarrier is tried; st.async to another multiprocessor
GRID = Way(90, 100, 850)  # through shared memory; a write to L2 and a read that is repeated


def seconds(
    gates: int, hidden: int, batch: int, half: bool, device: dict[str, Any], passes: int = 1
) -> float | None:
    """Of a step of so many sequences, in each of `passes` layers and directions; None: unknown."""
    if device["architecture"] not in RATES:
        return None
    ways = [cycles(gates, hidden, batch, half, device, passes)]
    ways.append(passes * cycles(gates, hidden, batch, half, device, 1))  # one after the other
    return min(ways) / (float(device.get("clock_mhz") or MHZ) * 1e6)


def cycles(
    gates: int, hidden: int, batch: int, half: bool, device: dict[str, Any], together: int
) -> float:
    """Of a step in so many layers and directions at once."""
    rate, processors = RATES[device["architecture"]][half], int(device["multiprocessors"])
    weights, found = gates * hidden * hidden, []
    for many in (1, 2, 4, 8, 16, max(1, processors // together)):  # that share a layer
        way = SM if many == 1 else CLUSTER if many <= 16 else GRID
        sets = min(batch, max(1, processors // (many * together)))  # of sequences, at once
        each = ceil(batch / sets)
        products = weights * (ceil(each / ROWS) * ROWS if half else each) / (many * rate)
        lacking = max(0, weights * (2 if half else 4) - many * KEPT) * sets * together
        found.append(way.cycles + products + lacking / STREAMED)
    return min(found)
