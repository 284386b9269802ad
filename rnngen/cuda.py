"""Model -> CudaPlan: every decision that the CUDA templates would otherwise have to take."""

from __future__ import annotations

from dataclasses import dataclass

from rnngen import plan, strategy
from rnngen.grid import Grid
from rnngen.model import Model, Pass
from rnngen.plan import Plan
from rnngen.quads import Quads
from rnngen.residence import Residence
from rnngen.targets import TARGETS, architectures, machine_code
from rnngen.words import Words

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
class CudaPlan(Words):
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
    def parameters(self) -> str:
        """C: name, and type behind the network's, of what has the weights that a kernel gets."""
        return "layers" if self.together > 1 else "layer"

    @property
    def own_layer(self) -> str:
        """C: a kernel's own layer among those that it gets, where there can be several."""
        each = "layers.at[d]" if self.bidirectional else "layers.at[0]"
        return each if self.together > 1 else ""

    @property
    def unusual(self) -> bool:
        """Whether some clusters have more blocks than those that every device has room for."""
        return any(fit.cluster and fit.blocks > strategy.PORTABLE for fit in self.residences)

    @property
    def choice(self) -> bool:
        """Whether it depends on the device."""
        return len(self.ways) > 1

    @property
    def layered(self) -> tuple[tuple[int, str], ...]:
        """Numbers and names of the ways that have one layer after the other."""
        numbered = tuple(enumerate(self.ways, 1))
        return numbered[1:] if self.wavefront else numbered

    @property
    def processors(self) -> bool:
        """Whether a launch depends on how many there are: sequences may have to take turns."""
        return bool(self.grid) or any(fit.shares for fit in self.residences)

    @property
    def uses_device(self) -> bool:
        """Whether launches need more of what init found than a way."""
        return self.processors or self.wavefront

    @property
    def whole(self) -> bool:
        """Whether rows of weights that stay in float32 have nothing but whole quads."""
        return all(fit.whole for fit in self.residences if isinstance(fit, Quads))

    @property
    def buffers(self) -> tuple[str, ...]:
        """C names of rows between layers; two are enough for any depth."""
        return ("buffer0", "buffer1")[: len(self.layers) - 1]

    @property
    def sums_row(self) -> int:
        """Numbers of x's sums for one step of one sequence."""
        return self.directions * self.hidden * self.gates

    @property
    def sums_made(self) -> str:
        """C: what that number is made of."""
        factors = (self.hidden, self.gates, self.directions)
        return " * ".join(str(n) for n in factors if n > 1) or "1"

    @property
    def own_row(self) -> int:
        """Reals of that state of one sequence, where numbers would lose too much of it."""
        return self.together * self.hidden if self.half and self.own else 0

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
    def exchange_row(self) -> int:
        """Numbers of one sequence's h on its way in strategy grid: two in memory, by turns."""
        return 2 * self.directions * self.grid.padded if self.grid else 0

    @property
    def buffers_row(self) -> int:
        """Numbers in one row of all buffers."""
        return len(self.buffers) * self.output

    @property
    def areas(self) -> tuple[tuple[str, str, str], ...]:
        """C: type, name and start of what the workspace holds."""
        packets = f"{self.name}_packets(in->B)" if self.wavefront else str(self.packets)
        exchange = self.number, "exchange", f"in->B * {self.exchange_row}"
        sizes = [exchange] * bool(self.exchange_row)
        sizes += [("uint64_t", "packets", packets)] * bool(self.packets)
        sizes += [("real", "sums", f"rows * {self.name}_row_sums")]
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
    def workspace_row(self) -> str:
        """C: bytes that a step of a sequence takes at most."""
        numbers = self.exchange_row + self.spare_row + self.buffers_row
        reals = self.own_row if self.half else numbers
        sums = f"{self.name}_row_sums"
        text = f"({sums} + {reals})" if reals else sums
        more = f" + {numbers} * sizeof(number)" if self.half and numbers else ""
        return f"{text} * sizeof(real){more}"

    @property
    def workspace_numbers(self) -> str:
        """C: how many numbers of it are no sums."""
        rows = self.exchange_row, self.spare_row
        sizes = [f"B * {row}" for row in rows if row]
        return " + ".join([*sizes, *[f"T * B * {self.buffers_row}"] * bool(self.buffers)])

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
    def stretch_bytes(self) -> int:
        """Of sums that a stretch has at most, if they are not those of one step."""
        return STRETCH

    @property
    def stretch(self) -> int:
        """And rows of them."""
        return max(1, STRETCH // (self.sums_row * self.dtype.real.bytes))

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes: state of a sequence, scratch: at most for sums, beside for sequences and steps."""
        number, real = self.dtype.bytes, self.dtype.real.bytes
        state = len(self.model.passes) * sum(self.state_sizes.values())
        numbers = self.exchange_row + self.spare_row
        return {
            "state_bytes": state * number,
            "workspace_bytes": self.stretch * self.sums_row * real + 8 * self.packets,
            "workspace_bytes_per_sequence": self.own_row * real + numbers * number,
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
