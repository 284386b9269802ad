"""Model -> CudaPlan: every decision that the CUDA templates would otherwise have to take."""

from __future__ import annotations

from dataclasses import dataclass

from rnngen import plan, strategy
from rnngen.cells import Cell
from rnngen.grid import Grid
from rnngen.model import Model, Pass
from rnngen.outline import Outline
from rnngen.plan import Plan
from rnngen.residence import Residence
from rnngen.targets import TARGETS, architectures, machine_code

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
    residences: tuple[Residence, ...]  # ways that keep their weights, the best first
    step: bool  # whether there is strategy step

    @property
    def strategy(self) -> str:
        """The best one: others are for devices that lack what it needs."""
        return self.residences[0].strategy if self.residences else "step"

    @property
    def ways(self) -> tuple[str, ...]:
        """Names in C++ of the ways to go, the best first."""
        names = [fit.name for fit in self.residences]
        return (*names, "step") if self.step else tuple(names)

    @property
    def clusters(self) -> bool:
        """Whether there is strategy cluster."""
        return any(fit.cluster for fit in self.residences)

    @property
    def grid(self) -> Grid | None:
        """Strategy grid, if there is."""
        return next((fit for fit in self.residences if isinstance(fit, Grid)), None)

    @property
    def wavefront(self) -> bool:
        """Whether there is strategy wavefront."""
        return self.strategy == "wavefront"

    @property
    def together(self) -> int:
        """Passes that a launch may have: all directions, or all layers."""
        return len(self.layers) if self.wavefront else self.directions

    @property
    def unusual(self) -> bool:
        """Whether some clusters have more blocks than those that every device has room for."""
        return any(fit.cluster and fit.blocks > strategy.PORTABLE for fit in self.residences)

    @property
    def choice(self) -> bool:
        """Whether it depends on the device."""
        return len(self.ways) > 1

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
        return self.split if self.bias else ()

    @property
    def split(self) -> tuple[int, ...]:
        """Gates that take W_hh h apart from W_ih x."""
        return tuple(self.cell.gates.index(g) for g in self.cell.split)

    @property
    def buffers(self) -> tuple[str, ...]:
        """C names of rows between layers; two are enough for any depth."""
        return ("buffer0", "buffer1")[: len(self.layers) - 1]

    @property
    def sums_row(self) -> int:
        """Numbers of x's sums for one step of one sequence."""
        return self.directions * self.hidden * self.gates

    @property
    def half(self) -> bool:
        """Whether numbers have 16 bits, for tensor cores to multiply, and sums and cells 32."""
        return self.dtype.half

    @property
    def number(self) -> str:
        """C type of weights, rows and states, which are computed with as `real`."""
        return "number" if self.half else "real"

    @property
    def source(self) -> str:
        """What gives the rows that a thread reads for a product, which may not be those it gets."""
        return "source" if self.half else "line"

    @property
    def header(self) -> str:
        """CUDA's, which has the 16-bit type."""
        return {"float16": "cuda_fp16.h", "bfloat16": "cuda_bf16.h"}[self.dtype.name]

    @property
    def mma(self) -> str:
        """PTX's name of 16-bit numbers."""
        return {"float16": "f16", "bfloat16": "bf16"}[self.dtype.name]

    @property
    def own(self) -> str:
        """The state that a cell adds to and does not only read: c, h or none."""
        return "".join(self.cell.own)

    @property
    def own_row(self) -> int:
        """Reals of that state of one sequence, where numbers would lose too much of it."""
        return self.together * self.hidden if self.half and self.own else 0

    @property
    def kept_as_real(self) -> str:
        """What 16-bit networks keep in 32 bits, for a comment."""
        return f"sums, cells, and {self.own} between steps" if self.own else "sums and cells"

    @property
    def narrows(self) -> bool:
        """Whether that state has to be made numbers again at the end: h is there as numbers."""
        return bool(self.own_row) and self.own == "c"

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
    def areas(self) -> tuple[tuple[str, str, str], ...]:
        """C: type, name and start of what the workspace holds."""
        packets = f"{self.name}_packets(in->B)" if self.wavefront else str(self.packets)
        sizes = [("uint64_t", "packets", packets)] * bool(self.packets)
        sizes += [("real", "sums", f"(size_t)stretch * in->B * {self.sums_row}")]
        sizes += [("real", "own", f"in->B * {self.own_row}")] * bool(self.own_row)
        sizes += [(self.number, "spare", f"in->B * {self.spare_row}")] * bool(self.spare_row)
        sizes += [(self.number, name, f"in->T * in->B * {self.output}") for name in self.buffers]
        ends = [f"{name} + {size}" for _, name, size in sizes]
        pairs = zip(sizes, sizes[1:], ends, strict=False)
        first = sizes[0][0], sizes[0][1], f"static_cast<{sizes[0][0]} *>(workspace)"
        return first, *(
            (to, name, end if to == kind else f"reinterpret_cast<{to} *>({end})")
            for (kind, _, _), (to, name, _), end in pairs
        )

    @property
    def packets(self) -> int:
        """Numbers that strategies grid and wavefront have on their way, eight bytes each."""
        return max((fit.packets for fit in self.residences), default=0)

    @property
    def workspace_row(self) -> int:
        """Bytes that a step of a sequence takes at most."""
        reals = (self.sums_row + self.own_row) * self.dtype.real.bytes
        return reals + (self.spare_row + self.buffers_row) * self.dtype.bytes

    @property
    def workspace_numbers(self) -> str:
        """C: how many numbers of it are no sums."""
        spare = [f"B * {self.spare_row}"] * bool(self.spare_row)
        return " + ".join([*spare, *[f"T * B * {self.buffers_row}"] * bool(self.buffers)])

    @property
    def single(self) -> bool:
        """Whether it computes in float32, for which the device has instructions of its own."""
        return self.dtype.real.name == "float32"

    def states(self, own: str = "", kinds: bool = False) -> str:
        """C: a layer's states, given and answered, as parameters of a function or arguments.

        Between them `own`, if it is kept apart.
        """
        given = [f"{state}_0" for state in self.state_sizes]
        last = [f"{state}_n" for state in self.state_sizes]
        apart = [own] if own and self.own_row else []
        if kinds:
            given = [f"const {self.number} *{state}" for state in given]
            last = [f"{self.number} *{state}" for state in last]
            apart = [f"real *{state}" for state in apart]
        return ", ".join([*given, *apart, *last])

    @property
    def stretch(self) -> int:
        """Rows of sums that a stretch of steps has at most, if they are not those of one step."""
        return max(1, STRETCH // (self.sums_row * self.dtype.real.bytes))

    @property
    def row_strides(self) -> str:
        """C: rows from step to step and from sequence to sequence in x and y."""
        return "1, (long long)in->T" if self.model.spec.batch_first else "(long long)in->B, 1"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes: state of a sequence, scratch: at most for sums, beside for sequences and steps."""
        number, real = self.dtype.bytes, self.dtype.real.bytes
        state = len(self.model.passes) * sum(self.state_sizes.values())
        return {
            "state_bytes": state * number,
            "workspace_bytes": self.stretch * self.sums_row * real + 8 * self.packets,
            "workspace_bytes_per_sequence": self.own_row * real + self.spare_row * number,
            "workspace_bytes_per_step": self.buffers_row * number,
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """Files that make the network."""
        return (f"{self.name}.cu",)

    @property
    def flags(self) -> tuple[str, ...]:
        """Of nvcc: the language's and the architectures."""
        if self.model.spec.isa == "native":
            return (*self.target.flags, "-arch=native")
        wanted = architectures(self.model.spec.isa)
        others = dict.fromkeys(name for name in ("sm_90", wanted[-1]) if name in wanted)
        ptx = [name.replace("sm", "compute") for name in others]  # of ones between them, and later
        texts = [f"-gencode=arch={name},code={name}" for name in ptx]
        return (*self.target.flags, *map(machine_code, wanted), *texts)


def decide(model: Model) -> Plan | CudaPlan:
    """The plan of the spec's target."""
    spec = model.spec
    if spec.target == "c":
        return plan.decide(model)
    wanted = architectures(spec.isa)
    residences: tuple[Residence, ...] = ()
    if spec.dtype != "float64" and not spec.proj_size:
        gates, half = len(model.cell.gates), model.dtype.half
        sizes = gates, spec.hidden_size, wanted, half, spec.num_directions
        residences = strategy.choose(*sizes)
        if spec.num_directions == 1:
            residences = strategy.with_wavefront(residences, spec.num_layers, wanted)
    enough = bool(residences) and strategy.sure(residences[-1], wanted)
    layers = tuple(_layer(model, number) for number in range(spec.num_layers))
    return CudaPlan(model, TARGETS["cuda"], layers, residences, not enough)


def _layer(model: Model, number: int) -> Layer:
    """Layers fill two buffers by turns, the last one y."""
    passes = tuple(p for p in model.passes if p.layer == number)
    source = f"buffer{(number - 1) % 2}" if number else "in->x"
    sink = "in->y" if number == model.spec.num_layers - 1 else f"buffer{number % 2}"
    return Layer(number, passes[0].input, passes, source, sink)
