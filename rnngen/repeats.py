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

ANSWER = ("output", "h_n", "c_n")  # in the order that the C fills them

Array = npt.NDArray[Any]


class _Made:
    """A call of one shape, but for where input, states and answer lie."""

    def __init__(self, net: Any, given: Input) -> None:
        call = Call(net, given, (), tensor=False)
        run: Any = call.run
        self.struct, self.kept = run.args[0], run
        parts = {name: value for name, value in vars(call).items() if name in ANSWER}
        self.answer = np.dtype([(n, net.spec.dtype, parts[n].shape) for n in ANSWER if n in parts])


class Repeats:
    """Calls that a network has made, by kind and shape of their arguments.

    Threads may share it: who makes a call takes it out and puts it back.
    """

    def __init__(self, net: Any) -> None:
        self._net = net
        self._dtype = np.dtype(net.spec.dtype)
        self._plain = tensors.judge(net.spec.dtype)
        self._made: dict[Any, list[_Made]] = {}
        self._check, self._run = net.check, net.function("_bound_elsewhere")
        self._pair = len(net.plan.state_sizes) == 2
        ffi = net.library.ffi
        self._number, self._null = net.kind("number"), ffi.NULL
        self._at, self._cast = ffi.from_buffer, ffi.cast

    def keep(self, kind: type, given: Input, states: Sequence[Array]) -> None:
        """Be ready for more calls like this one, on one thread."""
        key = kind, *(array.shape for array in (given.x, *states))
        if key in self._made or given.lengths is not None or not given.batch:
            return
        size = max(given.x.nbytes, self._net.workspace(given.steps, given.batch))
        if size <= LARGEST:
            if len(self._made) >= SHAPES:
                self._made.clear()
            blank = np.empty(given.x.shape, self._dtype)
            self._made[key] = [_Made(self._net, given._replace(x=blank))]

    def call(self, x: Any, hx: Any) -> tuple[Any, Any] | None:
        """The answer; None where the long way has to be taken, which also says what is wrong."""
        plain, kind, h_0, c_0 = self._plain, type(x), hx, None
        if not plain(x):
            return None
        key: tuple[Any, ...] = kind, x.shape
        if type(hx) is tuple and len(hx) == 2:
            h_0, c_0 = hx
            if type(c_0) is not kind or type(h_0) is not kind or not (plain(h_0) and plain(c_0)):
                return None
            key = kind, x.shape, h_0.shape, c_0.shape
        elif hx is not None:
            if type(hx) is not kind or not plain(hx):
                return None
            key = kind, x.shape, hx.shape
        free = self._made.get(key)
        try:
            made = free.pop() if free else None
        except IndexError:  # another thread was faster
            made = None
        if made is None or free is None:
            return None
        try:
            return self._called(made, x, h_0, c_0)
        finally:
            free.append(made)

    def _called(self, made: _Made, x: Any, h_0: Any, c_0: Any) -> tuple[Any, Any]:
        """Written out: a loop over so few things takes longer than they do."""
        at, cast, number = self._at, self._cast, self._number
        array = type(x) is np.ndarray
        answer = np.empty((), made.answer)  # one piece of memory for all of it
        x = at(number, x) if array else cast(number, x.data_ptr())
        if h_0 is None:
            h_0 = c_0 = self._null
        else:
            h_0 = at(number, h_0) if array else cast(number, h_0.data_ptr())
            if c_0 is not None:
                c_0 = at(number, c_0) if array else cast(number, c_0.data_ptr())
        y, h_n = answer["output"], answer["h_n"]
        if self._pair:
            self._check(self._run(made.struct, x, h_0, c_0, at(number, answer)))
            c_n = answer["c_n"]
            if array:
                return y, (h_n, c_n)
            kind = tensors.in_kind
            return kind(y, True), (kind(h_n, True), kind(c_n, True))
        self._check(self._run(made.struct, x, h_0, at(number, answer)))
        return (y, h_n) if array else (tensors.in_kind(y, True), tensors.in_kind(h_n, True))
