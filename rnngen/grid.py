"""Grid: a network that stays in many multiprocessors, which talk through memory.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import ceil

from rnngen.interleaved import FED, Interleaved
from rnngen.quads import Quads
from rnngen.residence import BY_PACKETS, SCHEDULERS, WAITING, WARP
from rnngen.tiles import LOADS, Tiles

TALKING = 910  # cycles that h takes through L2 to all blocks and into their shared memory
ASKING = 300  # more for each further time that a thread asks for packets
ASKED = 4  # pairs of them at a time
TILED = (48, 8)  # registers of a thread beside weights in 16 bits: in any case, and for each gate


class Grid(Interleaved):
    """Blocks of no cluster, which have to be there at once."""

    cluster = False
    strategy = "grid"
    name = "grid"

    @property
    def summary(self) -> str:
        """How it runs, for the head of the file."""
        return (
            f"{self.blocks} blocks have a set of up to {self.together} sequences for all steps of "
            f"the stretch; each keeps W_hh of {self.units} units in {self.kept_in}. h goes from "
            f"block to block through memory, {BY_PACKETS}. Where there are more sets than the "
            f"device has room for at once, they take turns in each step: h of one is on its way "
            "while others are computed"
        )

    @property
    @abstractmethod
    def pairs(self) -> int:
        """Of packets of one h."""

    @property
    def launched(self) -> str:
        """Which template prints its launches."""
        return "several" if self.shares else "grid"

    def travelling(self, sequences: int) -> int:
        """Cycles that packets of h take to other blocks: their way, then their bytes, or as often
        as threads ask for them."""
        asked = ASKING * (ceil(sequences * self.pairs / self.threads / ASKED) - 1)
        return round(TALKING + max(16 * self.pairs * sequences / FED, asked))

    @property
    def packets(self) -> int:
        """On their way: two h of each sequence, read and written by turns."""
        return self.sets * self.directions * 2 * self.together * 2 * self.pairs


@dataclass(frozen=True)
class GridQuads(Grid, Quads):
    """float32; a packet has a value of h."""

    directions: int = 1

    kind = "grid"
    piece = 4
    stride = "width"
    own_h = "lane"

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
    def multiplied(self) -> int:
        """Cycles of products of a set: or, if that takes longer, of h from shared memory, whose
        quads all units of a warp read together."""
        warps = ceil(self.lanes / WARP)
        return max(self._products(self.together), self.together * self.width * warps * 16 // 128)

    @property
    def busy(self) -> int:
        """Cycles of a step of a set but for h that travels, predicted."""
        step = super()._step(self.together)
        return step - self._products(self.together) + self.multiplied

    def _step(self, sequences: int) -> int:
        """Cycles of a step of so many sequences, with h on its way to other blocks."""
        return super()._step(sequences) + self.travelling(sequences)

    @property
    def spaces(self) -> int:
        """Pairs of values from one sequence's h to the next in shared memory."""
        return 2 * self.width


@dataclass(frozen=True)
class GridTiles(Grid, Tiles):
    """16 bits; a packet has two values of h. All warps of a block share the columns of 16 units.

    A set that takes turns has `eights` of eight sequences, the cells of each in four warps.
    """

    directions: int = 1
    eights: int = 1

    kind = "grid_tensor"
    piece = 8
    stride = "line"
    own_h = "row * line + column"
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
    def turning(self) -> int:
        """Sequences of a set that takes turns."""
        return self.sequences * self.eights

    @property
    def predicted_by_turns(self) -> int:
        """Registers of a thread where sets take turns: more sums of a gate for each eight."""
        return min(self.registers, super().predicted_by_turns + 4 * self.gates * (self.eights - 1))

    @property
    def owners(self) -> int:
        """Warps whose lanes have cells in its turn."""
        return 4 * self.eights

    @property
    def rows(self) -> int:
        """Of h in shared memory then: two for each sequence."""
        return 2 * self.turning

    @property
    def filled(self) -> int:
        """Pieces of 16 bytes in shared memory before what says which sets take turns."""
        return self.rows * self.line + self.kept + self.partial * self.eights // 4

    @property
    def multiplied(self) -> int:
        """Cycles of products in a turn."""
        return self._eight * self.eights

    @property
    def busy(self) -> int:
        """Cycles of a set's turn but for h that travels, predicted."""
        return self._work(self.eights)

    @property
    def cycles(self) -> int:
        """Of one step, predicted, of one sequence: with h on its way to other blocks."""
        return self._work(1) + self.travelling(1)

    @property
    def loads(self) -> tuple[tuple[int, int], ...]:
        """How many sequences it can have at a time, and the cycles of a step of so many."""
        return (1, self.cycles), (self.sequences, self._work(1) + self.travelling(self.sequences))

    @property
    def _eight(self) -> int:
        """Cycles of products for eight sequences."""
        return 16 * self.gates * self.own_spans * ceil(self.splits / SCHEDULERS)

    def _work(self, eights: int) -> int:
        """Cycles of products, weights and h from shared memory, sums of all warps, the special
        functions of a cell in a lane."""
        kept, h = self.kept * 16 / 128, self.lanes * self.own_spans * 16 / 128
        sums, cells = 2 * self.partial * 4 / 128, 10 * 4 * WARP / 16
        return round(WAITING + kept + eights * (self._eight + h + sums + cells))
