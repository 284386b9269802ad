"""Model -> Plan: every decision that the templates would otherwise have to take, and `pack`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy.typing as npt

from rnngen.kernel import Kernel, Tile
from rnngen.model import Model, Pass
from rnngen.outline import Outline
from rnngen.spec import Spec
from rnngen.targets import ISAS, LEVELS, NATIVE, TARGETS, Level

GROUP = 36  # rows: tiles of six or nine, of eight nearly; their sums stay in a cache beside weights
GROUPS = 2  # that share a reading of weights from beyond the caches of a core
ASKED = 20  # rows of weights that a tile can ask for before it starts; of more it would wait
ASKED_FAR = 48  # the same where they come from memory, which has to know early
WIDEST = 64  # bytes of the widest vector
NARROWEST = 16  # bytes; a smaller block would only trade padding for speed

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One pass, as the straight-line program of a network calls it."""

    op: Pass
    kernel: Kernel
    index: int  # place in the state, torch's layer * directions + direction
    source: str  # C: what it reads
    sink: str  # C: the first column it fills
    below: str  # C: what it reads where there is one step, one direction

    @property
    def field(self) -> str:
        return self.op.field


@dataclass(frozen=True)
class Plan(Outline):
    """All that a template of the C may ask."""

    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    buffers: dict[str, str]  # rows between layers, in the workspace: C name -> C of its start

    @property
    def block(self) -> int:
        return self.kernels[0].block

    @property
    def group(self) -> int:
        """Most rows that are multiplied with weights at a time, by vectors as wide as a block."""
        return GROUP

    @property
    def rows(self) -> int:
        """Most rows that run side by side: sequences, or steps whose x is summed ahead."""
        return GROUP * (GROUPS if self.wide else 1)

    @property
    def wide(self) -> bool:
        """Whether weights come from so far that more rows share them, and they are asked for."""
        return any(kernel.wide for kernel in self.kernels)

    @property
    def asked(self) -> int:
        """Most rows of a panel that a tile asks for before it starts, rather than on its way."""
        return ASKED if not any(kernel.far for kernel in self.kernels) else ASKED_FAR

    @property
    def sums_step(self) -> int:
        """Numbers from the sums of one unit to those of the next, for all rows."""
        return self.rows * self.kernels[0].sums

    @property
    def gates(self) -> tuple[int, ...]:
        """Sums of x that a row of each part has."""
        return tuple(part.products[0].rows for part in self.kernels[0].parts)

    @property
    def beside(self) -> int:
        """Rows that a product adds to of units whose sums lie side by side; 0 if there are none."""
        rest = self.kernels[0].rest
        return rest.products[0].rows if rest else 0

    @property
    def rest_start(self) -> int:
        """Numbers before the sums of the block beyond whole ones, among all sums."""
        return self.kernels[0].parts[-1].first * self.sums_step

    @property
    def product(self) -> str:
        """C: how products of a block with rows are called."""
        return f"{self.name}_{'products' if self.wide else 'product'}"

    @property
    def rest_sums(self) -> str:
        """C: vectors before those of place u of the block beyond whole ones, among all sums."""
        first = self.kernels[0].parts[-1].first
        return f"{f'({first} + u)' if first else 'u'} / LANES * {self.sums_step}"

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """One kind for each number of gates that some product sums at once."""
        products = [p for k in self.kernels for part in k.parts for p in part.products]
        one = {1} if self.projection else set()
        return tuple(Tile(gates) for gates in sorted({p.rows for p in products} | one))

    @property
    def ragged(self) -> bool:
        """Whether some vector of units may not be full."""
        return self.kernels[0].ragged

    @property
    def joined(self) -> bool:
        """Whether states are put together from parts of a vector."""
        kernel = self.kernels[0]
        return bool(kernel.rest or (kernel.ragged and kernel.own and self.joins))

    @property
    def piece(self) -> int:
        """Numbers in 16 bytes, as which such a vector is read and written."""
        return self.lanes(NARROWEST)

    @property
    def some_of_piece(self) -> str:
        """C: numbers from `at` on of n at p, too few for a piece."""
        at = ["at", *(f"at + {n}" for n in range(1, self.piece - 1))]
        return "{" + ", ".join(f"{n} < n ? p[{n}] : 0" for n in at) + "}"

    @property
    def joins(self) -> tuple[int, ...]:
        """Lanes of vectors that have two of them, or four."""
        return tuple(n for n in (2 * self.piece, 4 * self.piece) if n <= self.block)

    @property
    def sums_row(self) -> int:
        """Numbers that the sums of one row take."""
        return self.kernels[0].sums_row

    @property
    def scratch(self) -> int:
        """Numbers of the workspace whatever T and B: sums of rows, outputs before W_hr."""
        return self.rows * (self.sums_row + self.projection * self.hidden)

    @property
    def m_start(self) -> int:
        """Numbers before m, outputs before W_hr, in the workspace."""
        return self.rows * self.sums_row

    @property
    def stack(self) -> int:
        """Bytes that a step keeps on the stack: a row between layers, a cell's output."""
        numbers = bool(self.buffers) * self.output + self.projection * self.hidden
        return numbers * self.dtype.bytes

    @property
    def call_stack(self) -> int:
        """KB of stack that no call exceeds: mostly where each row reads and writes."""
        return 16 if self.wide else 8

    @property
    def buffer_row(self) -> int:
        """Numbers in one row of all buffers."""
        return len(self.buffers) * self.output

    @property
    def row_strides(self) -> str:
        """C: rows from step to step and from sequence to sequence in x and y; T is 0 if ragged."""
        if self.model.spec.batch_first:
            return ".step = 1, .next = share->starts ? 1 : T"
        return ".step = T ? B : 1, .next = T ? 1 : 0"

    def lanes(self, vector_bytes: int) -> int:
        return vector_bytes // self.dtype.bytes

    @property
    def widths(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Vector widths up to the block, widest first: (macros of instruction sets, lanes)."""
        most = self.block * self.dtype.bytes
        widths = sorted({isa.vector_bytes for isa in ISAS if isa.vector_bytes <= most})
        return tuple(
            (tuple(isa.macro for isa in ISAS if isa.vector_bytes == w), w // self.dtype.bytes)
            for w in reversed(widths)
        )

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that are compiled beside the portable one, the best first."""
        return LEVELS if self.model.spec.isa == "auto" else ()

    @property
    def alone(self) -> tuple[Level, ...]:
        """Levels for one sequence: where there are no whole blocks, of vectors half as wide."""
        most = self.block if self.kernels[0].whole else self.block // 2
        return tuple(level for level in self.levels if self.level_lanes(level) <= most)

    @property
    def level(self) -> Level | None:
        """The only level there is, where not all processors have it."""
        return next((level for level in LEVELS if level.name == self.model.spec.isa), None)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the calls of all levels end with."""
        return tuple(f"_{name}" for name in ("portable", *(n.name for n in reversed(self.levels))))

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """Public calls that every level has, without the network's name."""
        whole = ("forward", "forward_ragged", "forward_packed", "forward_share")
        return (*whole, *(() if self.bidirectional else ("step",)))

    @property
    def bound_calls(self) -> tuple[str, ...]:
        """Those that calls with fixed arguments make; steps of large nets are shares of a call."""
        return tuple(
            c for c in self.calls if c == "forward_share" or (c == "step" and not self.wide)
        )

    def level_lanes(self, level: Level) -> int:
        return min(self.lanes(level.vector_bytes), self.block)

    @property
    def flags(self) -> tuple[str, ...]:
        """Of the compiler, whatever the machine: the language's and those of isa."""
        isa = {level.name: level.flags for level in LEVELS}
        isa |= {"auto": (f"-D{self.name.upper()}_DISPATCH",), "portable": (), "native": NATIVE}
        return (*self.target.flags, *isa[self.model.spec.instructions])

    @property
    def sources(self) -> tuple[str, ...]:
        """C files that make the network."""
        return (f"{self.name}.c", *(f"{self.name}_{level.name}.c" for level in self.levels))

    @cached_property
    def weights_size(self) -> int:
        """Numbers in the packed weights of the whole network."""
        return sum(step.kernel.size for step in self.steps)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes: packed weights, state of a sequence, scratch of any call and of each step."""
        state = len(self.steps) * sum(self.state_sizes.values())
        numbers = {
            "packed_weights_bytes": self.weights_size,
            "state_bytes": state,
            "workspace_bytes": self.scratch,
            "workspace_bytes_per_step": self.buffer_row,
        }
        return {name: count * self.dtype.bytes for name, count in numbers.items()}


def decide(model: Model) -> Plan:
    """Choose the block, the kernels, the buffers and the C names."""
    spec, itemsize = model.spec, model.dtype.bytes
    block = (WIDEST if model.cell.even else NARROWEST) // itemsize
    while block < min(spec.hidden_size, WIDEST // itemsize):
        block *= 2
    kernels = {
        op.input: Kernel(
            op.cell,
            op.input,
            op.hidden,
            op.state,
            op.bias,
            block=block,
            bytes=itemsize,
            prefix=spec.name,
        )
        for op in model.passes
    }
    steps = tuple(_step(spec, kernels[op.input], op, n) for n, op in enumerate(model.passes))
    plan = Plan(model, TARGETS[spec.target], tuple(kernels.values()), steps, {})
    return replace(plan, buffers=_buffers(spec))


def _buffers(spec: Spec) -> dict[str, str]:
    """Where rows between layers begin; two buffers are enough for any depth."""
    starts = {
        "buffer0": "call->buffers",
        "buffer1": f"buffer0 + rows * {spec.output_size}",
    }
    return dict(list(starts.items())[: spec.num_layers - 1])


def _step(spec: Spec, kernel: Kernel, op: Pass, index: int) -> Step:
    """Layers fill two buffers by turns, the last one y; reverse passes the right half of a row."""
    source = f"buffer{(op.layer - 1) % 2}" if op.layer else "x"
    sink = "y" if op.layer == spec.num_layers - 1 else f"buffer{op.layer % 2}"
    column = f" + {op.state}" if op.reverse else ""
    below = f"s->h[{index - 1}]" if op.layer else "x"
    return Step(op, kernel, index, source, sink + column, below)
