"""Plain calls of a shape that was seen before: what they have in common is made once.

A call checks its arguments and makes a struct, states and scratch: microseconds, many times what a
small network takes. What differs from call to call is the answer, and where it and the input lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import tensors
from rnngen.bind import Call
from rnngen.calls import Input

LARGEST = 256 * 1024  # bytes of scratch, or input; beyond, nobody sees the microseconds
SHAPES = 8  # that are kept; who has more of them gains nothing

Array = npt.NDArray[Any]


class _Made:
    """A call of one shape, whose addresses are set anew each time."""

    def __init__(self, net: Any, given: Input, states: Sequence[Array]) -> None:
        call = Call(net, given, states, tensor=False)
        run: Any = call.run
        self.run, self.struct = run, run.args[0]
        self.states = [state.shape for state in states]
        self.output, self.h_n = call.output.shape, call.h_n.shape
        self.c_n = call.c_n.shape if hasattr(call, "c_n") else None


class Repeats:
    """Calls that a network has made, by kind and shape of their arguments.

    Threads may share it: who makes a call takes it out and puts it back.
    """

    def __init__(self, net: Any) -> None:
        self._net = net
        self._dtype = np.dtype(net.spec.dtype)
        self._plain = tensors.judge(net.spec.dtype)
        self._made: dict[Any, list[_Made]] = {}
        self._check = net.check
        ffi = net.library.ffi
        self._number, self._at, self._cast = net.kind("number"), ffi.from_buffer, ffi.cast

    def keep(self, kind: type, given: Input, states: Sequence[Array]) -> None:
        """Be ready for more calls like this one, on one thread."""
        key = kind, given.x.shape, len(states)
        if key in self._made or given.lengths is not None or not given.batch:
            return
        size = max(given.x.nbytes, self._net.workspace(given.steps, given.batch))
        if size <= LARGEST:
            if len(self._made) >= SHAPES:
                self._made.clear()
            x, *blank = (np.empty(a.shape, self._dtype) for a in (given.x, *states))
            self._made[key] = [_Made(self._net, given._replace(x=x), blank)]

    def call(self, x: Any, hx: Any) -> tuple[Any, Any] | None:
        """The answer; None where the long way has to be taken, which also says what is wrong."""
        if not self._plain(x):
            return None
        states = () if hx is None else hx if type(hx) is tuple and len(hx) == 2 else (hx,)
        free = self._made.get((type(x), x.shape, len(states)))
        try:
            made = free.pop() if free else None
        except IndexError:  # another thread was faster
            made = None
        if made is None or free is None:
            return None
        try:
            for state, shape in zip(states, made.states, strict=True):
                if type(state) is not type(x) or state.shape != shape or not self._plain(state):
                    return None
            return self._called(made, x, states)
        finally:
            free.append(made)

    def _called(self, made: _Made, x: Any, states: Sequence[Any]) -> tuple[Any, Any]:
        """Written out: a loop over so few things takes longer than they do."""
        at, number, s = self._at, self._number, made.struct
        y, h = np.empty(made.output, self._dtype), np.empty(made.h_n, self._dtype)
        s.y, s.h_n = at(number, y), at(number, h)
        array = type(x) is np.ndarray
        s.x = at(number, x) if array else self._cast(number, x.data_ptr())
        if states:
            s.h_0 = at(number, states[0]) if array else self._cast(number, states[0].data_ptr())
        if made.c_n is None:
            self._check(made.run())
            return (y, h) if array else (tensors.in_kind(y, True), tensors.in_kind(h, True))
        c = np.empty(made.c_n, self._dtype)
        s.c_n = at(number, c)
        if states:
            s.c_0 = at(number, states[1]) if array else self._cast(number, states[1].data_ptr())
        self._check(made.run())
        if array:
            return y, (h, c)
        return tensors.in_kind(y, True), (tensors.in_kind(h, True), tensors.in_kind(c, True))
