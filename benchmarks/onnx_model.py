"""A case -> an ONNX model, which ONNX Runtime, OpenVINO and MNN read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cases import GATES, Array, Case

ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}  # torch's i f g o -> i o f g; r z n -> z r n
FLOAT = onnx.TensorProto.FLOAT


class Graph:
    """Nodes and constants as they come."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.states = ("h", "c") if case.cell == "lstm" else ("h",)
        self.ways = 2 if case.bidirectional else 1
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def constant(self, name: str, array: Array) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name


def model(case: Case) -> bytes:
    """Inputs x, h_0 and c_0; outputs y [T, B, D*H], h_n and c_n, in torch's shapes."""
    graph = Graph(case)
    _split_states(graph)
    weights = case.weights()
    for layer in range(case.num_layers):
        _recurrent(graph, layer, weights)
        _join_directions(graph, layer)
    _join_states(graph)
    x = [case.steps, case.batch, case.hidden_size]
    y = [case.steps, case.batch, case.hidden_size * graph.ways]
    state = [case.num_layers * graph.ways, case.batch, case.hidden_size]
    inputs = {"x": x} | {f"{s}_0": state for s in graph.states}
    outputs = {"y": y} | {f"{s}_n": state for s in graph.states}
    infos = ([helper.make_tensor_value_info(n, FLOAT, s) for n, s in d.items()]
             for d in (inputs, outputs))  # fmt: skip
    made = helper.make_graph(graph.nodes, "net", *infos, list(graph.constants.values()))
    opset = helper.make_opsetid("", 17)
    whole = helper.make_model(made, opset_imports=[opset], ir_version=8)
    return bytes(whole.SerializeToString())


def _recurrent(graph: Graph, layer: int, weights: dict[str, Array]) -> None:
    """One layer: x or the outputs of the layer before -> outputs [T, D, B, H] and states."""
    case = graph.case
    ends = [suffix for suffix in case.suffixes if suffix.startswith(f"_l{layer}")]
    w, r, b_ih, b_hh = (
        np.stack([_reordered(case, weights[name + end]) for end in ends])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    panels = {"W": w, "R": r, "B": np.concatenate([b_ih, b_hh], axis=1)}
    source = f"y{layer - 1}" if layer else "x"
    inputs = [source, *(graph.constant(f"{k}{layer}", a) for k, a in panels.items()), ""]
    direction = "bidirectional" if case.bidirectional else "forward"
    attributes = {"linear_before_reset": 1} if case.cell == "gru" else {}
    graph.add(
        case.cell.upper(),
        inputs + [_state(case, s, "0", layer) for s in graph.states],
        [f"directions{layer}", *(_state(case, s, "n", layer) for s in graph.states)],
        hidden_size=case.hidden_size,
        direction=direction,
        **attributes,
    )


def _join_directions(graph: Graph, layer: int) -> None:
    """[T, D, B, H] -> [T, B, D*H]."""
    case = graph.case
    source, target = f"directions{layer}", "y" if layer == case.num_layers - 1 else f"y{layer}"
    if graph.ways == 1:
        graph.add("Squeeze", [source, graph.constant("one", np.array([1]))], [target])
        return
    graph.add("Transpose", [source], [f"rows{layer}"], perm=[0, 2, 1, 3])
    shape = np.array([case.steps, case.batch, case.hidden_size * graph.ways])
    graph.add("Reshape", [f"rows{layer}", graph.constant("shape", shape)], [target])


def _split_states(graph: Graph) -> None:
    """[L*D, B, H] -> one state a layer."""
    layers = graph.case.num_layers
    if layers > 1:
        ways = graph.constant("ways", np.full(layers, graph.ways))
        for s in graph.states:
            parts = [_state(graph.case, s, "0", layer) for layer in range(layers)]
            graph.add("Split", [f"{s}_0", ways], parts, axis=0)


def _join_states(graph: Graph) -> None:
    layers = graph.case.num_layers
    if layers > 1:
        for s in graph.states:
            parts = [_state(graph.case, s, "n", layer) for layer in range(layers)]
            graph.add("Concat", parts, [f"{s}_n"], axis=0)


def _state(case: Case, state: str, when: str, layer: int) -> str:
    """A layer's state; a single layer's is the network's."""
    return f"{state}_{when}" + (f"_l{layer}" if case.num_layers > 1 else "")


def _reordered(case: Case, array: Array) -> Array:
    """Rows by gate, from torch's order to ONNX's."""
    parts = np.split(array, GATES[case.cell])
    return np.concatenate([parts[k] for k in ORDER[case.cell]])
