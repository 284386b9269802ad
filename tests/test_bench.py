"""What `bench` times and what it refuses to, beside whom, and what it shows."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from nets import CELLS, net, spec, weights

from rnngen import bench, console, machine, peers, validate
from rnngen.bench import Row
from rnngen.dtypes import DTYPES
from rnngen.machine import SIZES, Machine
from rnngen.validate import Case

CORE = Machine(1e11, dict.fromkeys(SIZES, 1e11))
NONE = {"peers": {}, "floor": None}


@pytest.fixture
def quick(monkeypatch, cc):
    """Samples of a moment, a machine never measured, no other runtime."""
    monkeypatch.setattr(bench, "SAMPLE", 1000)
    monkeypatch.setattr(machine, "known", lambda: None)
    monkeypatch.setattr(peers, "installed", lambda: ())


def runtime(monkeypatch, answer):
    """A runtime of the test's own: answer(torch's output, h_n), or what it raises."""

    def make(name, s, params, steps, batch):
        module = validate.reference(s, params, s.dtype)

        def run(given):
            x, h = (torch.from_numpy(given[k]) for k in ("input", "h_0"))
            return [a.numpy() for a in answer(*module(x, h))]

        return peers.Peer(s, run)

    monkeypatch.setattr(peers, "installed", lambda: ("other",))
    monkeypatch.setattr(peers, "make", make)


# Times.


def test_medians_by_turns(monkeypatch):
    """Each call in every repeat, the median counts; by a clock of the test's own."""
    now, order = 0, []

    def call(name, durations):
        def work():
            nonlocal now
            now += durations.pop(0)
            order.append(name)

        return work

    monkeypatch.setattr(bench.time, "perf_counter_ns", lambda: now)
    monkeypatch.setattr(bench, "SAMPLE", 1)
    monkeypatch.setattr(bench, "REPEATS", 3)
    warm = [9] * 9  # calls that say how many make a sample
    calls = {"a": call("a", [*warm, 5, 7, 900]), "b": call("b", [*warm, 2, 1, 3])}
    assert bench.medians(calls) == {"a": 7e-9, "b": 2e-9}
    assert order == ["a"] * 9 + ["b"] * 9 + ["a", "b"] * 3


def test_rows(quick):
    """Four shapes of call, nothing of what is not there."""
    rows = bench.compare(net(spec(cell="gru")))
    assert [(row.steps, row.batch) for row in rows] == [(1, 1), (100, 1), (1, 8), (100, 8)]
    assert all(row.own > 0 and row.torch > 0 for row in rows)
    assert all(row.peers == {} and row.floor is None for row in rows)


def test_floor(quick, monkeypatch):
    """The machine's, for the shape of each row."""
    monkeypatch.setattr(machine, "known", lambda: CORE)
    network = net(spec(cell="gru"))
    for row in bench.compare(network):
        assert row.floor == CORE.floor(network.plan, row.steps, row.batch)


def test_torch_is_left_as_it_was(quick, monkeypatch):
    """Its threads too, whatever happens."""

    def broken(*_):
        raise ZeroDivisionError

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(bench, "medians", broken)
    with pytest.raises(ZeroDivisionError):
        bench.compare(net(spec(cell="gru")))
    assert torch.get_num_threads() == 2
    assert not torch.is_inference_mode_enabled()
    torch.set_num_threads(threads)


# Other runtimes.


def test_a_right_answer_is_timed(quick, monkeypatch):
    runtime(monkeypatch, lambda output, h_n: (output, h_n))
    rows = bench.compare(net(spec(cell="gru")))
    assert all(isinstance(row.peers["other"], float) and row.peers["other"] > 0 for row in rows)


def test_a_slightly_worse_answer_is_timed(quick, monkeypatch):
    """Less exact than rnngen has to be."""
    runtime(monkeypatch, lambda output, h_n: (output + 2e-5, h_n))
    assert isinstance(bench.compare(net(spec(cell="gru")))[0].peers["other"], float)


@pytest.mark.parametrize("off", [1e-3, float("nan")])
def test_a_wrong_answer_is_not_timed(quick, monkeypatch, off):
    runtime(monkeypatch, lambda output, h_n: (output, h_n + off))
    for row in bench.compare(net(spec(cell="gru"))):
        assert row.peers["other"].startswith("wrong: an error of at most 6e-05; got ")


def test_a_failure_is_not_ours(quick, monkeypatch):
    """Whatever a runtime raises: in one line, and the rest is timed."""

    def broken(*_):
        raise OSError("no such kernel\n  at node 7")

    runtime(monkeypatch, broken)
    for row in bench.compare(net(spec(cell="gru"))):
        assert row.peers["other"] == "failed: OSError: no such kernel at node 7"
        assert row.own > 0


def test_without_onnx(quick, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: ("onnxruntime",))
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = bench.compare(net(spec(cell="gru")))[0].peers["onnxruntime"]
    assert said == "failed: MissingError: onnx: other runtimes need it; got no such package"


def test_onnx_has_no_projections(quick, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: ("onnxruntime",))
    said = bench.compare(net(spec(proj_size=2)))[0].peers["onnxruntime"]
    assert said == "failed: ValueError: ONNX has no projections"


def test_installed(monkeypatch):
    """In their order, found without being loaded."""
    monkeypatch.setattr(peers, "find_spec", lambda name: name == "openvino" or None)
    assert peers.installed() == ("openvino",)
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    assert peers.installed() == ("onnxruntime", "openvino")


SHAPES = {
    "layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "both": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "no bias": {"bias": False},
}
NETS = {cell: fields for cell, fields in CELLS.items() if "proj_size" not in fields}


@pytest.mark.filterwarnings("ignore")  # of other packages, about themselves
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", NETS)
@pytest.mark.parametrize("name", peers.RUNTIMES)
def test_a_runtime_is_given_the_same_network(name, cell, shape):
    """Gates, directions, layers and states in their places: it agrees with torch."""
    pytest.importorskip("onnx")
    pytest.importorskip(name)
    s = spec(**NETS[cell], **SHAPES[shape])
    params = weights(s)
    case = Case(4, 3, ragged=False, states=True, batch_first=s.batch_first)
    peer = peers.make(name, s, params, case.steps, case.batch)
    own, truth = (validate.reference(s, params, d) for d in (s.dtype, "float64"))
    assert validate.measure(peer, own, truth, case).error < DTYPES[s.dtype].tol
    x, hx = validate.arguments(s, case)
    output, _ = peer(x, hx)
    np.testing.assert_array_equal(next(iter(peer.bind(x, hx)())), output.numpy())


@pytest.mark.parametrize("name", peers.RUNTIMES)
def test_a_runtime_is_told_one_thread(monkeypatch, name):
    """And float32, where it would take less."""
    told = {}

    class Fake:
        def __init__(self, *_, **__):
            pass

        def __getattr__(self, word):
            return lambda *_, **__: Fake()

        def compile_model(self, model, device, hints):
            told.update(hints, device=device)
            return Fake()

    class Options:
        def __setattr__(self, word, value):
            told[word] = value

    package = type("package", (), {"Core": Fake, "InferenceSession": Fake})
    package.SessionOptions = Options
    monkeypatch.setattr(importlib, "import_module", lambda _: package)
    peers.RUNTIMES[name](b"")
    threads = [value for word, value in told.items() if "threads" in word.lower()]
    assert set(threads) == {1}
    assert name != "openvino" or told["INFERENCE_PRECISION_HINT"] == "f32"


# What is shown.


def shown(capsys, *rows):
    console.timed(rows, as_json=False)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]


def test_torch_alone(capsys):
    lines = shown(capsys, Row(100, 8, 2e-5, 5e-5, **NONE))
    assert lines == ["T B rnngen torch", "100 8 20.0 us 50.0 us 2.5x"]


def test_a_column_for_each_and_the_floor(capsys):
    lines = shown(
        capsys,
        Row(1, 1, 1e-5, 2e-3, {"a": 3e-5, "b": "failed: why: so"}, 4e-9),
        Row(1, 2, 1e-5, 2e-5, {"a": "wrong: by 3", "b": "failed: why: so"}, 4e-5),
    )
    assert lines == [
        "T B rnngen torch a b floor",
        "1 1 10.0 us 2,000.0 us 200.0x 30.0 us 3.0x failed 0.004 us",
        "1 2 10.0 us 20.0 us 2.0x wrong failed 40.0 us",
        "a: wrong: by 3",
        "b: failed: why: so",
    ]


def test_for_programs(monkeypatch):
    said = []
    monkeypatch.setattr(console, "data", said.append)
    console.timed([Row(1, 1, 1.0, 2.0, {"a": 3.0, "b": "wrong: by 3"}, 0.5)], as_json=True)
    others = {"a": 3.0, "b": "wrong: by 3"}
    row = {"steps": 1, "batch": 1, "own": 1.0, "torch": 2.0, "peers": others}
    assert said == [[{**row, "floor": 0.5, "ratio": 2.0}]]
