"""Grid: a network that stays in many multiprocessors, which talk through memory.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import ceil

from rnngen.quads import Quads
from rnngen.residence import BY_PACKETS, SCHEDULERS, WAITING, WARP, Residence
from rnngen.tiles import LOADS, Tiles

TALKING = 910  # cycles that h takes through L2 to all blocks and into their shared memory
ASKING = 300  # more for each further time that a thread asks for packets
ASKED = 4  # pairs of them at a time
TILED = (48, 8)  # registers of a thread beside weights in 16 bits: in any case, and for each gate
MOST = 256  # blocks of a launch at most, which says how much memory they talk through


class Grid(Residence):
    """Blocks of no cluster, which have to be there at once."""

    cluster = False
    strategy = "grid"
    name = "grid"

    directions: int  # that are there at once

    @property
    def summary(self) -> str:
        """How it runs, for the head of the file."""
        return (
            f"{self.blocks} blocks have up to {self.together} sequences for all steps of the "
            f"stretch; each keeps W_hh of {self.units} units in {self.kept_in}. h goes from block "
            f"to block through memory, {BY_PACKETS}"
        )

    @property
    @abstractmethod
    def together(self) -> int:
        """Sequences of a set at most."""

    @property
    @abstractmethod
    def pairs(self) -> int:
        """Of packets of one h."""

    @property
    def launched(self) -> str:
        """Which template prints its launches."""
        return "several" if self.shares else "grid"

    @property
    def sending(self) -> int:
        """Cycles that h takes to other blocks."""
        return TALKING

    @property
    def resident(self) -> int:
        """Blocks that have to be there at once."""
        return self.blocks * self.directions

    @property
    def sets(self) -> int:
        """Of sequences that are there at once at most."""
        return max(1, MOST // self.resident)

    @property
    def packets(self) -> int:
        """On their way: two h of each sequence, read and written by turns."""
        return self.sets * self.directions * 2 * self.together * 2 * self.pairs


@dataclass(frozen=True)
class GridQuads(Grid, Quads):
    """float32; a packet has a value of h."""

    directions: int = 1

    kind = "grid"

    @property
    def together(self) -> int:
        """Sequences of a set at most."""
        return self.many

    @property
    def kernel(self) -> str:
        """Its name in C++, behind the network's."""
        return f"{self.name}<1>"

    @property
    def units(self) -> int:
        """Of a block: by pairs, since two packets are received at once."""
        return 2 * ceil(self.hidden / self.blocks / 2)

    @property
    def pairs(self) -> int:
        """Of packets of one h."""
        return ceil(self.hidden / 2)

    @property
    def spaces(self) -> int:
        """Pairs of values from one sequence's h to the next in shared memory."""
        return 2 * self.width


@dataclass(frozen=True)
class GridTiles(Grid, Tiles):
    """16 bits; a packet has two values of h. All warps of a block share the columns of 16 units."""

    directions: int = 1

    kind = "grid_tensor"
    units = 16
    together = Tiles.sequences
    fetched = LOADS

    @property
    def kernel(self) -> str:
        """Its name in C++, behind the network's."""
        return f"{self.name}<8>"

    @property
    def sharing(self) -> str:
        """Who has which weights, for a comment."""
        return f"{self.whose}{self.splits} warps share the columns of W_hh by spans of 32"

    @property
    def staff(self) -> str:
        """Who a block's threads are, for a comment."""
        return f"{self.splits} warps to 16 units"

    @property
    def beside(self) -> int:
        """Registers beside weights, but for such as come from shared memory."""
        return TILED[0] + TILED[1] * self.gates

    @property
    def pairs(self) -> int:
        """Of packets of one h."""
        return ceil(self.hidden / 4)

    @property
    def spaces(self) -> int:
        """Fours of numbers from one sequence's h to the next in shared memory."""
        return 2 * self.line

    @property
    def partial(self) -> int:
        """Sums that the warps add up together."""
        return self.splits * self.gates * 4 * WARP

    @property
    def shared(self) -> int:
        """Bytes of shared memory: two h by turns, weights, sums."""
        return 16 * (2 * self.sequences * self.line + self.kept) + 4 * self.partial

    @property
    def cycles(self) -> int:
        """Of one step, predicted: products, weights and h from shared memory, sums of all warps,
        the special functions of a cell in a lane, the way to other blocks."""
        products = 16 * self.gates * self.own_spans * ceil(self.splits / SCHEDULERS)
        shared = (self.kept + self.lanes * self.own_spans) * 16 / 128 + 2 * self.partial * 4 / 128
        rounds = ceil(self.sequences * self.pairs / self.threads / ASKED)
        cells = 10 * 4 * WARP / 16
        return round(WAITING + products + shared + cells + self.sending + ASKING * (rounds - 1))
