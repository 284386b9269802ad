"""Residence: what of a multiprocessor a network takes that stays in it, and how long a step is.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil, log2

REGISTERS = 65_536  # of a multiprocessor, 32 bits each
MOST = 255  # registers of a thread
OWN = (38, 6)  # registers of a thread beside its weights: in any case, and for each gate
TILED = (48, 8)  # the same where it multiplies tiles
EXCHANGING = 24  # more in a cluster: addresses in other blocks, four h
LOADS = 20  # more where weights come from shared memory: those on their way
SCHEDULERS = 4  # of a multiprocessor, each one instruction of a warp a cycle
WARP = 32
SENDING = 225  # cycles that h takes to another multiprocessor, beyond those of a barrier


@dataclass(frozen=True)
class Residence(ABC):
    """Sequences in one multiprocessor, or the `blocks` of a cluster."""

    gates: int  # G
    hidden: int  # H
    blocks: int

    @property
    def name(self) -> str:
        """Of the strategy."""
        return "cluster" if self.cluster else "sm"

    @property
    def cluster(self) -> bool:
        return self.blocks > 1

    @property
    @abstractmethod
    def units(self) -> int:
        """Of a block."""

    @property
    def active(self) -> int:
        """Blocks that have units."""
        return ceil(self.hidden / self.units)

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Threads of a block that have work."""

    @property
    def threads(self) -> int:
        """Whole warps by fours, since registers are given out to four warps at a time."""
        return ceil(self.lanes / 128) * 128

    @property
    def registers(self) -> int:
        """Most registers that a thread may take: given out by eights."""
        return min(MOST, REGISTERS // self.threads // 8 * 8)

    @property
    @abstractmethod
    def words(self) -> int:
        """Registers of a thread that hold weights."""

    @property
    @abstractmethod
    def shared(self) -> int:
        """Bytes of shared memory."""

    @property
    @abstractmethod
    def cycles(self) -> float:
        """Of one step, predicted."""

    @property
    def last(self) -> int:
        """The last unit."""
        return self.hidden - 1

    @property
    def whose(self) -> str:
        """Who has which units, for a comment."""
        return f"{self.units} units to each of {self.blocks} blocks; " if self.cluster else ""


@dataclass(frozen=True)
class Quads(Residence):
    """One sequence in float32.

    `parts` lanes share a unit. Each has every `parts`-th quad (four columns) of the unit's rows of
    W_hh: the first `held` of them in registers, the rest in shared memory.
    """

    parts: int

    sequences = 1  # at a time

    @property
    def units(self) -> int:
        """Of a block; in a cluster by fours, which travel together."""
        return ceil(self.hidden / self.blocks / 4) * 4 if self.cluster else self.hidden

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
        if self.parts == 1:
            return f"{self.whose}a lane to a unit, with all its rows of W_hh, by quads of columns"
        every = "2nd" if self.parts == 2 else f"{self.parts}th"
        return f"{self.whose}{self.parts} lanes to a unit, each with every {every} quad of its W_hh"

    @property
    def last_own(self) -> int:
        """The last unit of a block."""
        return self.units - 1

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
    def words(self) -> int:
        """Registers of a thread that hold weights."""
        return 4 * self.gates * self.held

    @property
    def rest(self) -> int:
        """Quads in shared memory."""
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
    def cycles(self) -> float:
        """Of one step, predicted: products, weights from shared memory, the sum over lanes, the
        special functions of a cell (about ten, sixteen lanes a cycle), the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        products = 4 * self.gates * self.quads * ceil(warps / SCHEDULERS)
        shared = self.kept * 16 / 128
        exchange = self.gates * log2(self.parts) * warps + 25 * log2(self.parts)
        return products + shared + exchange + 10 * warps * WARP / 16 + SENDING * self.cluster


@dataclass(frozen=True)
class Tiles(Residence):
    """Eight sequences in 16 bits, by tensor cores.

    A warp has 16 units. Its rows of W_hh come in spans of 32 columns, sixteen numbers of a gate to
    a lane: the first `held` of them in registers, the rest in shared memory.
    """

    sequences = 8  # at a time

    @property
    def units(self) -> int:
        """Of a block, by warps."""
        return ceil(self.hidden / self.blocks / 16) * 16

    @property
    def lanes(self) -> int:
        """Threads of a block that have work."""
        return self.units // 16 * WARP

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.threads // WARP

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        return f"{self.whose}16 units to a warp, with all of their rows of W_hh"

    @property
    def spans(self) -> int:
        """Of 32 columns."""
        return ceil(self.hidden / 32)

    @property
    def held(self) -> int:
        """Those of them that registers hold."""
        span = 8 * self.gates
        free = self.registers - TILED[0] - TILED[1] * self.gates - EXCHANGING * self.cluster
        return self.spans if span * self.spans <= free else (free - LOADS) // span

    @property
    def words(self) -> int:
        """Registers of a thread that hold weights: two numbers each."""
        return 8 * self.gates * self.held

    @property
    def rest(self) -> int:
        """Spans in shared memory."""
        return self.spans - self.held

    @property
    def line(self) -> int:
        """Eights of numbers from one sequence's h to the next: an odd number of spans, so that
        sequences lie on other banks."""
        return 4 * (self.spans | 1)

    @property
    def kept(self) -> int:
        """Eights of weights in shared memory."""
        return 2 * self.gates * self.rest * self.threads

    @property
    def staged(self) -> int:
        """Eights of h on their way to other blocks."""
        return 2 * self.sequences * self.warps * self.cluster

    @property
    def behind(self) -> int:
        """Eights before a cluster's barriers, h apart."""
        return self.kept + self.staged

    @property
    def second(self) -> int:
        """Sums of x from a unit to the eighth after it, a lane's other one."""
        return 8 * self.gates

    @property
    def arriving(self) -> int:
        """Bytes of h that reach a block of a cluster in a step."""
        return 32 * self.sequences * ceil(self.hidden / 16)

    @property
    def turns(self) -> int:
        """That a warp takes to send to all blocks: sixteen eights, so two blocks at a time."""
        return ceil(self.active / 2)

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, weights, in a cluster h to send, two barriers."""
        h = 2 * self.sequences * self.line
        return 16 * (h + self.kept + self.staged + self.cluster)

    @property
    def cycles(self) -> float:
        """Of one step, predicted: products (eight cycles for 16 columns), weights and h from shared
        memory, the special functions of four cells in a lane, the way to other blocks."""
        warps = ceil(self.lanes / WARP)
        products = 16 * self.gates * self.spans * ceil(warps / SCHEDULERS)
        shared = (self.kept + warps * WARP * self.spans) * 16 / 128
        return products + shared + 4 * 10 * warps * WARP / 16 + (SENDING + 60) * self.cluster
