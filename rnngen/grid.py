"""Grid: a float32 network that stays in many multiprocessors, which talk through memory.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from rnngen.quads import Quads

TALKING = 910  # cycles that h takes through L2 to all blocks and into their shared memory
MOST = 256  # blocks of a launch at most, which says how much memory they talk through


@dataclass(frozen=True)
class Grid(Quads):
    """Quads in blocks of no cluster: units by pairs, since two values of h are received at once."""

    directions: int = 1  # that are there at once

    cluster = False
    strategy = "grid"
    name = "grid"
    kind = "grid"

    @property
    def kernel(self) -> str:
        """Its name in C++, behind the network's."""
        return f"{self.name}<1>"

    @property
    def units(self) -> int:
        """Of a block."""
        return 2 * ceil(self.hidden / self.blocks / 2)

    @property
    def sending(self) -> int:
        """Cycles that h takes to other blocks."""
        return TALKING

    @property
    def resident(self) -> int:
        """Blocks that have to be there at once."""
        return self.blocks * self.directions

    @property
    def pairs(self) -> int:
        """Of numbers of one h."""
        return ceil(self.hidden / 2)

    @property
    def sets(self) -> int:
        """Of sequences, `many` to each, that are there at once at most."""
        return max(1, MOST // self.resident)

    @property
    def packets(self) -> int:
        """Numbers on their way: two h of each sequence, read and written by turns."""
        return self.sets * self.directions * 2 * self.many * 2 * self.pairs
