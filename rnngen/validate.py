"""A network beside torch.nn, in float64 and in its own dtype, over a grid of calls."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import isnan
from typing import Any

from rnngen import tensors
from rnngen.dtypes import DTYPES, DType
from rnngen.spec import Spec

STEPS = (1, 2, 7, 64)  # T
BATCHES = (1, 3, 8)  # B


@dataclass(frozen=True)
class Case:
    """One kind of call."""

    steps: int  # T
    batch: int  # B
    ragged: bool  # a PackedSequence of lengths 1 to T, unsorted
    states: bool  # h_0 and c_0 given, else zero
    batch_first: bool


@dataclass(frozen=True)
class Line:
    """What one call gave: largest differences from torch.nn in float64 over all its answers.

    They are relative to the largest of the answers where that is above 1.
    """

    case: Case
    error: float
    torch_error: float  # torch.nn in the network's own dtype
    scale: float  # largest magnitude of the answers in float64, at least 1


@dataclass(frozen=True)
class Report:
    """Calls, held to torch's largest error over them all: in one alone it is a matter of luck."""

    lines: tuple[Line, ...]
    dtype: DType

    @property
    def ok(self) -> bool:
        return all(self.holds(line) for line in self.lines)

    def holds(self, line: Line) -> bool:
        """Whether the call was within the limit; False for NaN."""
        return line.error <= self.limit

    @property
    def limit(self) -> float:
        return self.dtype.limit(self.torch_error)

    @property
    def error(self) -> float:
        return _largest(line.error for line in self.lines)

    @property
    def torch_error(self) -> float:
        return _largest(line.torch_error for line in self.lines)

    def __str__(self) -> str:
        head = (
            f"{'ok' if self.ok else 'FAILED'}: {len(self.lines)} calls against torch.nn in float64"
        )
        errors = f"largest error {self.error:.2g}, torch's own {self.torch_error:.2g}"
        return f"{head}, {errors}, limit {self.limit:.2g}"


def report(net: Any, params: Mapping[str, Any]) -> Report:
    """Run the whole grid. `net` is called as torch.nn is; `params` are its weights.

    Raises MissingError without torch, RuntimeError if there are no weights.
    """
    if not params:
        raise RuntimeError(f"{net.spec.name} has no weights yet: load_state_dict() comes first")
    return over(net, params, grid(net.spec))


def over(net: Any, params: Mapping[str, Any], cases: Iterable[Case]) -> Report:
    """Run these calls."""
    own, truth = (reference(net.spec, params, dtype) for dtype in (net.spec.dtype, "float64"))
    lines = tuple(measure(net, own, truth, case) for case in cases)
    return Report(lines, DTYPES[net.spec.dtype])


def grid(spec: Spec) -> Iterator[Case]:
    """Every combination that means something."""
    for steps, batch, ragged, states in product(STEPS, BATCHES, (False, True), (False, True)):
        if not ragged or (steps > 1 and batch > 1):
            yield Case(steps, batch, ragged, states, spec.batch_first)


def reference(spec: Spec, params: Mapping[str, Any], dtype: str) -> Any:
    """The torch.nn module that the spec describes, with these weights."""
    torch = tensors.torch("validating")
    module = blank(spec).to(getattr(torch, dtype))
    module.load_state_dict({k: torch.as_tensor(v) for k, v in params.items()})
    return module.eval()


def blank(spec: Spec) -> Any:
    """The torch.nn module that the spec describes, with torch's own first weights."""
    torch = tensors.torch("validating")
    fields = spec.public()
    kind = fields.pop("cell").upper()
    for field in ("name", "target", "isa", "dtype"):
        del fields[field]
    fields["dropout"] = 0.0  # acts in training only; torch warns of it in a single layer
    return getattr(torch.nn, kind)(**fields, dtype=getattr(torch, spec.dtype))


def measure(net: Any, own: Any, truth: Any, case: Case) -> Line:
    """Call the network, torch in its dtype and torch in float64 with the same random numbers."""
    torch = tensors.torch("validating")
    x, hx = arguments(net.spec, case)
    wide = _to(x, torch.float64), _to(hx, torch.float64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch on its own slow paths
        mine = net(_to(x, net.device), _to(hx, net.device))
        answers = [_flat(mine), _flat(own(x, hx)), _flat(truth(*wide))]
    mine, theirs, right = (torch.cat([a.double().flatten().cpu() for a in f]) for f in answers)
    scale = max(1.0, float(right.abs().max()))
    error, torch_error = (float((got - right).abs().max()) / scale for got in (mine, theirs))
    return Line(case, error, torch_error, scale)


def arguments(spec: Spec, case: Case) -> tuple[Any, Any]:
    """Input and states for one call, the same each time."""
    torch = tensors.torch("validating")
    dtype = getattr(torch, spec.dtype)
    dice = torch.Generator().manual_seed(case.steps * 1000 + case.batch)
    shape = (case.batch, case.steps) if spec.batch_first else (case.steps, case.batch)
    x = torch.randn(*shape, spec.input_size, generator=dice, dtype=dtype)
    passes = spec.num_layers * spec.num_directions
    widths = [spec.state_size, spec.hidden_size] if spec.cell == "lstm" else [spec.state_size]
    states = [torch.randn(passes, case.batch, w, generator=dice, dtype=dtype) / 2 for w in widths]
    hx = (tuple(states) if len(states) == 2 else states[0]) if case.states else None
    if case.ragged:
        lengths = torch.randint(1, case.steps + 1, (case.batch,), generator=dice)
        pack = torch.nn.utils.rnn.pack_padded_sequence
        x = pack(x, lengths, batch_first=spec.batch_first, enforce_sorted=False)
    return x, hx


def _to(value: Any, place: Any) -> Any:
    """Tensors, packed or in a tuple or not there, in another dtype or on another device."""
    if value is None:
        return None
    if isinstance(value, tuple) and not tensors.is_packed(value):
        return tuple(v.to(place) for v in value)
    return value.to(place)


def _largest(numbers: Iterable[float]) -> float:
    """The largest, or NaN if there is one."""
    return max(numbers, key=lambda number: (isnan(number), number))


def _flat(answer: tuple[Any, Any]) -> list[Any]:
    """Output and states of a call as a list of tensors."""
    output, states = answer
    output = output.data if tensors.is_packed(output) else output
    return [output, *(states if isinstance(states, tuple) else (states,))]
