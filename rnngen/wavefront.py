"""Wavefront: all layers at once, each in a multiprocessor or cluster, a step behind the one below.

The figures are predictions for an H200 from its instruction rates; none was measured.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import ceil

from rnngen.interleaved import MOST
from rnngen.quads import LOADS as LOADED
from rnngen.quads import OWN, Quads
from rnngen.residence import BY_PACKETS, MEETING, SCHEDULERS, WARP, Residence
from rnngen.tiles import LOADS, Tiles

FOLLOWING = 60  # cycles of a step beside those of a layer alone: packets asked for and counted
FROM_L2 = 64  # bytes that a multiprocessor gets in a cycle
COLUMNS = 16  # that products add up by themselves: those of a tile in cuda/product.j2
CHAIN = COLUMNS // 4  # quads of them
PACKETS = 20  # registers of a thread for them, in 16 bits
FETCHING = 16  # registers of a thread more, where weights come from shared memory


class Wavefront(Residence):
    """A layer as strategy sm or cluster has it; as many blocks for its x, but for the lowest."""

    strategy = name = kernel = launched = "wavefront"
    shares = False
    ring = 32  # steps of which h and sums can be on their way
    half = ring // 2

    layers: int

    @property
    def layered(self) -> str:
        """The kernel that has layer by layer, behind the network's name."""
        return f"cluster{self.blocks}" if self.cluster else "sm"

    @property
    def summary(self) -> str:
        """How it runs, for the head of the file."""
        who = f"a cluster of {self.blocks} blocks" if self.cluster else "a block"
        return (
            f"all {self.layers} layers at once, each a step behind the one below. It has {who} for "
            f"W_hh, all but the lowest another for W_ih. h and sums of x go up {BY_PACKETS}"
        )

    @property
    def top(self) -> int:
        """The last layer."""
        return self.layers - 1

    @property
    def roles(self) -> int:
        """Layers, and products of x beside all but the lowest."""
        return 2 * self.layers - 1

    @property
    def resident(self) -> int:
        """Blocks of a set of sequences, which have to be there at once."""
        return self.roles * self.blocks

    @property
    def sets(self) -> int:
        """Of sequences that are there at once at most."""
        return max(1, MOST // self.resident)

    @property
    @abstractmethod
    def together(self) -> int:
        """Sequences of a set."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Sums of one step."""

    @property
    @abstractmethod
    def pairs(self) -> int:
        """Of packets of one h."""

    @property
    def input_asks(self) -> int:
        """And of pairs that a thread of a product asks for."""
        return ceil(self.together * self.pairs / self.threads)

    @property
    def packed(self) -> int:
        """Packets of h of a set."""
        return self.together * 2 * self.pairs

    @property
    def between(self) -> int:
        """Packets between two layers of a set: h, sums, how far they have been read."""
        return self.ring * (self.packed + self.rows) + 2

    @property
    def links(self) -> int:
        """Packets of a set."""
        return self.top * self.between

    @property
    def packets(self) -> int:
        """Packets of as many sets as there can be at once."""
        return self.sets * self.links

    @property
    def cycles(self) -> int:
        """Of one step in all layers, predicted: of what takes longest."""
        return max(self.alone, self.product) + FOLLOWING

    @property
    @abstractmethod
    def alone(self) -> int:
        """Of one step in one layer, without the others."""

    @property
    @abstractmethod
    def product(self) -> int:
        """Of one step's product of x."""


@dataclass(frozen=True)
class WavefrontQuads(Wavefront, Quads):
    """float32; a sequence to a block or cluster of each layer."""

    layers: int = 2

    together = 1
    columns = COLUMNS
    chain = CHAIN

    @property
    def kind(self) -> str:
        """Which template prints the kernel."""
        return "wavefront_cluster" if self.cluster else "wavefront"

    @property
    def alone(self) -> int:
        """Of one step in one layer, without the others."""
        return self._step(1)

    @property
    def product(self) -> int:
        """Of one step's product of x: FMA, weights from shared memory, chains to there and back."""
        warps = ceil(self.input_lanes / WARP)
        written = self.input_quads // CHAIN * self.gates
        chains = (written + self.chains * self.input_each) * warps
        products = 4 * self.gates * self.input_quads * ceil(warps / SCHEDULERS)
        return products + self.input_kept * 16 // 128 + chains + 2 * MEETING

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
    def input_quads(self) -> int:
        """Quads of one gate in one lane, by chains."""
        return ceil(self.chains / self.input_parts) * CHAIN

    @property
    def input_held(self) -> int:
        """Those of them that registers hold."""
        free = self.registers - OWN
        if 4 * self.gates * self.input_quads <= free:
            return self.input_quads
        return (free - FETCHING) // (4 * self.gates) // CHAIN * CHAIN

    @property
    def input_rest(self) -> int:
        """Quads in shared memory."""
        return self.input_quads - self.input_held

    @property
    def input_kept(self) -> int:
        """Quads of weights of all lanes there."""
        return self.gates * self.input_rest * self.input_lanes

    @property
    def input_width(self) -> int:
        """Quads of h: H of them, and zeros up to what the lanes read."""
        return self.input_quads * self.input_parts

    @property
    def spaces(self) -> int:
        """Pairs of values from one sequence's h to the next in shared memory."""
        return 2 * self.input_width

    @property
    def whole(self) -> bool:
        return super().whole and 4 * self.input_width == self.hidden

    @property
    def possible(self) -> bool:
        """Whether registers hold some of W_ih, and packets beside W_hh: sums with their numbers."""
        fetched = LOADED // self.gates if self.rest else 0
        enough = self.words + OWN + fetched + self.gates <= self.registers
        return enough and self.input_held > 0

    @property
    def shared(self) -> int:
        """Bytes of shared memory of either kind of block: two h by turns, weights, sums."""
        sums = self.input_width // CHAIN * self.own_rows
        return max(super().shared, 16 * (2 * self.input_width + self.input_kept) + 4 * sums)


@dataclass(frozen=True)
class WavefrontTiles(Wavefront, Tiles):
    """16 bits; eight sequences to a block of each layer."""

    layers: int = 2

    kind = "wavefront_tensor"
    ring = 16
    half = ring // 2
    together = Tiles.sequences
    many = 1
    possible = True

    @property
    def held(self) -> int:
        """Spans that registers hold, beside packets, which are twice as long as sums."""
        span = 8 * self.gates
        free = self.registers - self.beside - 4 * self.gates
        return self.own_spans if span * self.own_spans <= free else (free - LOADS) // span

    def working(self, sequences: int) -> int:
        """Registers beside weights, predicted."""
        return super().working(sequences) + PACKETS

    @property
    def alone(self) -> int:
        """Of one step in one layer, without the others."""
        return Tiles(self.gates, self.hidden, self.blocks).cycles

    @property
    def cycles(self) -> int:
        """Of one step in all layers, predicted: sums come from L2."""
        return super().cycles + 8 * self.rows // FROM_L2

    @property
    def product(self) -> int:
        """Of one step's product of x: as long as that of h, without cells."""
        return self.alone

    @property
    def own_sums(self) -> int:
        """Of a thread: those of four cells."""
        return 4 * self.gates

    @property
    def rows(self) -> int:
        """Sums of one step."""
        return self.own_sums * self.threads

    @property
    def pairs(self) -> int:
        """Of packets of one h."""
        return ceil(self.hidden / 4)

    @property
    def spaces(self) -> int:
        """Fours of numbers from one sequence's h to the next in shared memory."""
        return 2 * self.line
