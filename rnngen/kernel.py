"""Kernel: what layers of one shape share, its matrices as products, and the layout of its weights.

Lanes run over hidden units. Weights are packed in the order they are read, a block of units at a
time, so that one layout serves every vector width up to the block:

    panel[blocks][ sums + I * sums(x) + P * sums(h) ][block]      biases, then W_ih, then W_hh
    the rest     [ (1 + I + P) * sums / side         ][block]     a few units, `side` sums to a row
    and with a projection [blocks of P][H][block]                 W_hr
"""

from __future__ import annotations

from dataclasses import dataclass

from rnngen.cells import Cell
from rnngen.parts import Part, Product, blocks

REGISTERS = (15, 16, 32)  # 16 less the one that holds products which cannot be fused with a sum
ROWS = 8  # most vectors in a tile of several gates: of four not even so many have registers
ROWS_ALONE = 9  # of one gate: fewer sums would wait for each other; 12 were level with nine
AHEAD = 6  # steps of one sequence for which W_ih is read once, if it is worth it at all
L1 = 32 * 1024  # bytes; a larger W_ih is worth reading once for many steps
L2 = 1024 * 1024  # bytes; weights beyond are read for more rows, and asked for in time
L3 = 16 * 1024 * 1024  # bytes; weights beyond come so slowly that they are asked for earlier


@dataclass(frozen=True)
class Tile:
    """Products of G gates with several vectors at once: what a machine's registers hold."""

    gates: int  # G

    @property
    def sizes(self) -> dict[int, tuple[int, ...]]:
        """Registers of a machine -> numbers of vectors in a tile that takes these, but no fewer."""
        sizes: dict[int, tuple[int, ...]] = {}
        for n in range(1, (ROWS if self.gates > 1 else ROWS_ALONE) + 1):
            takes = self.gates * n + len(self.held(n))
            if have := next((registers for registers in REGISTERS if takes <= registers), None):
                sizes[have] = (*sizes.get(have, ()), n)
        return sizes

    def keeps_weights(self, vectors: int) -> bool:
        """Whether a column's weights are held, not the vectors' values: whichever are fewer."""
        return self.gates <= vectors

    def held(self, vectors: int) -> tuple[str, ...]:
        """C names of what is in registers beside sums: one of the ones, all of the others."""
        return ("v", *self.weights) if self.keeps_weights(vectors) else (*self.values(vectors), "w")

    @property
    def panels(self) -> int:
        """Panels that one vector is multiplied with at once: about eight sums do not wait."""
        return 2 if self.gates > 1 else 4

    def panel(self, number: int) -> tuple[tuple[str, int], ...]:
        """Of one of them: C names of its sums, and the row of a column that each one reads."""
        return tuple((name, row) for row, name in enumerate(self.sums(number, self.panels)))

    @property
    def span(self) -> int:
        """Columns that half an L1 cache holds, in vectors of 64 bytes."""
        return L1 // 2 // 64 // self.gates

    @property
    def span_whole(self) -> int:
        """The same of vectors that are whole rows: a tile reads lines of the cache but once, so it
        may take what comes from L2 meanwhile, in fewer and longer turns."""
        return 2 * self.span

    def vectors(self, count: int) -> tuple[str, ...]:
        """C declarators of the vectors, three to a line."""
        names = [f"*const x{n} = x[{n}]" for n in range(count)]
        return tuple(", ".join(names[n : n + 3]) for n in range(0, count, 3))

    @property
    def weights(self) -> tuple[str, ...]:
        """C names of one column."""
        return tuple(f"w{gate}" for gate in range(self.gates))

    def values(self, vectors: int) -> tuple[str, ...]:
        """C names of the vectors' values in one column."""
        return tuple(f"v{n}" for n in range(vectors))

    def sums(self, vector: int, vectors: int) -> tuple[str, ...]:
        """C names of one vector's sums."""
        first = f"s{vector}_" if vectors > 1 else "s"
        return tuple(f"{first}{gate}" for gate in range(self.gates))


@dataclass(frozen=True)
class Kernel:
    """What all layers that read I values share: one cell, one set of sizes, one piece of C."""

    cell: Cell
    input: int  # I
    hidden: int  # H
    state: int  # P, width of h
    bias: bool
    block: int  # units side by side in the panel
    bytes: int  # of a number
    prefix: str  # the network's name

    @property
    def name(self) -> str:
        return f"{self.prefix}_{self.cell.torch.lower()}_{self.input}"

    @property
    def local(self) -> str:
        """Its C name within a function."""
        return f"from_{self.input}"

    @property
    def title(self) -> str:
        """First line of its comment."""
        return f"{self.cell.torch} {self.input} -> {self.hidden}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Whole blocks, the rest; not what there is none of."""
        common = (self.cell, self.input, self.hidden, self.state, self.bias, self.block)
        end = self.hidden - (self.hidden % self.block if self.side > 1 else 0)
        whole = Part(*common, 1, 0, end, 0)
        rest = Part(*common, self.side, end, self.hidden, whole.size)
        return tuple(part for part in (whole, rest) if part.count)

    @property
    def side(self) -> int:
        """Sums of the units beyond whole blocks that share a row, if they fit. Where rows would not
        be full, which costs narrow vectors more than it saves: four, and beside whole blocks."""
        left = self.hidden % self.block
        ways = (4, 2) if self.cell.even else (4,) if self.cell.split and self.hidden > left else ()
        return next((n for n in ways if n * left <= self.block), 1)

    @property
    def whole(self) -> Part | None:
        return next((part for part in self.parts if part.side == 1), None)

    @property
    def rest(self) -> Part | None:
        return next((part for part in self.parts if part.side > 1), None)

    @property
    def ragged(self) -> bool:
        """Whether some vector of units may not be full, whatever its width."""
        partly = any(part.count % part.units for part in self.parts)
        return partly or bool(self.projection and self.state % self.block)

    @property
    def own(self) -> str:
        """C name of the old state that a unit reads beside its sums: c, h or none."""
        return "".join(self.cell.own)

    @property
    def own_rows(self) -> str:
        """C: the same of several sequences."""
        return f"{'real' if self.own == 'c' else 'const real'} *const *{self.own}"

    @property
    def sums(self) -> int:
        """Sums of one unit."""
        return len(self.cell.sums)

    @property
    def sums_row(self) -> int:
        """Numbers that the sums of all units take, whole blocks."""
        return blocks(self.hidden, self.block) * self.block * self.sums

    @property
    def panels(self) -> int:
        """Vectors of units that a step does at once, if there are so many."""
        return Tile(self.parts[0].products[1].rows).panels

    @property
    def ahead(self) -> int:
        """Steps from which on one sequence gains by summing x for many at once; 0 if never."""
        rows = sum(part.products[0].rows * part.blocks for part in self.parts)
        return AHEAD if self.input * rows * self.block * self.bytes > L1 else 0

    @property
    def wide(self) -> bool:
        """Whether the caches of a core do not hold its weights beside all else."""
        return self.size * self.bytes > L2

    @property
    def far(self) -> bool:
        """Whether they are in memory more than in a cache."""
        return self.size * self.bytes > L3

    @property
    def projection(self) -> Product | None:
        """W_hr, which makes h of the cell's output m."""
        return Product("W_hr", "m", self.hidden, 0, 1, 0) if self.state < self.hidden else None

    @property
    def projection_block_size(self) -> int:
        """Numbers in one block of the panel of W_hr."""
        return self.hidden * self.block

    @property
    def panel(self) -> int:
        """Numbers in the panel of gates."""
        return sum(part.size for part in self.parts)

    @property
    def projection_panel(self) -> int:
        """Numbers in the panel of W_hr."""
        count = blocks(self.state, self.block) if self.projection else 0
        return count * self.projection_block_size

    @property
    def size(self) -> int:
        """Numbers in all packed weights of one pass."""
        return self.panel + self.projection_panel
