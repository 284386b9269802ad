"""A spec and torch's parameters -> the same network in another runtime, by way of ONNX.

Alone in importing onnx, onnxruntime and openvino, each only where it is installed and asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import tensors
from rnngen.errors import MissingError
from rnngen.spec import Spec

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Runner = Callable[[Feeds], Sequence[Array]]  # inputs by name -> output, h_n and, of an LSTM, c_n
Shapes = Mapping[str, tuple[int, ...]]

OUTPUTS = ("output", "h_n", "c_n")
OPSET, IR = 17, 8  # of ONNX; old enough for any runtime of today
# torch's gates, top to bottom -> ONNX's.
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


@dataclass(frozen=True)
class Peer:
    """A network in another runtime, called as torch.nn is: one shape of call, states given."""

    spec: Spec
    run: Runner
    device = "cpu"

    def __call__(self, x: Any, hx: Any) -> tuple[Any, Any]:
        output, *states = (tensors.in_kind(np.array(a), True) for a in self.run(feeds(x, hx)))
        return output, tuple(states) if len(states) == 2 else states[0]

    def bind(self, x: Any, hx: Any) -> Callable[[], Any]:
        """The runtime's own call with these arguments, ready to be timed."""
        given = feeds(x, hx)
        return lambda: self.run(given)


def installed() -> tuple[str, ...]:
    """The runtimes that are here; nothing is loaded."""
    return tuple(name for name in RUNTIMES if find_spec(name))


def make(name: str, spec: Spec, params: Mapping[str, Array], steps: int, batch: int) -> Peer:
    """The network in a runtime, on one thread. Raises whatever the runtime does, MissingError."""
    return Peer(spec, RUNTIMES[name](model(spec, params, steps, batch)))


def feeds(x: Any, hx: Any) -> dict[str, Array]:
    """Arguments of a call as arrays under the model's names."""
    states = hx if isinstance(hx, tuple) else (hx,)
    named = zip(("input", "h_0", "c_0"), (x, *states), strict=False)
    return {name: tensors.to_array(value, name) for name, value in named}


def model(spec: Spec, params: Mapping[str, Array], steps: int, batch: int) -> bytes:
    """The network as an ONNX model for T steps of B sequences: input, h_0, c_0 -> OUTPUTS.

    Raises MissingError without onnx, ValueError for a projection, which ONNX does not have.
    """
    if spec.proj_size:
        raise ValueError("ONNX has no projections")
    graph = _Graph()
    layers, width = spec.num_layers, spec.output_size
    names = ("h_0", "c_0") if spec.cell == "lstm" else ("h_0",)
    # [D, B, H] of each layer
    first = [graph.add("Split", [n], layers, axis=0) if layers > 1 else [n] for n in names]
    x = graph.add("Transpose", ["input"], perm=(1, 0, 2))[0] if spec.batch_first else "input"
    last = []
    for layer in range(layers):
        given = [x, *_weights(graph, spec, params, layer), "", *(states[layer] for states in first)]
        y, *after = graph.add(spec.cell.upper(), given, 1 + len(names), **_attributes(spec))
        x = _joined(graph, spec, y, (steps, batch, width))
        last.append(after)
    output = graph.add("Transpose", [x], perm=(1, 0, 2))[0] if spec.batch_first else x
    ends = [
        graph.add("Concat", list(states), axis=0)[0] if layers > 1 else states[0]
        for states in zip(*last, strict=True)
    ]
    graph.rename(dict(zip((output, *ends), OUTPUTS, strict=False)))
    rows = (batch, steps) if spec.batch_first else (steps, batch)
    state = (layers * spec.num_directions, batch, spec.hidden_size)
    inputs = {"input": (*rows, spec.input_size), **dict.fromkeys(names, state)}
    outputs = {"output": (*rows, width), **dict.fromkeys(OUTPUTS[1 : 1 + len(names)], state)}
    return graph.model(spec.dtype, inputs, outputs)


def _joined(graph: _Graph, spec: Spec, y: str, shape: tuple[int, ...]) -> str:
    """[T, D, B, H] -> [T, B, D*H]."""
    if spec.num_directions == 1:
        return graph.add("Squeeze", [y, graph.constant(np.array([1]))])[0]
    y = graph.add("Transpose", [y], perm=(0, 2, 1, 3))[0]
    return graph.add("Reshape", [y, graph.constant(np.array(shape))])[0]


def _weights(graph: _Graph, spec: Spec, params: Mapping[str, Array], layer: int) -> list[str]:
    """W, R and B of a layer: gates in ONNX's order, directions one after the other."""
    fields = [f"l{layer}", f"l{layer}_reverse"][: spec.num_directions]

    def gates(kind: str, field: str) -> Array:
        blocks = np.split(params[f"{kind}_{field}"], len(ORDER[spec.cell]))
        return np.concatenate([blocks[n] for n in ORDER[spec.cell]])

    def stacked(*kinds: str) -> str:
        one = [np.concatenate([gates(kind, field) for kind in kinds]) for field in fields]
        return graph.constant(np.stack(one))

    bias = stacked("bias_ih", "bias_hh") if spec.bias else ""
    return [stacked("weight_ih"), stacked("weight_hh"), bias]


def _attributes(spec: Spec) -> dict[str, Any]:
    """What ONNX has to be told of a cell so that it is torch's."""
    own: dict[str, Any] = {}
    if spec.cell == "gru":
        own["linear_before_reset"] = 1
    elif spec.cell == "rnn":
        own["activations"] = [spec.nonlinearity.capitalize()] * spec.num_directions
    direction = "bidirectional" if spec.bidirectional else "forward"
    return {"hidden_size": spec.hidden_size, "direction": direction, **own}


class _Graph:
    """An ONNX graph as it grows; values have numbers for names."""

    def __init__(self) -> None:
        try:
            onnx = importlib.import_module("onnx")
        except ImportError:
            raise MissingError("onnx: other runtimes need it; got no such package") from None
        self._helper, self._from_array = onnx.helper, onnx.numpy_helper.from_array
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names = map(str, count())

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; returns the names of what it gives."""
        names = list(islice(self._names, outputs))
        self._nodes.append(self._helper.make_node(op, inputs, names, **attributes))
        return names

    def constant(self, array: Array) -> str:
        name = next(self._names)
        self._constants.append(self._from_array(array, name))
        return name

    def rename(self, names: Mapping[str, str]) -> None:
        """Values that no node reads get other names."""
        for node in self._nodes:
            for n, name in enumerate(node.output):
                node.output[n] = names.get(name, name)

    def model(self, dtype: str, inputs: Shapes, outputs: Shapes) -> bytes:
        """All of it, serialised."""
        helper = self._helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ends = [
            [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
            for shapes in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "rnn", *ends, self._constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=IR)
        return bytes(made.SerializeToString())


def _onnxruntime(model: bytes) -> Runner:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it refuses it also raises
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, given)


def _openvino(model: bytes) -> Runner:
    runtime = importlib.import_module("openvino")
    # f32: it would take bfloat16 where the processor has it.
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = runtime.Core()
    request = core.compile_model(core.read_model(model), "CPU", hints).create_infer_request()
    return lambda given: list(request.infer(given, share_inputs=True, share_outputs=True).values())


RUNTIMES: dict[str, Callable[[bytes], Runner]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
