"""Kernel: what layers of one shape share, its matrices as products, and the layout of its weights.

Lanes run over hidden units. Weights are packed in the order they are read, a block of units at a
time, so that one layout serves every vector width up to the block:

    panel[blocks][ sums + I * sums(x) + P * sums(h) ][block]      biases, then W_ih, then W_hh
    and with a projection [blocks of P][H][block]                 W_hr
"""

from __future__ import annotations

from dataclasses import dataclass

from rnngen.cells import Cell, Sum

WHOLE = 16  # columns written out in full; beyond, a loop is faster once weights leave L1
UNROLL = 8  # columns to the body of a longer loop, summed by themselves; 16 is no faster
SPAN = 128  # columns of a wide product, summed by themselves so that no chain grows with its width


@dataclass(frozen=True)
class Product:
    """sums += matrix @ vector: a loop over `main` columns, then the rest written out."""

    matrix: str  # torch's name
    vector: str  # C name of what it reads
    width: int  # columns
    sums: tuple[Sum, ...]
    unroll: int = UNROLL

    @property
    def main(self) -> int:
        """Columns done by the loop; none if all are written out."""
        return 0 if self.width <= WHOLE else self.width // self.unroll * self.unroll

    @property
    def loop_rows(self) -> int:
        """Rows of the panel that the loop's body takes."""
        return self.unroll * self.rows

    @property
    def loop_end(self) -> int:
        """The loop's last k."""
        return self.main - self.unroll

    @property
    def span_end(self) -> int:
        """k at the end of a span, from its beginning."""
        return self.span - self.unroll

    @property
    def rest(self) -> tuple[tuple[int, int], ...]:
        """Columns after the loop: (number, number from there on)."""
        return tuple((k, k - self.main) for k in range(self.main, self.width))

    @property
    def span(self) -> int:
        """Columns to a partial sum of partial sums; 0 where there are too few to need it."""
        return SPAN if self.main > SPAN else 0

    @property
    def rows(self) -> int:
        """Rows of the panel that one column takes."""
        return len(self.sums)

    @property
    def rest_rows(self) -> int:
        return len(self.rest) * self.rows

    def column(self, k: int) -> tuple[tuple[str, int], ...]:
        """Column k from here: (accumulator, its row)."""
        return tuple((s.name, k * self.rows + n) for n, s in enumerate(self.sums))


@dataclass(frozen=True)
class Kernel:
    """What all layers that read I values share: one cell, one set of sizes, one piece of C."""

    cell: Cell
    input: int  # I
    hidden: int  # H
    state: int  # P, width of h
    bias: bool
    block: int  # units side by side in the panel
    prefix: str  # the network's name

    @property
    def name(self) -> str:
        return f"{self.prefix}_{self.cell.torch.lower()}_{self.input}"

    @property
    def products(self) -> tuple[Product, ...]:
        return tuple(
            Product(matrix, v, n, tuple(s for s in self.cell.sums if v in s.reads))
            for matrix, v, n in (("W_ih", "x", self.input), ("W_hh", "h", self.state))
        )

    @property
    def has_loop(self) -> bool:
        return any(p.main for p in self.products)

    @property
    def spans(self) -> tuple[str, ...]:
        """Sums that some wide product adds up in spans."""
        wide = [p for p in self.products if p.span]
        return tuple(s.name for s in self.cell.sums if any(s in p.sums for p in wide))

    @property
    def projection(self) -> Product | None:
        """W_hr, which makes h of the cell's output m."""
        sums = (Sum("a", "a", "m"),)
        return Product("W_hr", "m", self.hidden, sums) if self.state < self.hidden else None

    @property
    def bias_rows(self) -> int:
        return len(self.cell.sums) if self.bias else 0

    @property
    def rows(self) -> int:
        """Rows of one block: biases, then a column of W_ih after the other, then of W_hh."""
        return self.bias_rows + sum(p.width * p.rows for p in self.products)

    @property
    def blocks(self) -> int:
        return blocks(self.hidden, self.block)

    @property
    def block_size(self) -> int:
        """Numbers in one block of the panel."""
        return self.rows * self.block

    @property
    def projection_block_size(self) -> int:
        """Numbers in one block of the panel of W_hr."""
        return self.hidden * self.block

    @property
    def panel(self) -> int:
        """Numbers in the panel of gates."""
        return self.blocks * self.block_size

    @property
    def projection_panel(self) -> int:
        """Numbers in the panel of W_hr."""
        count = blocks(self.state, self.block) if self.projection else 0
        return count * self.projection_block_size

    @property
    def size(self) -> int:
        """Numbers in all packed weights of one pass."""
        return self.panel + self.projection_panel


def blocks(units: int, block: int) -> int:
    return -(-units // block)
