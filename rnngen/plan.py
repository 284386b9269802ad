"""Model x Target -> Plan: every decision that the templates would otherwise have to take.

Lanes run over hidden units. Weights are packed in the order they are read, a block of units at a
time, so that one layout serves every vector width up to the block:

    panel[blocks][ sums + I * sums(x) + P * sums(h) ][block]      biases, then W_ih, then W_hh
    and with a projection [blocks of P][H][block]                 W_hr
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import __version__
from rnngen.cells import Cell, Sum
from rnngen.dtypes import DType
from rnngen.model import Model, Pass
from rnngen.targets import ISAS, TARGETS, Target

WIDEST = 64  # bytes of the widest vector
NARROWEST = 16  # bytes; a smaller block would only trade padding for speed
WHOLE = 16  # columns written out in full; beyond, a loop is faster once weights leave L1
UNROLL = 8  # columns to the body of a longer loop, summed by themselves; 16 is no faster
SPAN = (
    128  # columns of a wide product summed by themselves: 8 + 16 + K/128 additions in a row, not K
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Product:
    """sums += matrix @ vector: a loop over `main` columns, then the rest written out."""

    matrix: str  # torch's name
    vector: str  # C name of what it reads
    width: int  # columns
    sums: tuple[Sum, ...]

    @property
    def unroll(self) -> int:
        return self.width if self.width <= WHOLE else UNROLL

    @property
    def main(self) -> int:
        """Columns done by the loop; none if all are written out."""
        return 0 if self.width <= WHOLE else self.width // UNROLL * UNROLL

    @property
    def span(self) -> int:
        """Columns to a partial sum of partial sums; 0 where there are too few to need it."""
        return SPAN if self.main > SPAN else 0

    @property
    def rows(self) -> int:
        """Rows of the panel that one column takes."""
        return len(self.sums)

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
        return _blocks(self.hidden, self.block)

    @property
    def panel(self) -> int:
        """Numbers in the panel of gates."""
        return self.blocks * self.rows * self.block

    @property
    def size(self) -> int:
        """Numbers in all packed weights of one pass."""
        if not self.projection:
            return self.panel
        return self.panel + _blocks(self.state, self.block) * self.hidden * self.block


@dataclass(frozen=True)
class Step:
    """One pass, as the straight-line program of a network calls it."""

    op: Pass
    kernel: Kernel
    index: int  # place in the state, torch's layer * directions + direction
    source: str  # C: what it reads
    sink: str  # C: the first column it fills

    @property
    def field(self) -> str:
        return self.op.field


@dataclass(frozen=True)
class Plan:
    """All that a template may ask. Frozen: rendering cannot change its mind."""

    model: Model
    target: Target
    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    buffers: tuple[str, ...]  # C names of the rows between layers, in the workspace

    @property
    def name(self) -> str:
        return self.model.spec.name

    @property
    def version(self) -> str:
        return __version__

    @property
    def spec_lines(self) -> tuple[str, ...]:
        """The spec as YAML, what decides the code only."""
        shown = {True: "true", False: "false"}
        fields = self.model.spec.public().items()
        return tuple(f"{k}: {shown[v] if isinstance(v, bool) else v}" for k, v in fields)

    @property
    def dtype(self) -> DType:
        return self.model.dtype

    def speaks(self, *words: str) -> bool:
        """Whether the cell's equations use one of these activations: only then is it printed."""
        return any(word in self.model.cell.words for word in words)

    @property
    def block(self) -> int:
        return self.kernels[0].block

    @property
    def bidirectional(self) -> bool:
        return self.model.spec.bidirectional

    @property
    def output(self) -> int:
        """O, columns of `output` and of the rows between layers."""
        return self.model.spec.output_size

    @property
    def scratch(self) -> int:
        """Numbers that a projected cell's output takes before W_hr makes h of it."""
        return self.kernels[0].hidden if self.kernels[0].projection else 0

    @property
    def stack(self) -> int:
        """Bytes that a step keeps on the stack: a row between layers, a cell's output."""
        return (bool(self.buffers) * self.output + self.scratch) * self.dtype.bytes

    @property
    def row(self) -> str:
        """C: row of step t of sequence b."""
        return "b * call->T + t" if self.model.spec.batch_first else "t * call->B + b"

    @property
    def layout(self) -> str:
        """Order of the first two dimensions of x and y."""
        return "[B][T]" if self.model.spec.batch_first else "[T][B]"

    @property
    def widths(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Vector widths from widest to narrowest: (macros of instruction sets, lanes).

        Of the sets wide enough for a whole block, those that the others include are enough.
        """
        most = self.block * self.dtype.bytes
        widths = sorted({isa.vector_bytes for isa in ISAS if isa.vector_bytes <= most})
        return tuple(
            (tuple(isa.macro for isa in ISAS if isa.vector_bytes == w), w // self.dtype.bytes)
            for w in reversed(widths)
        )

    @property
    def weights_size(self) -> int:
        """Numbers in the packed weights of the whole network."""
        return sum(step.kernel.size for step in self.steps)

    @property
    def state_sizes(self) -> dict[str, int]:
        """Members of one sequence's state, in order: width of h and c in one pass."""
        spec = self.model.spec
        widths = {"h": spec.state_size, "c": spec.hidden_size}
        return {name: widths[name] for name in self.model.cell.states}


def decide(model: Model) -> Plan:
    """Choose the block, the kernels, the buffers and the C names."""
    spec, itemsize = model.spec, model.dtype.bytes
    block = NARROWEST // itemsize
    while block < min(spec.hidden_size, WIDEST // itemsize):
        block *= 2
    kernels = {
        op.input: Kernel(
            op.cell, op.input, op.hidden, op.state, op.bias, block=block, prefix=spec.name
        )
        for op in model.passes
    }
    buffers = ("buffer0", "buffer1")[: spec.num_layers - 1]
    last = spec.num_layers - 1
    steps = []
    for index, op in enumerate(model.passes):
        source = buffers[(op.layer - 1) % 2] if op.layer else "x"
        sink = "y" if op.layer == last else buffers[op.layer % 2]
        column = f" + {op.state}" if op.reverse else ""
        steps.append(Step(op, kernels[op.input], index, source, sink + column))
    return Plan(model, TARGETS[spec.target], tuple(kernels.values()), tuple(steps), buffers)


def pack(plan: Plan, params: Mapping[str, Array]) -> Array:
    """Torch's parameters -> all packed weights in one array, in the C struct's order."""
    return np.concatenate([_pack(step, params) for step in plan.steps])


def _pack(step: Step, params: Mapping[str, Array]) -> Array:
    """One pass: the panel of gates, then W_hr."""
    k, field = step.kernel, step.field
    w_ih, w_hh = params[f"weight_ih_{field}"], params[f"weight_hh_{field}"]

    def gate(matrix: Array, name: str) -> Array:
        """Rows of one gate, as columns over units: [K, H]."""
        at = k.cell.gates.index(name) * k.hidden
        return np.atleast_2d(matrix.T)[:, at : at + k.hidden]

    def bias(s: Sum) -> Array:
        """Biases that a sum starts from; added in float64, so that they are rounded once."""
        kinds = {"x": ["bias_ih"], "h": ["bias_hh"], "xh": ["bias_ih", "bias_hh"]}[s.reads]
        terms = [gate(params[f"{kind}_{field}"].astype(np.float64), s.gate) for kind in kinds]
        return sum(terms[1:], terms[0]).astype(w_ih.dtype)

    rows = [bias(s) for s in k.cell.sums] if k.bias else []
    for product, matrix in zip(k.products, (w_ih, w_hh), strict=True):
        columns = np.stack([gate(matrix, s.gate) for s in product.sums], axis=1)  # [K, S, H]
        rows.append(columns.reshape(-1, k.hidden))
    panels = [_panel(np.concatenate(rows), k.block)]
    if k.projection:
        panels.append(_panel(params[f"weight_hr_{field}"].T, k.block))
    return np.concatenate(panels)


def _panel(rows: Array, block: int) -> Array:
    """[R, units] -> [blocks][R][block], flat; units beyond the last are zero."""
    blocks = _blocks(rows.shape[1], block)
    padded = np.pad(rows, [(0, 0), (0, blocks * block - rows.shape[1])])
    return padded.reshape(-1, blocks, block).transpose(1, 0, 2).ravel()


def _blocks(units: int, block: int) -> int:
    return -(-units // block)
