"""CUDA networks on a device: numbers, memory, streams, graphs and what the sanitizer says.

`pytest -m smoke` takes a small network of each strategy and kind of numbers, `-m gpu` all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import pytest
import torch
from emulated import both, plan, poisoned, spec, too_many
from nets import CELLS, errors, weights
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnngen
from rnngen import render
from rnngen.device import DeviceNetwork
from rnngen.errors import DeviceError
from rnngen.validate import Case

pytestmark = pytest.mark.gpu

# Of each strategy; what a device without clusters has instead of them is tested there.
KINDS = {
    "sm": {"cell": "lstm", "hidden_size": 33},
    "sm, weights in shared memory": {"cell": "lstm", "hidden_size": 128, "isa": "sm_80"},
    "cluster": {"cell": "lstm", "hidden_size": 260},
    "cluster, weights in shared memory": {"cell": "gru", "hidden_size": 448},
    "grid": {"cell": "gru", "hidden_size": 700},
    "grid, both directions": {"cell": "lstm", "hidden_size": 600, "bidirectional": True},
    "wavefront": {"cell": "lstm", "hidden_size": 96, "num_layers": 4, "bidirectional": False},
    "wavefront of clusters": {
        "cell": "gru",
        "hidden_size": 256,
        "num_layers": 3,
        "bidirectional": False,
    },
    "wavefront, float16": {
        "cell": "lstm",
        "hidden_size": 128,
        "num_layers": 3,
        "bidirectional": False,
        "dtype": "float16",
    },
    "step": {"cell": "gru", "hidden_size": 2100},
    "step, projected": {"cell": "lstm", "hidden_size": 40, "proj_size": 7},
    "step, float64": {"cell": "lstm", "hidden_size": 20, "dtype": "float64"},
    "sm, float16": {"cell": "gru", "hidden_size": 33, "dtype": "float16"},
    "sm, float16, warps to share": {"cell": "lstm", "hidden_size": 13, "dtype": "float16"},
    "sm, bfloat16, weights in shared memory": {
        "cell": "gru",
        "hidden_size": 150,
        "dtype": "bfloat16",
        "isa": "sm_80",
    },
    "cluster, bfloat16": {"cell": "lstm", "hidden_size": 256, "dtype": "bfloat16"},
    "cluster, float16, weights in shared memory": {"hidden_size": 160, "dtype": "float16"},
    "cluster, float16, warps to share": {"cell": "gru", "hidden_size": 512, "dtype": "float16"},
    "grid, float16": {"cell": "lstm", "hidden_size": 700, "dtype": "float16"},
    "grid, bfloat16, both directions": {
        "cell": "gru",
        "hidden_size": 800,
        "dtype": "bfloat16",
        "bidirectional": True,
    },
    "step, float16": {"cell": "gru", "hidden_size": 2200, "dtype": "float16"},
    "step, bfloat16, projected": {"hidden_size": 40, "proj_size": 7, "dtype": "bfloat16"},
}
SMALL = (  # all strategies in 32 bits, in 16, and float64
    *("sm", "cluster", "grid", "wavefront", "step, projected", "step, float64"),
    *("sm, float16", "cluster, bfloat16", "grid, float16", "wavefront, float16"),
    "step, bfloat16, projected",
)


def each(*smoke: str) -> pytest.MarkDecorator:
    """All kinds, of which some are a smoke test."""
    marks = {name: (pytest.mark.smoke,) if name in smoke else () for name in KINDS}
    kinds = [pytest.param(kind, id=name, marks=marks[name]) for name, kind in KINDS.items()]
    return pytest.mark.parametrize("kind", kinds)


EACH, SMOKE = each(), each(*SMALL)
WIDTHS = {"sm": {"hidden_size": 20}, "cluster": {"hidden_size": 260}}
WIDTHS |= {f"{k}, 16 bits": {**v, "dtype": "bfloat16"} for k, v in WIDTHS.items()}
WIDTHS["grid"] = {"hidden_size": 700}
WIDTHS["step"] = {"hidden_size": 20, "dtype": "float64"}
WIDTHS["grid, 16 bits"] = {"hidden_size": 800, "dtype": "float16"}


@pytest.fixture(scope="session", autouse=True)
def device(nvcc, request):
    """What all of these need. Networks of the smoke test are compiled side by side."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    if any(item.get_closest_marker("smoke") for item in request.session.items):
        kinds = [KINDS[name] for name in SMALL]
        nets([f(k) for k in kinds for f in (dict, both, partial(both, num_layers=2))])


def nets(many: list[dict]) -> list[DeviceNetwork]:
    """Networks with torch's weights, scaled so that sums stay around 1, compiled side by side."""
    specs = [spec(**{"isa": "native", **fields}) for fields in many]
    scales = [min(1.0, (s.hidden_size / s.input_size) ** 0.5) for s in specs]
    states = [weights(s, 0, scale) for s, scale in zip(specs, scales, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(rnngen.compile, specs, states))


def net(**fields) -> DeviceNetwork:
    return nets([fields])[0]


def noise(network, *shape, device="cuda") -> torch.Tensor:
    """The same each time, on a device."""
    dice = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=dice, dtype=getattr(torch, network.spec.dtype)).to(device)


def flat(answer) -> list[torch.Tensor]:
    """Output and states on the CPU, when the device is done."""
    output, states = answer
    states = states if type(states) is tuple else (states,)
    return [tensor.cpu() for tensor in (getattr(output, "data", output), *states)]


def same(a, b) -> bool:
    """Whether two calls gave the same bits."""
    return all(torch.equal(*pair) for pair in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_torch_in_float64(cell, width):
    """Every combination of layers, directions, bias and layout."""
    names = ("num_layers", "bidirectional", "bias", "batch_first")
    rows = product((1, 3), (False, True), (False, True), (False, True))
    fields = {**CELLS[cell], **WIDTHS[width]}
    for network in nets([fields | dict(zip(names, row, strict=True)) for row in rows]):
        report = network.validate()
        assert report.ok, (network.spec, report)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_sizes_at_which_layouts_change(cell, dtype):
    """From one unit to more than a chip holds, and more sequences than multiprocessors."""
    sizes = [
        1,
        4,
        31,
        64,
        65,
        96,
        97,
        127,
        128,
        129,
        255,
        257,
        384,
        416,
        417,
        480,
        481,
        512,
        513,
        849,
    ]
    cases = [Case(5, b, ragged, True, False) for b, ragged in ((1, False), (7, True), (300, True))]
    fields = {"cell": cell, "input_size": 17, "dtype": dtype}
    for network in nets([{**fields, "hidden_size": h} for h in sizes]):
        report = errors(network, *cases)
        assert report.ok, (network.spec, report)


@SMOKE
def test_of_each_kind_beside_torch(kind):
    report = net(**kind).validate()
    assert report.ok, report


def test_the_default_isa():
    """Code for all architectures, this one's among them."""
    assert net(isa="auto", num_layers=2, bidirectional=True).validate().ok


@EACH
def test_more_steps_than_a_grid_has_blocks(kind):
    """torch on cuDNN fails beyond 65,535 steps."""
    report = errors(net(**kind), Case(70_000, 1, ragged=False, states=True, batch_first=False))
    assert report.ok, report


@SMOKE
def test_memory_is_not_read_before_it_is_written(kind):
    """Answers and scratch are NaN when a call gets them."""
    network = net(**both(kind, num_layers=2))
    x, lengths = noise(network, 50, 9, 3), torch.arange(9) * 6 + 2
    expected = network(x), network(x, lengths=lengths)
    with poisoned():
        assert x.new_empty(9).isnan().all()
        assert same(network(x), expected[0])
        assert same(network(x, lengths=lengths), expected[1])


@SMOKE
def test_the_same_bits_each_time(kind):
    """Of more sequences than a grid has room for, which take turns there."""
    network = net(**both(kind))
    x = noise(network, 40, 200, 3)
    first = network(x)
    assert all(same(network(x), first) for _ in range(100))


@EACH
@pytest.mark.parametrize("batch", [2, 9, 70, 300])
def test_a_sequence_does_not_see_its_neighbours(kind, batch):
    """Nor whether the batch is packed, padded or whole."""
    network = net(**both(kind))
    x = noise(network, 12, batch, 3)
    lengths = torch.arange(batch) % 12 + 1
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    whole, padded, (y, h) = network(x), network(x, lengths=lengths), network(packed)
    assert same(padded, (pad_packed_sequence(y, total_length=12)[0], h))
    for b in {0, batch // 2, batch - 1}:
        alone = network(x[:, b : b + 1])
        short = network(x[: lengths[b], b : b + 1])
        for one, among in ((alone, whole), (short, padded)):
            for mine, all_ in zip(flat(one), flat(among), strict=True):
                assert torch.equal(mine[:, 0], all_[: len(mine), b])


@SMOKE
def test_streams(kind):
    """Two side by side do not disturb each other."""
    network = net(**kind)
    inputs = [noise(network, 100, 20, 3) * sign for sign in (1, -1)]
    expected = [network(x) for x in inputs]
    torch.cuda.synchronize()
    streams, answers = [torch.cuda.Stream() for _ in inputs], []
    for n in range(40):
        with torch.cuda.stream(streams[n % 2]):
            answers.append(network(inputs[n % 2]))
    torch.cuda.synchronize()
    assert all(same(answer, expected[n % 2]) for n, answer in enumerate(answers))


@EACH
def test_a_call_does_not_wait(kind):
    network = net(**kind)
    x = noise(network, 3, 2, 3)
    network(x)
    call = network.bind(x)
    for run in (lambda: network(x), call.run):
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000_000)  # cycles, about a second
        run()
        assert not torch.cuda.current_stream().query()


@SMOKE
def test_graphs(kind):
    """Captured, and replayed with other numbers, a call gives what it gives without."""
    network = net(**both(kind, num_layers=2))
    x = noise(network, 30, 5, 3)
    expected = flat(network(-x))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = network(x)
    x.neg_()
    graph.replay()
    assert all(map(torch.equal, flat(captured), expected))


@SMOKE
def test_bound(kind):
    """The bits of a plain call, from what lies in the buffers then; zeros beyond lengths."""
    network = net(**both(kind, num_layers=2))
    x, lengths = noise(network, 30, 5, 3), torch.arange(5) * 7 + 2
    for more in ({}, {"lengths": lengths}):
        call = network.bind(x, **more)
        for _ in range(3):
            x.neg_()
            call.output.fill_(torch.nan)
            call.run()
            assert same(call.answer(), network(x, **more))


@EACH
def test_bound_in_a_graph_and_on_another_stream(kind):
    """The graph does with the call's memory what a run does, also when the call is gone."""
    network = net(**kind)
    x = noise(network, 30, 5, 3)
    call, graph, stream = network.bind(x), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.graph(graph):
        call.run()
    x.neg_()
    expected = network(x)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call.run()
    stream.synchronize()
    assert same(call.answer(), expected)
    x.neg_()
    expected, answer = network(x), call.answer()
    del call
    graph.replay()
    assert same(answer, expected)


def test_two_devices():
    """Weights go to each; states have to be where the input is."""
    if torch.cuda.device_count() < 2:
        pytest.skip("no second CUDA device here")
    network = net(num_layers=2)
    first, second = (noise(network, 4, 2, 3, device=f"cuda:{n}") for n in range(2))
    answer = network(second)
    assert answer[0].device == second.device
    stepwise = net(**KINDS["step, float64"])
    for network_, x in ((network, second), (stepwise, second.double())):
        call = network_.bind(x)
        call.run()
        assert same(call.answer(), network_(x))
    pairs = zip(flat(answer), flat(network(first)), strict=True)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in pairs)
    with pytest.raises(RuntimeError, match="not at the same device"):
        network(first, answer[1])


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_refusals_leave_the_device_usable(place):
    network = net()
    x = noise(network, 4, 2, 3)
    before = network(x)
    states = torch.zeros(1, 2, 5, device=place)
    for args in ((x.to(place),), (x, (states, states))):
        with pytest.raises(RuntimeError, match="not at the same device"):
            network(*args)
    assert same(network(x), before)


@pytest.mark.smoke
def test_a_launch_that_is_refused(monkeypatch):
    """More blocks that wait for each other than there is room for: the next call is as before."""
    network = net(**KINDS["grid"])
    files = render.files(network.plan)
    changed = {name: too_many(t) if name.endswith(".cu") else t for name, t in files.items()}
    monkeypatch.setattr(render, "files", lambda plan: changed)
    greedy = net(**KINDS["grid"])
    assert greedy.library.path != network.library.path
    x = noise(network, 3, 1000, 3)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"as many multiprocessors .* got CUDA error 720$"):
            greedy(x)
        assert same(greedy(x[:, :1]), network(x[:, :1]))
    torch.cuda.synchronize()


def test_cupy_arrays():
    """Read on torch's stream when CuPy's, which made them, has come so far."""
    cupy = pytest.importorskip("cupy")
    network = net()
    x = noise(network, 4, 2, 3)
    expected = network(x)
    torch.cuda.synchronize()
    with cupy.cuda.Stream(non_blocking=True), torch.cuda.stream(torch.cuda.Stream()):
        slow = cupy.zeros((8192, 8192), cupy.float32)
        array = cupy.empty(x.shape, cupy.float32)
        for _ in range(20):
            slow = slow @ slow
        array[...] = cupy.asarray(x.cpu().numpy()) + slow[0, 0]
        assert same(network(array), expected)


def test_jax_arrays(monkeypatch):
    """Made by a program that may still run when the array is there."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory, too
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("no JAX on a CUDA device here")
    network = net()
    x = noise(network, 4, 2, 3)
    slow = jax.numpy.zeros((8192, 8192))
    for _ in range(20):
        slow = slow @ slow
    array = jax.numpy.asarray(x.cpu().numpy()) + slow[0, 0]
    with torch.cuda.stream(torch.cuda.Stream()):
        assert same(network(array), network(x))


SCRIPT = """
import json, sys, torch, rnngen
fields, shapes = map(json.loads, sys.argv[1:])
net = rnngen.compile(fields, {name: torch.full(shape, 0.1) for name, shape in shapes.items()})
x = torch.ones(5, 9, 3).to(getattr(torch, net.spec.dtype)).cuda()
net(x), net(x, lengths=torch.arange(9) % 5 + 1)
call = net.bind(x)
call.run(), call.run()
torch.cuda.synchronize()
"""


@pytest.mark.parametrize("check", ["memcheck", "racecheck", "synccheck"])
@each("sm", "cluster", "sm, float16")
def test_sanitizer(kind, check, tool):
    """Each tensor has memory of its own there, so that nobody's is next to it."""
    program = tool("compute-sanitizer")
    fields = {"isa": "native", **both(kind, num_layers=2)}
    net(**fields)  # compiled before
    p = plan(**fields)
    given = [json.dumps(p.model.spec.public()), json.dumps(dict(p.model.params))]
    command = [program, "--tool", check, "--error-exitcode", "9", "--target-processes", "all"]
    command += ["--kernel-name", "kernel_substring=net_"]  # torch's own are not checked
    command += ["--report-api-errors", "no"] if check == "memcheck" else []
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    command += [sys.executable, "-c", SCRIPT, *given]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
