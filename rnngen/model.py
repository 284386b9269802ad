"""Spec -> Model: the network as a list of passes, sizes resolved, no target in sight.

A network is a list, not a graph: each pass runs one cell over whole sequences in one direction,
reads one buffer and fills some columns of another. Alone in knowing torch's parameter names.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from rnngen.cells import Cell, cell
from rnngen.dtypes import DTYPES, DType
from rnngen.spec import Spec


@dataclass(frozen=True)
class Pass:
    """One cell, one layer, one direction."""

    cell: Cell
    layer: int
    reverse: bool
    input: int  # I, width of what it reads
    hidden: int  # H, units
    proj: int  # width of the projected h, or 0
    bias: bool

    @property
    def state(self) -> int:
        """P, width of h: what it feeds back and hands on."""
        return self.proj or self.hidden

    @property
    def field(self) -> str:
        """Its name in C and at the end of torch's parameter names: l0, l0_reverse, l1, ..."""
        return f"l{self.layer}" + ("_reverse" if self.reverse else "")

    @property
    def params(self) -> dict[str, tuple[int, ...]]:
        """Torch's parameter names and shapes, in torch's order; G gates make G * H rows."""
        rows = len(self.cell.gates) * self.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input),
            "weight_hh": (rows, self.state),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj:
            shapes["weight_hr"] = (self.proj, self.hidden)
        return {f"{name}_{self.field}": shape for name, shape in shapes.items()}


@dataclass(frozen=True)
class Model:
    """A network of fixed sizes; T steps and B sequences are chosen at run time."""

    spec: Spec
    cell: Cell
    dtype: DType
    passes: tuple[Pass, ...]  # in running order: layer by layer, forward before reverse

    @property
    def params(self) -> dict[str, tuple[int, ...]]:
        """Every parameter of the state_dict, in torch's order."""
        return {name: shape for p in self.passes for name, shape in p.params.items()}

    @property
    def num_weights(self) -> int:
        return sum(prod(shape) for shape in self.params.values())

    @property
    def summary(self) -> str:
        """The network in a few words, e.g. `GRU 40 -> 64, 2 layers, bidirectional`."""
        s = self.spec
        kind = "RNN (relu)" if "relu" in self.cell.words else self.cell.torch
        parts = [f"{kind} {s.input_size} -> {s.hidden_size}"]
        parts += [f"projected to {s.proj_size}"] if s.proj_size else []
        parts += [f"{s.num_layers} layers"] if s.num_layers > 1 else []
        parts += ["bidirectional"] if s.bidirectional else []
        parts += [] if s.bias else ["no bias"]
        return ", ".join(parts)


def resolve(spec: Spec) -> Model:
    """Lay the spec's layers and directions out as a list of passes."""
    kind = cell(spec.cell, spec.nonlinearity)
    passes = tuple(
        Pass(
            cell=kind,
            layer=layer,
            reverse=reverse,
            input=spec.output_size if layer else spec.input_size,
            hidden=spec.hidden_size,
            proj=spec.proj_size,
            bias=spec.bias,
        )
        for layer in range(spec.num_layers)
        for reverse in (False, True)[: spec.num_directions]
    )
    return Model(spec, kind, DTYPES[spec.dtype], passes)
