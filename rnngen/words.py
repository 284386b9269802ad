"""Words: what the CUDA templates call a network's parts in C++, and what its numbers are."""

from __future__ import annotations

from dataclasses import dataclass

from rnngen.cells import Cell
from rnngen.outline import Outline


@dataclass(frozen=True)
class Words(Outline):
    """Of a network, whatever way its recurrence goes."""

    @property
    def cell(self) -> Cell:
        return self.model.cell

    @property
    def gates(self) -> int:
        return len(self.cell.gates)

    @property
    def state(self) -> int:
        """P, width of h in one direction."""
        return self.model.spec.state_size

    @property
    def directions(self) -> int:
        return self.model.spec.num_directions

    @property
    def bias(self) -> bool:
        return self.model.spec.bias

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Of the gates' numbers in torch's order, where there are several."""
        return tuple(map(self._gate, self.cell.gates)) if self.gates > 1 else ()

    def _gate(self, gate: str) -> str:
        """`h_n` would be a state's name where the network is called h."""
        return f"{self.name}_gate_{gate}"

    @property
    def terms(self) -> tuple[tuple[str, str], ...]:
        """The cell's sums and, in C, what each is made of: gates of W_ih x, of W_hh h."""
        named = dict(zip(self.cell.gates, self.gate_names or ("0",), strict=True))
        return tuple(
            (s.name, " + ".join(f"{vector}[{named[s.gate]}]" for vector in s.reads))
            for s in self.cell.sums
        )

    @property
    def split(self) -> tuple[str, ...]:
        """Gates that take W_hh h apart from W_ih x."""
        return tuple(map(self._gate, self.cell.split))

    @property
    def apart(self) -> tuple[str, ...]:
        """Gates whose bias_hh belongs to W_hh h alone."""
        return self.split if self.bias else ()

    @property
    def bias_apart(self) -> str:
        """Which bias that is and why it is not among the others, for a comment."""
        (gate,) = self.cell.split
        return f"b_h{gate} goes with W_h{gate} h, which the cell multiplies"

    @property
    def half(self) -> bool:
        """Whether numbers have 16 bits, for tensor cores to multiply, and sums and cells 32."""
        return self.dtype.half

    @property
    def single(self) -> bool:
        """Whether it computes in float32, for which the device has instructions of its own."""
        return self.dtype.real.name == "float32"

    @property
    def number(self) -> str:
        """C type of weights, rows and states, which are computed with as `real`."""
        return "number" if self.half else "real"

    @property
    def header(self) -> str:
        """CUDA's, which has the 16-bit type."""
        return {"float16": "cuda_fp16.h", "bfloat16": "cuda_bf16.h"}[self.dtype.name]

    @property
    def mma(self) -> str:
        """PTX's name of 16-bit numbers."""
        return {"float16": "f16", "bfloat16": "bf16"}[self.dtype.name]

    @property
    def read_row(self) -> str:
        """What gives the rows that a thread reads for a product, which may not be those it gets."""
        return f"{self.name}_{'read' if self.half else 'own'}_row<ROWS>"

    @property
    def pairs(self) -> str:
        """C: pairs of a row and a unit whose sums a thread gets from a product."""
        return f"{self.name}_pairs<ROWS>" if self.half else "ROWS"

    @property
    def own_unit(self) -> str:
        """C: the unit of pair i."""
        return f"{self.name}_own_unit({'i' if self.half else ''})"

    @property
    def own(self) -> str:
        """The state that a cell adds to and does not only read: c, h or none."""
        return "".join(self.cell.own)

    @property
    def kept_as_real(self) -> str:
        """What 16-bit networks keep in 32 bits, for a comment."""
        return f"sums, cells, and {self.own} between steps" if self.own else "sums and cells"

    @property
    def row_strides(self) -> str:
        """C: rows from step to step and from sequence to sequence in x and y."""
        return "1, (long long)in->T" if self.model.spec.batch_first else "(long long)in->B, 1"

    @property
    def d(self) -> str:
        """C: the direction as an argument, where there are two."""
        return "d, " if self.bidirectional else ""

    @property
    def n(self) -> str:
        """C: which step of the stretch it is, when so many are done."""
        return "n" if self.bidirectional else "done"

    def state_of(self, b: str, width: int = 1, depth: str = "d") -> str:
        """C: where sequence b's state of that width begins, in a direction or at a depth."""
        if depth == "d" and not self.bidirectional:
            return f"(long long){b} * {width}" if width > 1 else b
        row = f"(long long){depth} * s.B + {b}"
        return f"({row}) * {width}" if width > 1 else row
