"""Strategy: how a CUDA network's recurrence runs, and what of a multiprocessor it takes.

`sm` keeps one sequence in one multiprocessor, weights in registers and shared memory, for all steps
of a launch. `cluster` does so with 2, 4 or 8 multiprocessors, each with its share of the units.
`step` launches a tiled product and the cell for each step, whatever the size. The figures that
they are chosen by are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log2

REGISTERS = 65_536  # of a multiprocessor, 32 bits each
MOST = 255  # registers of a thread
OWN = (38, 6)  # registers of a thread beside its weights: in any case, and for each gate
EXCHANGING = 24  # more in a cluster: addresses in other blocks, four h
LOADS = 20  # more where weights come from shared memory: those on their way
SHARED = 99 * 1024  # bytes of a block that every architecture since sm_80 has
MORE_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024}
CLUSTERS = ("sm_90", "sm_100", "sm_120")  # architectures that have them
UNKNOWN = ("auto", "native")  # values of isa that leave open which architecture it is
SCHEDULERS = 4  # of a multiprocessor, each one instruction of a warp a cycle
WARP = 32
SENDING = 225  # cycles that h takes to another multiprocessor, beyond those of a barrier
ENOUGH = 1.25  # a cluster of half the blocks takes twice the sequences: worth a quarter of the time


@dataclass(frozen=True)
class Residence:
    """One sequence in one multiprocessor, or the `blocks` of a cluster.

    `parts` lanes share a unit. Each has every `parts`-th quad (four columns) of the unit's rows of
    W_hh: the first `held` of them in registers, the rest in shared memory.
    """

    gates: int  # G
    hidden: int  # H
    parts: int
    blocks: int = 1

    @property
    def name(self) -> str:
        """Of the strategy."""
        return "cluster" if self.cluster else "sm"

    @property
    def cluster(self) -> bool:
        return self.blocks > 1

    @property
    def units(self) -> int:
        """Of a block; in a cluster by fours, which travel together."""
        return ceil(self.hidden / self.blocks / 4) * 4 if self.cluster else self.hidden

    @property
    def active(self) -> int:
        """Blocks that have units."""
        return ceil(self.hidden / self.units)

    @property
    def lanes(self) -> int:
        """Threads of a block that have work."""
        return self.units * self.parts

    @property
    def four(self) -> int:
        """Lanes of four units."""
        return 4 * self.parts

    @property
    def turns(self) -> int:
        """That they take to send to all blocks."""
        return ceil(self.active / self.four)

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        whose = f"{self.units} units to each of {self.blocks} blocks; " if self.cluster else ""
        if self.parts == 1:
            return f"{whose}a lane to a unit, with all of its rows of W_hh, by quads of columns"
        every = "2nd" if self.parts == 2 else f"{self.parts}th"
        return f"{whose}{self.parts} lanes to a unit, each with every {every} quad of its W_hh"

    @property
    def last(self) -> int:
        """The last unit."""
        return self.hidden - 1

    @property
    def last_own(self) -> int:
        """The last unit of a block."""
        return self.units - 1

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
        free = self.registers - OWN[0] - OWN[1] * self.gates - EXCHANGING * self.cluster
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
    def kept(self) -> int:
        """Quads of weights in shared memory."""
        return self.gates * self.rest * self.lanes

    @property
    def arriving(self) -> int:
        """Bytes of h that reach a block of a cluster in a step."""
        return 16 * ceil(self.hidden / 4)

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, weights, in a cluster two barriers."""
        return 16 * (2 * self.width + self.kept + self.cluster)

    @property
    def registers(self) -> int:
        """Most registers that a thread may take: given out by eights."""
        return min(MOST, REGISTERS // self.threads // 8 * 8)

    @property
    def cycles(self) -> float:
        """Of one step, predicted: products, weights from shared memory, the sum over lanes, the
        special functions of a cell (about ten, sixteen lanes a cycle), the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        products = 4 * self.gates * self.quads * ceil(warps / SCHEDULERS)
        shared = self.kept * 16 / 128
        exchange = self.gates * log2(self.parts) * warps + 25 * log2(self.parts)
        return products + shared + exchange + 10 * warps * WARP / 16 + SENDING * self.cluster


def choose(gates: int, hidden: int, isa: str) -> tuple[Residence, ...]:
    """Ways to keep float32 weights on the chip: the best, and one for devices without clusters.

    None if they do not fit; one alone if the best needs no cluster, or `isa` says that there are.
    """
    alone, together = single(gates, hidden, isa), cluster(gates, hidden, isa)
    if alone and (not together or alone.cycles <= ENOUGH * together.cycles):
        return (alone,)
    if together:
        return (together, alone) if alone and isa in UNKNOWN else (together,)
    return ()


def single(gates: int, hidden: int, isa: str) -> Residence | None:
    """The cheapest way in one multiprocessor, if there is one."""
    most = MORE_SHARED.get(isa, SHARED)
    ways = _fitting((Residence(gates, hidden, parts) for parts in (1, 2, 4, 8, 16)), most)
    return min(ways, key=lambda way: way.cycles, default=None)


def cluster(gates: int, hidden: int, isa: str) -> Residence | None:
    """The fewest blocks that are about as fast as any, if some fit."""
    if isa not in UNKNOWN and isa not in CLUSTERS:
        return None
    most = MORE_SHARED[CLUSTERS[0]] if isa in UNKNOWN else MORE_SHARED.get(isa, SHARED)
    ways = [Residence(gates, hidden, p, blocks) for blocks in (2, 4, 8) for p in (1, 2, 4, 8)]
    fitting = _fitting(ways, most)
    best = min((way.cycles for way in fitting), default=0.0)
    near = [way for way in fitting if way.cycles <= ENOUGH * best]
    return min(near, key=lambda way: (way.blocks, way.cycles), default=None)


def _fitting(ways: Iterable[Residence], most: int) -> list[Residence]:
    """Those that a block has threads, registers and `most` bytes of shared memory for."""
    return [way for way in ways if way.threads <= 512 and way.held > 0 and way.shared <= most]
