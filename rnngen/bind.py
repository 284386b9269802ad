"""Calls whose buffers are fixed beforehand, so that nothing is left to do but the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import calls, shares, tensors
from rnngen.calls import Input
from rnngen.shares import Share

Array = npt.NDArray[Any]


class Answer:
    """What a call over whole sequences fills."""

    output: Any  # [T, B, D*P], or as the input is laid out; zero beyond `lengths`
    h_n: Any  # [L*D, B, P]
    c_n: Any  # [L*D, B, H]; only of an LSTM

    def __init__(self, output: Any, last: Sequence[Any]) -> None:
        self.output = output
        self.h_n, *rest = last
        if rest:
            (self.c_n,) = rest

    def answer(self, order: Any = None) -> tuple[Any, Any]:
        """As torch.nn gives it: output, h_n, or output, (h_n, c_n), of sequences in that order."""
        states = (self.h_n, self.c_n) if hasattr(self, "c_n") else (self.h_n,)
        h_n, *c_n = calls.in_order(states, order)
        return self.output, (h_n, *c_n) if c_n else h_n


class Call(Answer):
    """A call over whole sequences: `run()` reads input and states where they lie, fills the answer.

    Change their numbers between runs, not their place. Weights are those of when it was bound. One
    thread at a time may run it.
    """

    run: Callable[[], int]  # returns 0

    def __init__(
        self, net: Any, given: Input, states: Sequence[Array], tensor: bool, threads: int = 1
    ) -> None:
        spec, plan = net.spec, net.plan
        shape = (*given.x.shape[:-1], plan.output)
        padded = given.lengths is not None and not given.packed
        output = (np.zeros if padded else np.empty)(shape, spec.dtype)
        batch = (given.batch,) if given.batched else ()
        widths = plan.state_sizes.values()
        last = [np.empty((len(plan.steps), *batch, w), spec.dtype) for w in widths]
        stages = shares.split(plan, given, threads) if given.batch else []
        threads = max(map(len, stages), default=1)
        fields = _fields(net, given, output, None, threads)
        hx = (*(states or (None,) * len(last)), *last)
        run = net.function("_bound_run")
        parts = [[_bound(net, run, given, fields, share, hx) for share in s] for s in stages]
        self.run = parts[0][0] if [*map(len, parts)] == [1] else partial(shares.run, net, parts)
        output, *last = (tensors.in_kind(a, tensor) for a in (output, *last))
        super().__init__(output, last)


class Stream:
    """One live sequence of a unidirectional network: write `x`, `step()`, read `y`.

    x [I] and y [O], or for blocks of steps x [T, I] and y [T, O], are NumPy arrays that stay
    where they are. One thread at a time may use it.
    """

    x: Array
    y: Array
    step: Callable[[], int]  # returns 0

    def __init__(self, net: Any, steps: int | None) -> None:
        spec, plan = net.spec, net.plan
        if spec.bidirectional:
            raise RuntimeError(f"stream: a network of one direction; {spec.name} is bidirectional")
        if steps is not None and (isinstance(steps, bool) or steps < 1):
            raise ValueError(f"stream: steps of at least 1; got {steps}")
        rows = () if steps is None else (steps,)
        self.x = np.zeros((*rows, spec.input_size), spec.dtype)
        self.y = np.zeros((*rows, plan.output), spec.dtype)
        self._plan, self._most = plan, steps or 1
        given = Input(self.x, self._most, 1)
        self._memory = np.zeros((1, calls.state_size(plan)), spec.dtype)
        fields = _fields(net, given, self.y, self._memory, 1)
        self._views = calls.state_views(plan, self._memory)
        share = shares.whole(plan, given)
        self.step = _bound(net, net.function("_bound_step"), given, fields, share)
        self._run = _bound(net, net.function("_bound_steps"), given, fields, share)

    def run(self, steps: int) -> None:
        """The first `steps` rows of x -> those of y. Raises ValueError if there are not so many."""
        if not 1 <= steps <= self._most:
            raise ValueError(f"run: 1 to {self._most} steps; got {steps}")
        self._run(steps)

    def reset(self) -> None:
        """Back to the zero state."""
        self._memory[...] = 0

    def state(self) -> Any:
        """A copy of the state: h [L, P], or of an LSTM (h, c [L, H])."""
        copies = tuple(view[:, 0].copy() for view in self._views)
        return copies if len(copies) == 2 else copies[0]

    def restore(self, state: Any) -> None:
        """Go on from a state that `state()`, a call or torch gave: tensors or arrays [L, P]."""
        self._memory[...] = calls.state(self._plan, state, 1, 2, "unbatched 2-D")


class _Bound(partial[int]):
    """A C function and its argument, which outlive what made them."""

    job: tuple[Any, Any]  # the same for a worker
    kept: Any  # what the argument points to

    def __new__(cls, function: Any, struct: Any, job: Any, kept: Any) -> _Bound:
        self = super().__new__(cls, function, struct)
        self.job, self.kept = (job, struct), kept
        return self


def _bound(
    net: Any,
    run: Any,
    given: Input,
    fields: tuple[Any, ...],
    share: Share,
    states: Sequence[Array | None] = (),
) -> _Bound:
    """A C function on a share of a call; h_0, c_0, h_n and c_n, if states are as torch has them."""
    own = net.pointer(given.starts, "size_t"), *map(net.pointer, states)
    lib, ffi, name = net.library.lib, net.library.ffi, f"{net.spec.name}_bound"
    struct = ffi.new(f"{name} *", (*fields, (*share, *own)))
    return _Bound(run, struct, ffi.addressof(lib, f"{name}_job"), (fields, own))


def _fields(
    net: Any, given: Input, output: Array, memory: Array | None, threads: int
) -> tuple[Any, ...]:
    """What all structs of a call begin with; so many threads share it. memory [B, S]: C states."""
    pointer = net.pointer
    rows = (given.rows, 1) if given.packed else (given.steps, given.batch)
    nbytes = net.workspace(*rows)
    if threads > 1:
        nbytes += (threads - 1) * net.workspace(0, 0)
    scratch = tensors.aligned(nbytes)
    return (
        *map(net.address, net.plan.bound_calls),
        pointer(net.packed(), "weights"),
        pointer(memory, "state"),
        pointer(given.x),
        pointer(given.lengths, "size_t"),
        pointer(output),
        given.steps,
        given.batch,
        pointer(scratch, "char"),
        scratch.nbytes,
    )
