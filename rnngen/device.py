"""A CUDA library and weights -> DeviceNetwork, called as torch.nn's are with tensors on CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

import rnngen
from rnngen import calls, tensors, validate
from rnngen.build import Library
from rnngen.calls import Input
from rnngen.cuda import CudaPlan
from rnngen.errors import DeviceError
from rnngen.holder import Holder
from rnngen.launches import DeviceCall

Array = npt.NDArray[Any]

_OTHER = "a device that it was compiled for; this one is of another architecture: see isa"

# What CUDA answers where a network cannot run, and what to say then.
_REASONS = {
    35: "a driver as new as the compiler's CUDA; there is none, or it is older",
    98: _OTHER,
    100: "a CUDA device; there is none",
    209: _OTHER,
    222: "a driver that knows the PTX of this compiler; it is older",
    701: "a device with shared memory and multiprocessors for its kernels; this one has fewer",
    720: "as many multiprocessors as the device says it has; MPS or a green context leaves fewer",
}

_ALIGNED = 16  # bytes: parameters begin where a thread reads so many at once


class _Weights:
    """Parameters, and where they lie on each device: a struct of pointers into one tensor.

    Threads may share it; whoever uses the struct holds on to the tensor.
    """

    def __init__(self, net: DeviceNetwork) -> None:
        self._net = net
        self._arrays = net.arrays()
        self._placed: dict[Any, tuple[Any, Any]] = {}
        self._streams: set[tuple[Any, int]] = set()  # that use them
        self._lock = Lock()

    def on(self, device: Any, stream: int) -> tuple[Any, Any]:
        """Struct and tensor on the device, the current one, for work on the stream."""
        with self._lock:
            if device not in self._placed:
                self._placed[device] = self._place(device)
                self._streams.add((device, stream))
            struct, tensor = self._placed[device]
            if (device, stream) not in self._streams:
                self._streams.add((device, stream))
                tensors.used(tensor, device)
            return struct, tensor

    def _place(self, device: Any) -> tuple[Any, Any]:
        net, ffi = self._net, self._net.library.ffi
        dtype = net.plan.dtype
        arrays = [_filled(array, _ALIGNED // dtype.bytes) for array in self._arrays.values()]
        tensor = tensors.copied(np.concatenate(arrays), dtype.name, device)
        starts = np.cumsum([0, *map(len, arrays)]) * dtype.bytes + tensor.data_ptr()
        pointers = iter([ffi.cast("void *", int(start)) for start in starts])
        layers = [[next(pointers) for _ in p.params] for p in net.plan.model.passes]
        return ffi.new(f"{net.spec.name}_weights *", layers), tensor


def _filled(array: Array, multiple: int) -> Array:
    """The numbers in a row, and zeros up to a multiple."""
    return np.pad(array.ravel(), (0, -array.size % multiple))


class DeviceNetwork(Holder):
    """A network on a CUDA device: `output, h_n = net(input, h_0)`, of an LSTM `(h_n, c_n)`.

    Runs on the input's device and torch's current stream, and does not wait for it, but where
    lengths have to go to the device first. Weights go there at the first call.
    """

    device = "cuda"  # kind of device that tensors have to be on

    def __init__(self, plan: CudaPlan, library: Library) -> None:
        super().__init__(plan, library)
        self.plan: CudaPlan = plan
        self._weights: _Weights | None = None
        self._found: dict[Any, Any] = {}  # by device: a struct, what it has room for
        self._captured: list[Any] = []  # what CUDA graphs need when they are replayed

    def __reduce__(self) -> tuple[Any, ...]:
        """Native code does not travel; the receiver finds it in its cache or builds it."""
        return rnngen.compile, (self.spec, self.state_dict() if self._params else None)

    def take(self, params: dict[str, Array], as_tensors: bool) -> None:
        """Use these weights; devices get them when they are called next."""
        super().take(params, as_tensors)
        self._weights = _Weights(self)

    def __call__(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """Run whole sequences, as torch.nn does.

        input [T, B, I], [B, T, I] if batch_first, [T, I] without batch, or a PackedSequence;
        hx h_0 [L*D, B, P], for an LSTM (h_0, c_0 [L*D, B, H]), zero if None;
        lengths [B], the steps of each sequence of a padded batch: output is zero beyond them.
        Arrays that speak DLPack, as CuPy's and JAX's do, will do for tensors.
        Returns output [T, B, D*P] and the states after each sequence's last step, as tensors.
        Raises ValueError, RuntimeError or TypeError, in torch's words where torch has some, and
        DeviceError if the device will not do.
        """
        if tensors.is_packed(input):
            if lengths is not None:
                raise ValueError("lengths: for padded input; got it with a PackedSequence")
            return self._call_packed(input, hx)
        return self._run(*self._given(input, hx, lengths)).answer()

    def bind(self, input: Any, hx: Any = None, *, lengths: Any = None) -> DeviceCall:
        """A call whose buffers are fixed: input and hx are read where they lie, at each `run()`.

        Takes what a call takes but a PackedSequence, contiguous in memory. Where a network may
        launch a kernel for each step, `bind` runs it once, waits for the device and captures the
        launches in a CUDA graph. Raises what a call raises, ValueError for what cannot be read in
        place, RuntimeError while the current stream is captured.
        """
        if tensors.is_packed(input):
            raise ValueError("bind: padded input, perhaps with lengths; got a PackedSequence")
        given, states = self._given(input, hx, lengths)
        for what, state in zip(("hx", "cx"), states, strict=False):
            calls.check_in_place(what, state)
        calls.check_in_place("input", self._read(input, "input"))
        device = given.x.device
        with self.current(device) as stream:
            if self.capturing():
                raise RuntimeError("bind: before a CUDA graph is captured; got it in the middle")
            call = DeviceCall(self, given, states, self._placed(device, stream))
            if self.plan.step and given.batch:
                call.launch(stream)  # loads the kernels, and says what is wrong
                call.capture()
        return call

    def validate(self) -> validate.Report:
        """Compare with torch.nn in float64 over a grid of calls.

        Raises DeviceError without a device, MissingError without torch.
        """
        self._init()
        return super().validate()

    def _call_packed(self, sequence: Any, hx: Any) -> tuple[Any, Any]:
        """Packed rows are read where they lie: sorted, longest sequence first, as torch does it."""
        given = calls.packed(self.spec, sequence, self._read)
        states = self._states(hx, given.x, given.batch, 3, "batched 3-D")
        call = self._run(given, calls.in_order(states, sequence.sorted_indices))
        output, last = call.answer(sequence.unsorted_indices)
        return sequence._replace(data=output), last

    def _given(self, input: Any, hx: Any, lengths: Any) -> tuple[Input, Sequence[Any]]:
        """Arguments of a call, checked; states as they lie."""
        given = calls.dense(self.spec, input, lengths, self._read)
        kind = "unbatched 2-D" if input.ndim == 2 else "batched 3-D"
        return given, self._states(hx, given.x, given.batch, input.ndim, kind)

    def _read(self, value: Any, what: str, dtype: str | None = None) -> Any:
        return tensors.on_device(value, what, dtype, self.device)

    def _states(self, hx: Any, x: Any, batch: int, dims: int, given: str) -> Sequence[Any]:
        """States, checked, on the device of x."""
        states = calls.states(self.plan, hx, batch, dims, given, self._read)
        for state in states:
            if state.device != x.device:
                raise RuntimeError(
                    "Input and hidden tensors are not at the same device, found input tensor at "
                    f"{x.device} and hidden tensor at {state.device}"
                )
        return states

    def _run(self, given: Input, states: Sequence[Any]) -> DeviceCall:
        """A call that has been launched, in memory of its own."""
        device = given.x.device
        with self.current(device) as stream:
            placed = self._placed(device, stream)
            call = DeviceCall(self, given, states, placed)
            call.launch(stream)
            if self.capturing():
                self.keep(placed)
        return call

    def _placed(self, device: Any, stream: int) -> tuple[Any, Any, Any]:
        """Of the device, the current one: structs of what it has room for and of weights, and the
        tensor that the latter points into.

        Raises RuntimeError if there are no weights, DeviceError if the kernels do not fit.
        """
        if self._weights is None:
            raise self._has_no_weights()
        if device not in self._found:
            self._found[device] = self._init()
        return self._found[device], *self._weights.on(device, stream)

    def _init(self) -> Any:
        """What the current device has room for. Raises DeviceError if the kernels do not fit."""
        found = self.library.ffi.new(f"{self.spec.name}_device *")
        self.check(self.function("_init")(found))
        return found

    @contextmanager
    def current(self, device: Any) -> Iterator[int]:
        """Makes the device the current one; gives torch's current stream there."""
        cuda = tensors.torch("running on a device").cuda
        with cuda.device(device):
            yield cuda.current_stream(device).cuda_stream

    def capturing(self) -> bool:
        """Whether torch's current stream records a CUDA graph, and runs nothing yet."""
        return bool(tensors.torch("running on a device").cuda.is_current_stream_capturing())

    def keep(self, memory: Any) -> None:
        """Hold on, as long as the network is there, to what a captured graph reads and writes."""
        self._captured.append(memory)

    def check(self, code: int) -> None:
        """Raises DeviceError for an answer of CUDA that is not success."""
        if code:
            reason = _REASONS.get(code, "a call that CUDA accepts")
            raise DeviceError(f"{self.spec.name}: {reason}; got CUDA error {code}")
