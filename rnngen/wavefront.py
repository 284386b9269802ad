"""Wavefront: all layers of a network at once, each in a multiprocessor beside those below.

A layer makes a step as soon as the layer below has made it. The figures are predictions for an H200
from its instruction rates; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from rnngen.grid import MOST
from rnngen.quads import OWN, Quads

FOLLOWING = 60  # cycles of a step beside those of a layer alone: packets asked for and counted
COLUMNS = 16  # that products add up by themselves: depth of cuda/product.j2
CHAIN = COLUMNS // 4  # quads of them


@dataclass(frozen=True)
class Wavefront(Quads):
    """float32; a layer as strategy sm or cluster has it, and as many blocks that multiply its x.

    Of the lowest layer its sums are there before.
    """

    layers: int = 2

    strategy = "wavefront"
    name = "wavefront"
    kernel = "wavefront"
    shares = False
    launched = "wavefront"
    columns = COLUMNS
    chain = CHAIN
    ring = 32  # steps of which h and sums can be on their way
    half = ring // 2

    @property
    def kind(self) -> str:
        """Which template prints the kernel."""
        return "wavefront_cluster" if self.cluster else "wavefront"

    @property
    def layered(self) -> str:
        """The kernel that has layer by layer, behind the network's name."""
        return f"cluster{self.blocks}" if self.cluster else "sm"

    @property
    def top(self) -> int:
        """The last layer."""
        return self.layers - 1

    @property
    def resident(self) -> int:
        """Blocks of a sequence, which have to be there at once."""
        return self.roles * self.blocks

    @property
    def roles(self) -> int:
        """Layers, and products of x beside all but the lowest."""
        return 2 * self.layers - 1

    @property
    def sets(self) -> int:
        """Sequences that are there at once at most."""
        return max(1, MOST // self.resident)

    @property
    def rows(self) -> int:
        """Sums of one step."""
        return self.gates * self.hidden

    @property
    def own_rows(self) -> int:
        """And of one block."""
        return self.gates * self.units

    @property
    def input_each(self) -> int:
        """Of which a thread adds up so many."""
        return ceil(self.own_rows / self.threads)

    @property
    def pairs(self) -> int:
        """Of packets of one h."""
        return ceil(self.hidden / 2)

    @property
    def packed(self) -> int:
        """Packets of one h."""
        return 2 * self.pairs

    @property
    def between(self) -> int:
        """Packets between two layers of a sequence: h, sums, how far they have been read."""
        return self.ring * (self.packed + self.rows) + 2

    @property
    def links(self) -> int:
        """Packets of a sequence."""
        return self.top * self.between

    @property
    def packets(self) -> int:
        """Packets of as many sequences as there can be at once."""
        return self.sets * self.links

    @property
    def chains(self) -> int:
        """Of columns of W_ih."""
        return ceil(self.hidden / COLUMNS)

    @property
    def input_parts(self) -> int:
        """Lanes to a unit, each with every so manyth chain."""
        free = min(self.chains, self.threads // self.units)
        return 1 << free.bit_length() - 1

    @property
    def input_lanes(self) -> int:
        """Threads that have work."""
        return self.units * self.input_parts

    @property
    def input_held(self) -> int:
        """Quads of one gate in one lane, all in registers."""
        return ceil(self.chains / self.input_parts) * CHAIN

    @property
    def input_width(self) -> int:
        """Quads of h: H of them, and zeros up to what the lanes read."""
        return self.input_held * self.input_parts

    @property
    def spaces(self) -> int:
        """Pairs of values from one sequence's h to the next in shared memory."""
        return 2 * self.input_width

    @property
    def possible(self) -> bool:
        """Whether registers hold all of W_ih."""
        return 4 * self.gates * self.input_held <= self.registers - OWN

    @property
    def shared(self) -> int:
        """Bytes of shared memory of either kind of block: two h by turns, sums of chains."""
        sums = self.input_width // CHAIN * self.own_rows
        return max(super().shared, 16 * 2 * self.input_width + 4 * sums)

    @property
    def cycles(self) -> int:
        """Of one step in all layers, predicted."""
        return self.alone + FOLLOWING

    @property
    def alone(self) -> int:
        """Of one step in one layer, without the others."""
        return super().cycles
