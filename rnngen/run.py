"""A loaded library and weights -> Network, which is called as torch.nn.LSTM, GRU and RNN are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import build, calls, tensors
from rnngen.bind import Call, Stream
from rnngen.build import Library
from rnngen.calls import Input
from rnngen.cuda import CudaPlan, decide
from rnngen.device import DeviceNetwork
from rnngen.holder import Holder, Weights, read
from rnngen.model import resolve
from rnngen.pack import pack
from rnngen.plan import Plan
from rnngen.repeats import Repeats
from rnngen.spec import Spec

Array = npt.NDArray[Any]


class Network(Holder):
    """A compiled network: `output, h_n = net(input, h_0)`, for an LSTM `output, (h_n, c_n) = ...`.

    Inference only. Threads may share one; loading weights replaces them for calls that begin later.
    """

    def __init__(self, plan: Plan, library: Library, threads: int = 1) -> None:
        super().__init__(plan, library)
        self.threads = checked_threads(threads)
        self.plan: Plan = plan
        self._packed: Array | None = None  # the C struct
        kinds = {"number": plan.dtype.c, "size_t": "size_t", "char": "char"}
        kinds |= {kind: f"{self.spec.name}_{kind}" for kind in ("weights", "state", "worker")}
        self._kinds = {kind: library.ffi.typeof(f"{c} *") for kind, c in kinds.items()}
        self._repeats = Repeats(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Native code does not travel; the receiver finds it in its cache or builds it."""
        return network, (self.spec, self.state_dict() if self._params else None, self.threads)

    def take(self, params: dict[str, Array], as_tensors: bool) -> None:
        """Use these weights, packed."""
        numbers = pack(self.plan, params)
        packed = tensors.aligned(numbers.nbytes).view(numbers.dtype)
        packed[...] = numbers
        super().take(params, as_tensors)
        self._packed = packed
        self._repeats = Repeats(self)

    def __call__(
        self, input: Any, hx: Any = None, *, lengths: Any = None, threads: int | None = None
    ) -> tuple[Any, Any]:
        """Run whole sequences, as torch.nn does.

        input [T, B, I], [B, T, I] if batch_first, [T, I] without batch, or a PackedSequence;
        hx h_0 [L*D, B, P], for an LSTM (h_0, c_0 [L*D, B, H]), zero if None;
        lengths [B], the steps of each sequence of a padded batch: output is zero beyond them;
        threads, as many as may share the call, else those of the network: the bits are the same.
        Returns output [T, B, D*P] and the states after each sequence's last step, in kind.
        Raises ValueError, RuntimeError or TypeError, in torch's words where torch has some.
        """
        alone = lengths is None and threads is None and self.threads == 1
        if alone and (answer := self._repeats.call(input, hx)):
            return answer
        if tensors.is_packed(input):
            if lengths is not None:
                raise ValueError("lengths: for padded input; got it with a PackedSequence")
            return self._call_packed(input, hx, threads)
        given, states = self._given(input, hx, lengths)
        answer = self._called(given, states, tensors.is_tensor(input), threads).answer()
        if alone:
            self._repeats.keep(type(input), given, states)
        return answer

    def bind(
        self, input: Any, hx: Any = None, *, lengths: Any = None, threads: int | None = None
    ) -> Call:
        """A call whose buffers are fixed: input and hx are read where they lie, at each `run()`.

        Takes what a call takes but a PackedSequence, contiguous in memory. Raises what a call
        raises, ValueError for what cannot be read in place.
        """
        if tensors.is_packed(input):
            raise ValueError("bind: padded input, perhaps with lengths; got a PackedSequence")
        given, states = self._given(input, hx, lengths)
        for what, array in zip(("hx", "cx"), states, strict=False):
            calls.check_in_place(what, array)
        calls.check_in_place("input", tensors.to_array(input, "input"))
        return Call(self, given, states, tensors.is_tensor(input), self._threads(threads))

    def stream(self, steps: int | None = None) -> Stream:
        """One live sequence, a step at a time, or up to so many steps where `steps` is given.

        Raises RuntimeError for a bidirectional network, ValueError for fewer than one step.
        """
        return Stream(self, steps)

    def step(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """One step: x [B, I] or [I], state as hx of a call or None -> y [B, P] or [P], new state.

        The same numbers, bit for bit, as a call over whole sequences. Raises RuntimeError for a
        bidirectional network, which has to see the end before it can begin.
        """
        if self.spec.bidirectional:
            name = self.spec.name
            raise RuntimeError(f"step: a network of one direction; {name} is bidirectional")
        array = tensors.to_array(x, "input", self.spec.dtype)
        if array.ndim not in (1, 2):
            raise ValueError(f"step: Expected input to be 1D or 2D, got {array.ndim}D instead")
        calls.check_width(self.spec, array)
        unbatched = array.ndim == 1
        rows = calls.contiguous(np.atleast_2d(array))
        kind = "unbatched 1-D" if unbatched else "batched 2-D"
        memory = calls.state(self.plan, state, len(rows), array.ndim + 1, kind)
        y = np.empty((*array.shape[:-1], self.plan.output), self.spec.dtype)
        self._steps(rows, memory, y)
        is_tensor = tensors.is_tensor(x)
        return tensors.in_kind(y, is_tensor), self._answer(memory, is_tensor, unbatched)

    def _given(self, input: Any, hx: Any, lengths: Any) -> tuple[Input, tuple[Array, ...]]:
        """Arguments of a call as arrays, checked."""
        given = calls.dense(self.spec, input, lengths)
        kind = "unbatched 2-D" if input.ndim == 2 else "batched 3-D"
        return given, calls.states(self.plan, hx, given.batch, input.ndim, kind)

    def _call_packed(self, sequence: Any, hx: Any, threads: int | None) -> tuple[Any, Any]:
        given = calls.packed(self.spec, sequence)
        states = calls.states(self.plan, hx, given.batch, 3, "batched 3-D")
        call = self._called(given, calls.in_order(states, sequence.sorted_indices), True, threads)
        output, last = call.answer(sequence.unsorted_indices)
        return sequence._replace(data=output), last

    def _called(
        self, given: Input, states: Sequence[Array], tensor: bool, threads: int | None
    ) -> Call:
        """A call that has run, in memory of its own."""
        states = [calls.contiguous(a) for a in states]
        call = Call(self, given, states, tensor, self._threads(threads))
        self.check(call.run())
        return call

    def _threads(self, given: int | None) -> int:
        return self.threads if given is None else checked_threads(given)

    def _answer(self, memory: Array, tensor: bool, unbatched: bool) -> Any:
        """The C states as torch gives them: h_n, or (h_n, c_n)."""
        views = calls.state_views(self.plan, memory)
        members = [v[:, 0] if unbatched else v for v in views]
        answer = tuple(tensors.in_kind(np.ascontiguousarray(m), tensor) for m in members)
        return answer if len(answer) == 2 else answer[0]

    def _steps(self, x: Array, state: Array, y: Array) -> None:
        """One step of each sequence; x [B, I], state [B, S], y [B, P]."""
        w = self.pointer(self.packed(), "weights")
        s, px, py = self.pointer(state, "state"), self.pointer(x), self.pointer(y)
        step = self.address("step")
        for b in range(len(x)):
            self.check(step(w, s + b, px + b * self.spec.input_size, py + b * self.plan.output))

    def address(self, call: str) -> Any:
        """A public call, one of the plan's, of the level that was asked for."""
        name = f"{self.spec.name}_{call}{self.library.level}"
        return self.library.ffi.addressof(self.library.lib, name)

    def packed(self) -> Array:
        """The C struct of weights. Raises RuntimeError if there are none."""
        if self._packed is None:
            raise self._has_no_weights()
        return self._packed

    def pointer(self, array: Array | None, kind: str = "number") -> Any:
        """A C pointer to the array, which it keeps alive; NULL for None.

        kind is what it points to: number, weights, state, size_t or char.
        """
        if array is None:
            return self.library.ffi.NULL
        return self.library.ffi.from_buffer(self._kinds[kind], array)

    def kind(self, name: str) -> Any:
        """The C type of a pointer to it: number, weights, state, size_t or char."""
        return self._kinds[name]

    def check(self, code: int) -> None:
        """The arguments were checked before; this catches what was overlooked."""
        if code:
            raise RuntimeError(f"{self.spec.name}: the C answered with error {code}")


def checked_threads(threads: Any) -> int:
    """Raises ValueError unless it is a whole number of at least 1."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads: a whole number of at least 1; got {threads!r}")
    return threads


AnyNetwork = Network | DeviceNetwork


def network(spec: Spec, state: Weights | None = None, threads: int = 1) -> AnyNetwork:
    """Spec -> a network compiled for its target, with weights if given or named by the spec.

    Raises BuildError, WeightsError, and ValueError for threads.
    """
    checked_threads(threads)  # before a compiler starts
    plan = decide(resolve(spec))
    source = spec.weights_path if state is None else state
    loaded = None if source is None else read(source, plan.model)  # before a compiler starts
    net = made(
        plan, build.library([plan]) if isinstance(plan, Plan) else build.shared(plan), threads
    )
    if loaded:
        net.take(*loaded)
    return net


def made(plan: Plan | CudaPlan, library: Library, threads: int = 1) -> AnyNetwork:
    """The network of a plan and its library, without weights. Raises ValueError for threads."""
    if isinstance(plan, Plan):
        return Network(plan, library, threads)
    if threads != 1:
        raise ValueError(f"threads: 1 for target cuda; got {threads}")
    return DeviceNetwork(plan, library)
