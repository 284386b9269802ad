"""Parts of a kernel: its products, and how the weights of its units lie in blocks."""

from __future__ import annotations

from dataclasses import dataclass

from rnngen.cells import Cell, Sum

CHAIN = 64  # most columns summed by themselves: no chain of additions grows with the width
CHAIN_GRU = 32  # of a GRU where there are no more than 64: else it would be less exact than torch
CHAIN_PAIR = range(5, 21)  # columns by halves: one step of so few units waits for its sums
CHAIN_ALONE = 16  # of one gate, which has no other gates' sums to go on with meanwhile


@dataclass(frozen=True)
class Product:
    """sums += matrix @ vector."""

    matrix: str  # torch's name
    vector: str  # C name of what it reads
    width: int  # columns
    first: int  # of the kernel's sums, that it adds to
    rows: int  # sums, and rows of the panel to a column
    start: int  # row of the panel where its columns begin

    @property
    def chain(self) -> int:
        """Columns that are summed by themselves: chains of nearly equal length."""
        if self.rows == 1:
            return CHAIN_ALONE
        if self.width in CHAIN_PAIR:
            return -(-self.width // 2)
        if self.rows == 3 and self.width <= CHAIN:
            return CHAIN_GRU
        chains = -(-self.width // CHAIN)
        return -(-self.width // chains)


@dataclass(frozen=True)
class Part:
    """Units whose weights lie alike: whole blocks, or the rest, whose sums lie side by side in one.

    A row of the rest's block has these units of a sum, then those of the next, as many as it has
    room for. So a vector has as many weights as lanes, where one of each sum would be mostly empty.
    """

    cell: Cell
    input: int  # I
    hidden: int  # H
    state: int  # P, width of h
    bias: bool
    block: int  # numbers to a row
    side: int  # sums side by side in a row
    first: int  # unit
    end: int  # unit after the last
    start: int  # numbers of the panel before it

    @property
    def units(self) -> int:
        """To a block."""
        return self.block // self.side

    @property
    def blocks(self) -> int:
        return blocks(self.count, self.units)

    @property
    def count(self) -> int:
        """Of its units."""
        return self.end - self.first

    @property
    def joins(self) -> tuple[int, ...]:
        """Lanes of vectors that have the units of two sequences, or of four."""
        return tuple(self.units * n for n in (2, 4) if n <= self.side)

    @property
    def states(self) -> str:
        """C: states of its units at p, zeros where there is none. A copy in memory, read as a whole
        at once, would have to wait until it is there."""
        if self.count == self.units:
            return "*(const few *)p"
        return "(few){" + ", ".join(f"p[{n}]" for n in range(self.count)) + "}"

    @property
    def input_name(self) -> str:
        """The end of the name of the C function that sums its x."""
        return "input_rest" if self.side > 1 else "input_block"

    @property
    def last(self) -> int:
        """Its last block."""
        return self.blocks - 1

    @property
    def title(self) -> str:
        """Of the rest, for a comment."""
        return f"{self.side} sums to a row" if self.side > 1 else ""

    @property
    def room(self) -> str:
        """C: numbers in a row of the block from unit j on, all sums of a unit taken for one."""
        return "BLOCK" if self.side > 1 else f"{self.end} - j"

    @property
    def grid(self) -> tuple[Sum | None, ...]:
        """The sum of each place in a column, row by row. Where x and h do not add to the same sums,
        rows of the rest are x's or h's: a zero weight would make NaN of an infinite x."""
        sums = self.cell.sums
        if self.side == 1 or not self.cell.split:
            return sums
        rows = ([s for s in sums if v in s.reads] for v in "xh")
        return tuple(place for row in rows for place in (*row, *[None] * (self.side - len(row))))

    def places(self, name: str) -> tuple[int, ...]:
        """Where terms of a sum are in a column."""
        return tuple(n for n, s in enumerate(self.grid) if s and s.name == name)

    @property
    def products(self) -> tuple[Product, ...]:
        """W_ih x, then W_hh h."""
        out: list[Product] = []
        start = self.bias_rows
        for matrix, v, width in (("W_ih", "x", self.input), ("W_hh", "h", self.state)):
            lines = [self.grid[n : n + self.side] for n in range(0, len(self.grid), self.side)]
            at = [n for n, row in enumerate(lines) if all(not s or v in s.reads for s in row)]
            out.append(Product(matrix, v, width, at[0], len(at), start))
            start += width * len(at)
        return tuple(out)

    @property
    def bias_rows(self) -> int:
        return self.sums if self.bias else 0

    @property
    def sums(self) -> int:
        """Rows of sums: vectors that they take, where a vector is a row."""
        return len(self.grid) // self.side

    @property
    def rows(self) -> int:
        """Rows of one block: biases, then a column of W_ih after the other, then of W_hh."""
        return self.bias_rows + sum(p.width * p.rows for p in self.products)

    @property
    def block_size(self) -> int:
        """Numbers in one block of the panel."""
        return self.rows * self.block

    @property
    def size(self) -> int:
        """Numbers in its panel."""
        return self.blocks * self.block_size


def blocks(units: int, block: int) -> int:
    return -(-units // block)
