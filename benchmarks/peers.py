"""The implementations: how each is made from a case and called with its buffers bound once.

Each imports its library when it is made, so a process loads only what it times.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rnngen
from cases import Array, Case
from rnngen import peers


class UnsupportedError(Exception):
    """This implementation does not do this case; the message says why."""


class Peer(ABC):
    """One implementation of one case: made and bound outside the clock, run inside it."""

    needs: tuple[str, ...] = ()  # modules that have to be there

    def __init__(self, case: Case) -> None:
        self.case = case

    def mode(self) -> AbstractContextManager[Any]:
        """What surrounds all runs."""
        return nullcontext()

    @property
    @abstractmethod
    def run(self) -> Callable[[], Any]:
        """One call."""

    @abstractmethod
    def result(self) -> list[Array]:
        """What the last run left: y [T, B, D*H], zero beyond a sequence's end; h_n; c_n."""


@dataclass
class Call:
    """A network called with the same arguments again and again, its answers new each time."""

    net: Any
    x: Any
    hx: Any

    def run(self) -> None:
        self.output, self.states = self.net(self.x, self.hx)

    @property
    def h_n(self) -> Any:
        return self.states[0] if isinstance(self.states, tuple) else self.states

    @property
    def c_n(self) -> Any:
        return self.states[1]


class Rnngen(Peer):
    """`lengths` by a padded batch and its lengths, "packed" by torch's PackedSequence."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        net: Any = rnngen.compile(case.fields, weights=case.weights())
        x, states = case.arguments()
        if case.form == "packed":
            self.call: Any = Call(net, *tensors(case))
        else:
            lengths = case.lengths if case.form == "lengths" else None
            self.call = net.bind(x, _hx(states), lengths=lengths)

    @property
    def run(self) -> Callable[[], Any]:
        run: Callable[[], Any] = self.call.run
        return run

    def result(self) -> list[Array]:
        call = self.call
        states = [call.h_n, call.c_n] if self.case.cell == "lstm" else [call.h_n]
        return arrays(self.case, call.output, states)


class Torch(Peer):
    """torch.nn; ragged sequences as a PackedSequence, packed outside the clock."""

    needs = ("torch",)

    def __init__(self, case: Case, dtype: str = "float32") -> None:
        import torch

        super().__init__(case)
        if case.form == "lengths":
            raise UnsupportedError("torch takes lengths in a PackedSequence only")
        torch.set_num_threads(1)
        kind = torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
        size, deep, both = case.hidden_size, case.num_layers, case.bidirectional
        module = kind(size, size, num_layers=deep, bidirectional=both)
        module.load_state_dict({k: torch.from_numpy(a) for k, a in case.weights().items()})
        self.module: Any = module.eval().requires_grad_(False).to(getattr(torch, dtype))
        self.x, self.hx = tensors(case, dtype)

    def mode(self) -> AbstractContextManager[Any]:
        import torch

        return torch.inference_mode()

    def run(self) -> None:
        self.answer = self.module(self.x, self.hx)

    def result(self) -> list[Array]:
        output, states = self.answer
        return arrays(self.case, output, states if isinstance(states, tuple) else [states])


class TorchCompile(Torch):
    """The same through inductor, weights frozen: its LSTM is a call, a GRU's loop is unrolled."""

    def __init__(self, case: Case) -> None:
        from torch import _dynamo, _inductor, compile

        simple = case.num_layers == 1 and not case.bidirectional and case.form == "full"
        if case.cell != "lstm" or not simple:
            raise UnsupportedError("inductor unrolls all but a plain LSTM, for minutes")
        super().__init__(case)
        _dynamo.reset()
        _dynamo.config.allow_rnn = True
        _inductor.config.freezing = True
        _inductor.config.compile_threads = _inductor.config.cpp.threads = 1
        self.module = compile(self.module)

    def mode(self) -> AbstractContextManager[Any]:
        import torch

        return torch.no_grad()


class FromOnnx(Peer):
    """What reads an ONNX model of whole sequences."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        if case.form != "full":
            raise UnsupportedError("only torch is compared on ragged batches")
        x, states = case.arguments()
        spec = rnngen.load_spec(case.fields)
        self.model = peers.model(spec, case.weights(), case.steps, case.batch)
        self.inputs = peers.feeds(x, _hx(states))
        answers = [np.zeros((*x.shape[:2], spec.output_size), x.dtype), *(s * 0 for s in states)]
        self.outputs = dict(zip(peers.OUTPUTS, answers, strict=False))


class OnnxRuntime(FromOnnx):
    needs = ("onnxruntime", "onnx")

    def __init__(self, case: Case) -> None:
        import onnxruntime

        super().__init__(case)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(self.model, options, providers=providers)
        self.binding = self.session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        self.values = {n: value(a) for n, a in (self.inputs | self.outputs).items()}
        for name in self.inputs:
            self.binding.bind_ortvalue_input(name, self.values[name])
        for name in self.outputs:
            self.binding.bind_ortvalue_output(name, self.values[name])

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def result(self) -> list[Array]:
        return [self.values[name].numpy() for name in self.outputs]


class OpenVino(FromOnnx):
    needs = ("openvino", "onnx")

    def __init__(self, case: Case) -> None:
        import openvino

        super().__init__(case)
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        model = core.read_model(self.model, b"")
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        for name, array in (self.inputs | self.outputs).items():
            self.request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def run(self) -> None:
        self.request.infer(share_outputs=True)

    def result(self) -> list[Array]:
        return list(self.outputs.values())


class Mnn(FromOnnx):
    needs = ("MNN", "onnx")

    def __init__(self, case: Case) -> None:
        import MNN

        super().__init__(case)
        config = {"backend": "CPU", "precision": "high", "memory": "normal", "numThread": 1}
        manager = MNN.nn.create_runtime_manager((config,))
        names = list(self.inputs), list(self.outputs)
        with tempfile.TemporaryDirectory() as folder:
            path = self._converted(Path(folder))
            self.net = MNN.nn.load_module_from_file(str(path), *names, runtime_manager=manager)
        self.variables = []
        for array in self.inputs.values():
            variable = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, MNN.expr.float)
            variable.write(array)
            self.variables.append(variable)

    def _converted(self, folder: Path) -> Path:
        """The model as MNN's file. The converter's console script would install packages."""
        source, target = folder / "net.onnx", folder / "net.mnn"
        source.write_bytes(self.model)
        script = "import sys, _tools; _tools.mnnconvert(sys.argv)"
        files = ["--modelFile", str(source), "--MNNModel", str(target)]
        command = [sys.executable, "-c", script, "-f", "ONNX", *files, "--bizCode", "net"]
        subprocess.run(command, check=True, capture_output=True)
        return target

    def run(self) -> None:
        self.answer = self.net.onForward(self.variables)

    def result(self) -> list[Array]:
        shapes = [a.shape for a in self.outputs.values()]
        return [np.array(v.read()).reshape(s) for v, s in zip(self.answer, shapes, strict=True)]


PEERS: dict[str, type[Peer]] = {
    "rnngen": Rnngen,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "mnn": Mnn,
}


def installed(name: str) -> bool:
    """Whether all that the implementation needs can be imported."""
    return all(importlib.util.find_spec(module) for module in PEERS[name].needs)


def tensors(case: Case, dtype: str = "float32") -> tuple[Any, Any]:
    """The arguments as torch takes them, a PackedSequence where sequences have own lengths."""
    import torch

    first, states = case.arguments()
    x, *hx = (torch.from_numpy(a).to(getattr(torch, dtype)) for a in (first, *states))
    if case.form == "packed":
        pack = torch.nn.utils.rnn.pack_padded_sequence
        return pack(x, torch.from_numpy(case.lengths), enforce_sorted=False), _hx(hx)
    return x, _hx(hx)


def arrays(case: Case, output: Any, states: Any) -> list[Array]:
    """Answers as arrays in torch's shapes, a PackedSequence padded with zeros to T."""
    if case.form == "packed":
        import torch

        pad = torch.nn.utils.rnn.pad_packed_sequence
        output = pad(output, total_length=case.steps)[0]
    return [np.asarray(a) for a in (output, *states)]


def _hx(states: list[Any]) -> Any:
    """h_0, or for an LSTM (h_0, c_0)."""
    return tuple(states) if len(states) == 2 else states[0]
