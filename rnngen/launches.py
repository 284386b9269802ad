"""A call on a CUDA device: memory that is its own, and the launches that fill it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rnngen import tensors
from rnngen.bind import Answer
from rnngen.calls import Input


class DeviceCall(Answer):
    """A call on a CUDA device: `run()` reads input and states where they lie, fills the answer.

    Change their numbers between runs, not their place. Weights are those of when it was bound. All
    runs share the call's memory: one thread at a time may run it, and runs on several streams have
    to wait for each other, as whatever reads the answer has to. On another stream than it was bound
    on, the last run has to be over before the call is let go.
    """

    def __init__(
        self, net: Any, given: Input, states: Sequence[Any], placed: tuple[Any, Any, Any]
    ) -> None:
        """States may be none; placed are structs of device and weights, and the latter's tensor."""
        x, plan, ffi = given.x, net.plan, net.library.ffi
        shape = len(plan.model.passes), *([given.batch] if given.batched else [])
        last = [x.new_empty((*shape, width)) for width in plan.state_sizes.values()]
        super().__init__(x.new_empty((*x.shape[:-1], plan.output)), last)
        indices = [tensors.integers(n, x.device) for n in (given.lengths, given.starts)]
        states = [state.contiguous() for state in states] or [None] * len(last)
        arrays = (x, self.output, *states, *last, *indices)
        nbytes = net.workspace(given.steps, given.batch)
        scratch = tensors.scratch(nbytes, x.device)
        *pointers, place = _pointers(ffi, (*arrays, scratch))
        batch = ffi.new(f"{net.spec.name}_batch *", (given.steps, given.batch, *pointers))
        self._forward = partial(net.function("_forward"), *placed[:2], batch, place, nbytes)
        self._kept = (*arrays, scratch, placed)  # what the structs point to
        self._net, self._device = net, x.device
        self._graph: Any = None

    def run(self) -> None:
        """Put a run on torch's current stream, and do not wait for it. Raises DeviceError.

        Of a CUDA graph that is captured it becomes a part; the network then keeps the call's
        memory for the replays.
        """
        net = self._net
        with net.current(self._device) as stream:
            capturing = net.capturing()
            if self._graph is None or capturing:  # torch refuses a replay in a capture
                self.launch(stream)
            else:
                self._graph.replay()
            if capturing:
                net.keep(self._kept)

    def launch(self, stream: int) -> None:
        """Put the launches on a stream of the device, the current one. Raises DeviceError."""
        self._net.check(self._forward(self._net.library.ffi.cast("cudaStream_t", stream)))

    def capture(self) -> None:
        """From now on `run()` replays the launches from a CUDA graph, to cost less.

        They have been made once, so that their kernels are loaded. Waits for the device. Other
        threads may go on: the graph needs no memory beside the call's.
        """
        cuda = tensors.torch("running on a device").cuda
        graph, side = cuda.CUDAGraph(), cuda.Stream(self._device)
        with cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            self.launch(side.cuda_stream)
        self._graph = graph


def _pointers(ffi: Any, arrays: Sequence[Any]) -> list[Any]:
    """Where tensors lie; NULL for None."""
    void = ffi.typeof("void *")  # asked for once: looking it up takes longer than the cast
    return [ffi.NULL if a is None else ffi.cast(void, a.data_ptr()) for a in arrays]
