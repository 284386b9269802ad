"""Strategy: how a CUDA network's recurrence runs, and what of a multiprocessor it takes.

`sm` keeps one sequence in one multiprocessor, weights in registers and shared memory, for all steps
of a launch. `step` launches a tiled product and the cell for each step, whatever the size. The
figures that `sm` is chosen by are predictions for an H200 from its instruction rates; none was
measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

REGISTERS = 65_536  # of a multiprocessor, 32 bits each
MOST = 255  # registers of a thread
OWN = (38, 6)  # registers of a thread beside its weights: in any case, and for each gate
LOADS = 20  # more where weights come from shared memory: those on their way
SHARED = 99 * 1024  # bytes of a block that every architecture since sm_80 has
MORE_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024}
SCHEDULERS = 4  # of a multiprocessor, each one instruction of a warp a cycle
WARP = 32


@dataclass(frozen=True)
class Residence:
    """One sequence in one multiprocessor.

    `parts` lanes share a unit. Each has every `parts`-th quad (four columns) of the unit's rows of
    W_hh: the first `held` of them in registers, the rest in shared memory.
    """

    gates: int  # G
    hidden: int  # H
    parts: int

    @property
    def lanes(self) -> int:
        """Threads that have work."""
        return self.hidden * self.parts

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        if self.parts == 1:
            return "A lane to a unit, with all of the unit's rows of W_hh, by quads of columns"
        every = "2nd" if self.parts == 2 else f"{self.parts}th"
        return f"{self.parts} lanes to a unit, each with every {every} quad of columns of its W_hh"

    @property
    def last(self) -> int:
        """The last unit."""
        return self.hidden - 1

    @property
    def threads(self) -> int:
        """Whole warps by fours, since registers are given out to four warps at a time."""
        return ceil(self.lanes / 128) * 128

    @property
    def quads(self) -> int:
        """Quads of one gate in one lane."""
        return ceil(self.hidden / 4 / self.parts)

    @property
    def held(self) -> int:
        """Those of them that registers hold."""
        quad = 4 * self.gates
        free = self.registers - OWN[0] - OWN[1] * self.gates
        return self.quads if quad * self.quads <= free else (free - LOADS) // quad

    @property
    def rest(self) -> int:
        """Those in shared memory."""
        return self.quads - self.held

    @property
    def width(self) -> int:
        """Quads of h: H of them, and zeros up to what the lanes read."""
        return self.quads * self.parts

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, then the weights that registers do not hold."""
        return 16 * (2 * self.width + self.gates * self.rest * self.lanes)

    @property
    def registers(self) -> int:
        """Most registers that a thread may take: given out by eights."""
        return min(MOST, REGISTERS // self.threads // 8 * 8)

    @property
    def cycles(self) -> float:
        """Of one step, predicted: products, weights from shared memory, the sum over lanes, the
        special functions of a cell (about ten, sixteen lanes a cycle)."""
        warps = ceil(self.lanes / WARP)
        products = 4 * self.gates * self.quads * ceil(warps / SCHEDULERS)
        shared = self.gates * self.rest * self.lanes * 16 / 128
        exchange = self.gates * log2(self.parts) * warps + 25 * log2(self.parts)
        return products + shared + exchange + 10 * warps * WARP / 16


def residence(gates: int, hidden: int, isa: str) -> Residence | None:
    """The cheapest way to keep float32 weights in one multiprocessor, if they fit."""
    most = MORE_SHARED.get(isa, SHARED)
    ways = [Residence(gates, hidden, parts) for parts in (1, 2, 4, 8, 16)]
    fitting = [way for way in ways if way.threads <= 512 and way.held > 0 and way.shared <= most]
    return min(fitting, key=lambda way: way.cycles, default=None)
