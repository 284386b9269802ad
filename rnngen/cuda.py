"""Model -> CudaPlan: every decision that the CUDA templates would otherwise have to take."""

from __future__ import annotations

from dataclasses import dataclass

from rnngen import plan, strategy
from rnngen.cells import Cell
from rnngen.model import Model, Pass
from rnngen.outline import Outline
from rnngen.plan import Plan
from rnngen.strategy import Residence
from rnngen.targets import ARCHITECTURES, TARGETS, machine_code

STRETCH = 16 * 1024 * 1024  # bytes of sums of x at a time: to be read from L2, 40 MB and more


@dataclass(frozen=True)
class Layer:
    """One layer, as the straight-line program of a network runs it."""

    number: int
    input: int  # I, width of what it reads
    passes: tuple[Pass, ...]  # forward, then reverse
    source: str  # C: what it reads
    sink: str  # C: what it fills


@dataclass(frozen=True)
class CudaPlan(Outline):
    """All that a template of the CUDA code may ask."""

    layers: tuple[Layer, ...]
    residences: tuple[Residence, ...]  # of strategies sm and cluster, the best first
    step: bool  # whether there is strategy step

    @property
    def strategies(self) -> tuple[str, ...]:
        """The best first; a second one is for devices that lack what the first needs."""
        names = [fit.name for fit in self.residences]
        return (*names, "step") if self.step else tuple(names)

    @property
    def strategy(self) -> str:
        return self.strategies[0]

    @property
    def choice(self) -> bool:
        """Whether it depends on the device."""
        return len(self.strategies) > 1

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
    def terms(self) -> tuple[tuple[str, str], ...]:
        """The cell's sums and, in C, what each is made of: gates of W_ih x, of W_hh h."""
        place = self.cell.gates.index
        return tuple(
            (s.name, " + ".join(f"{vector}[{place(s.gate)}]" for vector in s.reads))
            for s in self.cell.sums
        )

    @property
    def apart(self) -> tuple[int, ...]:
        """Gates whose bias_hh belongs to W_hh h alone."""
        return tuple(self.cell.gates.index(g) for g in self.cell.split) if self.bias else ()

    @property
    def buffers(self) -> tuple[str, ...]:
        """C names of rows between layers; two are enough for any depth."""
        return ("buffer0", "buffer1")[: len(self.layers) - 1]

    @property
    def sums_row(self) -> int:
        """Numbers of x's sums for one step of one sequence."""
        return self.directions * self.hidden * self.gates

    @property
    def spare_row(self) -> int:
        """Numbers of state beside the answer's, of one sequence: h by turns, m before W_hr."""
        spare = self.state + self.hidden * self.projection
        return self.directions * spare if self.step else 0

    @property
    def buffers_row(self) -> int:
        """Numbers in one row of all buffers."""
        return len(self.buffers) * self.output

    @property
    def buffer_starts(self) -> tuple[str, ...]:
        """C: where they begin in the workspace."""
        taken = f"(size_t)stretch * in->B * {self.sums_row}"
        first = f"spare + in->B * {self.spare_row}" if self.spare_row else f"sums + {taken}"
        return (first, f"buffer0 + in->T * in->B * {self.output}")

    @property
    def workspace_row(self) -> int:
        """Numbers that a step of a sequence takes at most."""
        return self.sums_row + self.spare_row + self.buffers_row

    @property
    def single(self) -> bool:
        """Whether numbers are float32, for which the device has instructions of its own."""
        return self.dtype.name == "float32"

    @property
    def stretch(self) -> int:
        """Rows of sums that a stretch of steps has at most, if they are not those of one step."""
        return max(1, STRETCH // (self.sums_row * self.dtype.bytes))

    @property
    def row_strides(self) -> str:
        """C: rows from step to step and from sequence to sequence in x and y."""
        return "1, (long long)in->T" if self.model.spec.batch_first else "(long long)in->B, 1"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes: state of a sequence, scratch: at most for sums, beside for sequences and steps."""
        state = len(self.model.passes) * sum(self.state_sizes.values())
        numbers = {
            "state_bytes": state,
            "workspace_bytes": self.stretch * self.sums_row,
            "workspace_bytes_per_sequence": self.spare_row,
            "workspace_bytes_per_step": self.buffers_row,
        }
        return {name: count * self.dtype.bytes for name, count in numbers.items()}

    @property
    def sources(self) -> tuple[str, ...]:
        """Files that make the network."""
        return (f"{self.name}.cu",)

    @property
    def flags(self) -> tuple[str, ...]:
        """Of nvcc: the language's and the architectures."""
        isa = self.model.spec.isa
        if isa == "native":
            return (*self.target.flags, "-arch=native")
        wanted = ARCHITECTURES if isa == "auto" else (isa,)
        last = wanted[-1].replace("sm", "compute")
        ptx = f"-gencode=arch={last},code={last}"  # for architectures that come later
        return (*self.target.flags, *map(machine_code, wanted), ptx)


def decide(model: Model) -> Plan | CudaPlan:
    """The plan of the spec's target."""
    spec = model.spec
    if spec.target == "c":
        return plan.decide(model)
    residences: tuple[Residence, ...] = ()
    if spec.dtype == "float32" and not spec.proj_size:
        residences = strategy.choose(len(model.cell.gates), spec.hidden_size, spec.isa)
    some_lack = bool(residences) and residences[-1].cluster and spec.isa in strategy.UNKNOWN
    layers = tuple(_layer(model, number) for number in range(spec.num_layers))
    return CudaPlan(model, TARGETS["cuda"], layers, residences, not residences or some_lack)


def _layer(model: Model, number: int) -> Layer:
    """Layers fill two buffers by turns, the last one y."""
    passes = tuple(p for p in model.passes if p.layer == number)
    source = f"buffer{(number - 1) % 2}" if number else "in->x"
    sink = "in->y" if number == model.spec.num_layers - 1 else f"buffer{number % 2}"
    return Layer(number, passes[0].input, passes, source, sink)
