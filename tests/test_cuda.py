"""CUDA networks without a device: their kernels run on the processor, thread by thread.

What that cannot see is in test_cuda_build.py (what nvcc makes of them) and test_cuda_device.py.
"""

from __future__ import annotations

import ctypes
import gc
import pickle
import re
import weakref
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from emulated import (
    Emulated,
    both,
    compiled,
    example,
    net,
    plan,
    poisoned,
    sanitized,
    with_graphs,
    with_weights,
)
from nets import errors, module
from test_cuda_device import KINDS as ON_DEVICE
from test_cuda_device import SMALL
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from rnngen import cuda, render, tensors
from rnngen.errors import DeviceError
from rnngen.grid import GridTiles
from rnngen.tiles import Tiles
from rnngen.validate import Case
from rnngen.weights import save

pytestmark = pytest.mark.usefixtures("gxx")

# Sizes: one unit, a rest of a quad, more than a warp, several lanes to a unit, a unit for each
# thread, weights in shared memory; and what is not for one multiprocessor.
SM = [
    {"cell": cell, "input_size": i, "hidden_size": h, **more}
    for cell in ("lstm", "gru", "rnn")
    for i, h, more in (
        (1, 1, {}),
        (3, 5, {"num_layers": 2, "bidirectional": True}),
        (17, 20, {"bias": False}),
        (2, 33, {"bidirectional": True, "batch_first": True}),
    )
] + [
    {"cell": "gru", "input_size": 5, "hidden_size": 64, "bidirectional": True},
    {"cell": "lstm", "input_size": 5, "hidden_size": 112, "isa": "sm_80"},
    {"cell": "gru", "input_size": 5, "hidden_size": 140, "isa": "sm_80"},
    {"cell": "rnn", "input_size": 5, "hidden_size": 230, "isa": "sm_80", "nonlinearity": "relu"},
]
CLUSTER = [
    {"cell": "lstm", "input_size": 5, "hidden_size": 128},
    {"cell": "lstm", "input_size": 3, "hidden_size": 133, "num_layers": 2, "bidirectional": True},
    {"cell": "gru", "input_size": 3, "hidden_size": 130, "bias": False, "batch_first": True},
    {"cell": "gru", "input_size": 3, "hidden_size": 227, "isa": "sm_90"},
    {"cell": "gru", "input_size": 3, "hidden_size": 321, "isa": "sm_90"},
    {"cell": "lstm", "input_size": 3, "hidden_size": 259, "bidirectional": True},
    {"cell": "rnn", "input_size": 5, "hidden_size": 257, "nonlinearity": "relu"},
]
HALF = [{"dtype": dtype} for dtype in ("float16", "bfloat16")]
SM += [
    {"cell": cell, "input_size": i, "hidden_size": h, **half, **more}
    for half in HALF
    for cell, i, h, more in (
        ("lstm", 3, 5, {"num_layers": 2, "bidirectional": True}),
        ("gru", 17, 20, {"bias": False}),
        ("gru", 40, 33, {"bidirectional": True, "batch_first": True}),
        ("rnn", 2, 64, {"isa": "sm_80"}),
        ("lstm", 5, 130, {"isa": "sm_80"}),
    )
]
CLUSTER += [
    {"cell": cell, "input_size": 3, "hidden_size": h, **half, **more}
    for half in HALF
    for cell, h, more in (
        ("lstm", 160, {}),
        ("lstm", 133, {"num_layers": 2, "bidirectional": True}),
        ("gru", 210, {"isa": "sm_90", "bias": False, "batch_first": True}),
        ("rnn", 257, {"nonlinearity": "relu", "isa": "sm_90"}),
        ("rnn", 601, {"isa": "sm_90"}),
    )
]
GRID = [
    {"cell": cell, "input_size": 3, "hidden_size": h, "isa": "sm_80", **more}
    for cell, h, more in (
        ("lstm", 129, {}),
        ("lstm", 133, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
        ("gru", 157, {"bidirectional": True}),
        ("gru", 256, {"bias": False}),
        ("rnn", 301, {"nonlinearity": "relu", "num_layers": 2}),
        ("lstm", 340, {"isa": "sm_120"}),
    )
] + [
    {"cell": cell, "input_size": 3, "hidden_size": h, "isa": "sm_80", **half, **more}
    for half in HALF
    for cell, h, more in (
        ("lstm", 167, {"num_layers": 2, "batch_first": True}),
        ("gru", 198, {"bidirectional": True}),
        ("rnn", 270, {"nonlinearity": "relu", "bias": False}),
    )
]
WAVEFRONT = [
    {"cell": cell, "input_size": 3, "hidden_size": h, "num_layers": layers, **more}
    for cell, h, layers, more in (
        ("lstm", 20, 4, {}),
        ("gru", 33, 3, {"bias": False}),
        ("gru", 128, 2, {"isa": "sm_90"}),
        ("rnn", 1, 7, {"batch_first": True}),
        ("rnn", 141, 2, {"nonlinearity": "relu"}),
        ("lstm", 81, 2, {"isa": "sm_80"}),
        ("rnn", 195, 2, {}),
        ("lstm", 133, 2, {}),
        ("gru", 150, 3, {"isa": "sm_90", "batch_first": True}),
        ("rnn", 256, 2, {"isa": "sm_90"}),
        ("rnn", 259, 2, {"isa": "sm_120", "bias": False}),
        ("gru", 260, 2, {}),
    )
] + [
    {"cell": cell, "input_size": 3, "hidden_size": h, "num_layers": layers, **half, **more}
    for half in HALF
    for cell, h, layers, more in (
        ("lstm", 20, 3, {}),
        ("gru", 33, 2, {"bias": False}),
        ("rnn", 65, 4, {"batch_first": True, "nonlinearity": "relu"}),
        ("gru", 150, 2, {"isa": "sm_80"}),
    )
]
STEP = [
    {"cell": "lstm", "input_size": 40, "hidden_size": 7, "proj_size": 3, "bidirectional": True},
    {"cell": "lstm", "input_size": 3, "hidden_size": 5, "dtype": "float64", "bias": False},
    {"cell": "gru", "input_size": 3, "hidden_size": 17, "dtype": "float64", "bidirectional": True},
    {"cell": "rnn", "input_size": 9, "hidden_size": 3, "dtype": "float64", "batch_first": True},
] + [
    {"cell": cell, "input_size": 8, "hidden_size": h, **half, **more}
    for half in HALF
    for cell, h, more in (
        ("lstm", 33, {"proj_size": 3, "bidirectional": True, "num_layers": 2}),
        ("lstm", 163, {"isa": "sm_80", "bias": False}),
        ("gru", 195, {"isa": "sm_80", "bidirectional": True, "batch_first": True}),
        ("rnn", 259, {"isa": "sm_80"}),
    )
]
STRATEGIES = {"sm": SM, "cluster": CLUSTER, "grid": GRID, "wavefront": WAVEFRONT, "step": STEP}
KINDS = {
    "sm": {"cell": "gru", "hidden_size": 33},
    "cluster": {"cell": "gru", "hidden_size": 131},
    "grid": {"cell": "gru", "hidden_size": 155, "isa": "sm_80"},
    "wavefront": {"cell": "gru", "hidden_size": 33, "num_layers": 3, "bidirectional": False},
    "wavefront of clusters": {
        "cell": "gru",
        "hidden_size": 131,
        "num_layers": 2,
        "bidirectional": False,
    },
    "step": {"cell": "gru", "hidden_size": 20, "dtype": "float64"},
    "sm in 16 bits": {"cell": "gru", "hidden_size": 33, "dtype": "float16"},
    "wavefront in 16 bits": {
        "cell": "gru",
        "hidden_size": 33,
        "num_layers": 2,
        "bidirectional": False,
        "dtype": "float16",
    },
    "sm in 16 bits, warps to share": {"cell": "gru", "hidden_size": 13, "dtype": "float16"},
    "cluster in 16 bits, warps to share": {
        "cell": "gru",
        "hidden_size": 230,
        "dtype": "bfloat16",
        "isa": "sm_90",
    },
    "cluster in 16 bits": {"cell": "gru", "hidden_size": 131, "dtype": "bfloat16", "isa": "sm_90"},
    "grid in 16 bits": {"cell": "gru", "hidden_size": 199, "dtype": "bfloat16", "isa": "sm_80"},
    "step in 16 bits": {"cell": "gru", "hidden_size": 195, "dtype": "float16", "isa": "sm_80"},
}
SLOW = ("wavefront of clusters",)  # to run so; some of it is in test_torch_in_float64
ALL = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=(pytest.mark.full,) if name in SLOW else ())
        for name, kind in KINDS.items()
    ],
)
CASES = [  # rows of one block of products and of several, of either kind
    Case(steps, batch, ragged, states, batch_first=False)
    for steps, batch, ragged, states in (
        (1, 1, False, False),
        (2, 3, False, True),
        (7, 9, False, True),
        (7, 3, True, False),
        (5, 10, True, True),
        (3, 66, True, True),
    )
]


def words(value) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


ROOM = {"step": 1, "grid": 64, "clusters": 48}  # multiprocessors for tests with that in their name


@pytest.fixture(autouse=True)
def processors(request, monkeypatch):
    """Where a grid finds too few multiprocessors, a network goes step by step."""
    for strategy, count in ROOM.items():
        if strategy in request.node.name:
            monkeypatch.setenv("SHIM_PROCESSORS", str(count))


def way(network, strategy: str) -> bool:
    """Whether it goes so: step by step where nothing else is possible."""
    if strategy == "grid" and network.plan.grid.resident > ROOM["grid"]:
        return False
    return network.plan.ways[-1 if strategy == "step" else 0].startswith(strategy)


def test_grids_find_room():
    """Those of the tests of all strategies, in both directions: else they would go step by step."""
    for name, kind in KINDS.items():
        assert "grid" not in name or plan(**both(kind)).grid.resident <= ROOM["grid"]


def test_a_device_sees_every_strategy():
    """Under its name; those of the smoke test in 32 bits or more and in 16."""
    plans = {name: plan(**{"isa": "native", **kind}) for name, kind in ON_DEVICE.items()}
    assert {name for name, p in plans.items() if not name.startswith(p.strategy)} == set()
    small = [plans[name] for name in SMALL]
    assert {(p.strategy, p.half) for p in small} == set(product(STRATEGIES, (False, True)))
    assert {p.dtype.name for p in small} == {"float32", "float64", "float16", "bfloat16"}


def beside_torch(network):
    """Answers and scratch are NaN when a call gets them."""
    cases = [replace(case, batch_first=network.spec.batch_first) for case in CASES]
    with poisoned():
        return errors(network, *cases)


def quick(fields) -> tuple[pytest.MarkDecorator, ...]:
    """bfloat16 is the same text as float16: some of it is tested by ALL, the rest in full, as are
    the most blocks at once.
    """
    many = fields.get("num_layers", 1) > 1 and fields["hidden_size"] > 256
    return (pytest.mark.full,) if fields.get("dtype") == "bfloat16" or many else ()


@pytest.mark.parametrize(
    ("strategy", "fields"),
    [
        pytest.param(strategy, fields, marks=quick(fields))
        for strategy, nets in STRATEGIES.items()
        for fields in nets
    ],
    ids=words,
)
def test_torch_in_float64(strategy, fields, monkeypatch):
    network = net(**fields)
    assert way(network, strategy)
    if strategy == "grid":
        monkeypatch.setenv("SHIM_PROCESSORS", str(2 * network.plan.grid.resident))
    if strategy == "wavefront":  # two sequences at once
        monkeypatch.setenv("SHIM_PROCESSORS", str(2 * network.plan.residences[0].resident))
    report = beside_torch(network)
    assert report.ok, report
    if network.plan.half:  # torch rounds every sum
        assert report.error < report.torch_error, report


def test_clusters_of_two(monkeypatch):
    """The smallest are as right as others, also where they take turns."""
    monkeypatch.setenv("SHIM_PROCESSORS", "4")
    network = net(isa="sm_90", cell="lstm", hidden_size=101, bidirectional=True)
    assert network.plan.ways == ("cluster2",)
    report = beside_torch(network)
    assert report.ok, report


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", ["h", "c", "s"])
def test_names_of_one_letter(name, cell):
    """What begins with them is no parameter's name."""
    assert compiled(plan(name=name, cell=cell, num_layers=2)).exists()


@ALL
def test_stretches_give_the_same_bits(kind, monkeypatch):
    """However a sequence is cut, in both directions, padded and packed."""
    fields = both(kind, num_layers=2)
    whole = net(**fields)
    monkeypatch.setattr(cuda, "STRETCH", 3 * whole.plan.sums_row * whole.plan.dtype.real.bytes)
    cut = with_weights(plan(**fields))
    assert cut.plan.stretch == 3
    x = noise(whole, 8, 1, 3)
    for batch in (1, 5):
        wide = x.repeat(1, batch, 1)
        lengths = torch.arange(batch) + 4
        packed = pack_padded_sequence(wide, lengths, enforce_sorted=False)
        assert_same(cut(wide), whole(wide))
        assert_same(cut(packed), whole(packed))
        assert_same(cut(wide, lengths=lengths), whole(wide, lengths=lengths))


def assert_same(ours, theirs):
    """The same bits in every answer."""
    for one, other in zip(flat(ours), flat(theirs), strict=True):
        assert torch.equal(one, other)


def flat(answer) -> list[torch.Tensor]:
    output, states = answer
    output = getattr(output, "data", output)
    return [output, *(states if isinstance(states, tuple) else (states,))]


@ALL
@pytest.mark.parametrize("batch", [2, 9, 70])
def test_a_sequence_does_not_see_its_neighbours(kind, batch):
    network = net(**both(kind))
    x = noise(network, 5, batch, 3)
    output, h = network(x)
    for b in {0, batch // 2, batch - 1}:
        alone, h_b = network(x[:, b : b + 1])
        assert torch.equal(output[:, b : b + 1], alone)
        assert torch.equal(h[:, b : b + 1], h_b)


@ALL
@pytest.mark.parametrize("batch", [4, 8])
def test_nan_stays_in_its_sequence(kind, batch, monkeypatch):
    """Also where a block, a cluster or a tile of products has several sequences at once."""
    network = net(**both(kind))
    if network.plan.strategy == "grid":  # no room for one beside another
        monkeypatch.setenv("SHIM_PROCESSORS", str(network.plan.grid.resident))
    x = noise(network, 4, batch, 3)
    clean = flat(network(x))
    x[1, 2] = torch.nan
    others = [b for b in range(batch) if b != 2]
    for ours, before in zip(flat(network(x)), clean, strict=True):
        assert ours[:, 2].isnan().any()
        assert torch.equal(ours[:, others], before[:, others])


@ALL
@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_is_not_read_and_comes_out_zero(kind, batch_first):
    network = net(**both(kind, num_layers=2, batch_first=batch_first))
    x = noise(network, 6, 4, 3)
    lengths = torch.tensor([2, 6, 1, 3])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    expected, states = network(packed)
    expected, _ = pad_packed_sequence(expected)
    for b, length in enumerate(lengths):
        x[length:, b] = torch.nan
    turned = x.transpose(0, 1) if batch_first else x  # not contiguous: it is copied
    output, got = network(turned, lengths=lengths)
    assert torch.equal(output.transpose(0, 1) if batch_first else output, expected)
    assert_same((output, got), (output, states))


@ALL
def test_infinity_stays_infinite(kind):
    """Units that there are not have no part in it: times their zeros it would be NaN."""
    network = net(**both(kind))
    network.load_state_dict({k: np.abs(v) for k, v in network.arrays().items()})
    x, (h,) = arguments(network, steps=2)
    h[:, 1, 2] = torch.inf
    twin = module(network.spec).double()
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in network.arrays().items()})
    for ours, theirs in zip(flat(network(x, h)), flat(twin(x.double(), h.double())), strict=True):
        assert ours.isinf().any()
        assert torch.equal(ours.isinf(), theirs.isinf())
        assert not ours.isnan().any()


def noise(network, *shape: int) -> torch.Tensor:
    """Random input in the network's dtype, the same each time."""
    dice = torch.Generator().manual_seed(7)
    return torch.randn(*shape, generator=dice, dtype=getattr(torch, network.spec.dtype))


@ALL
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_every_interleaving_gives_the_same_bits(kind, seed, monkeypatch):
    network = net(**both(kind))
    x = noise(network, 4, 3, 3)
    first = network(x)
    monkeypatch.setenv("SHIM_SEED", str(seed))
    assert_same(network(x), first)


IN_16_BITS = [  # a grid by 400 launches is slow; what it keeps between them is also in stretches
    pytest.param(kind, id=name, marks=(pytest.mark.full,) if "grid" in name else ())
    for name, kind in KINDS.items()
    if "float16" in kind.get("dtype", "")
]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", IN_16_BITS)
def test_small_changes_add_up(kind, cell, monkeypatch):
    """Of a state that adds to itself: c, and h of a GRU, have 32 bits, also from launch to launch.

    400 steps add 2^-12 each; in bfloat16 that is lost from 1/16 on.
    """
    fields = {**kind, "cell": cell, "dtype": "bfloat16"}
    monkeypatch.setattr(cuda, "STRETCH", 1)  # step by step
    network = net(**fields)
    params = {name: np.zeros_like(value) for name, value in network.arrays().items()}
    rows = params["bias_ih_l0"].reshape(len(network.plan.cell.gates), -1)
    if cell == "lstm":
        rows[:] = np.array([30, 30, 2**-12, 30])[:, None]  # i, f and o open, g adds
    else:
        rows[:] = np.array([0, 8.25, 2**-3])[:, None]  # z nearly shut: 1/3800 of n each step
    network.load_state_dict(params)
    x = noise(network, 400, 2, 3)
    _, states = network(x)
    truth = module(network.spec).double()
    truth.load_state_dict({k: torch.from_numpy(v) for k, v in params.items()})
    _, right = truth(x.double())
    for ours, theirs in zip(flat((x, states))[1:], flat((x, right))[1:], strict=True):
        assert (ours - theirs).abs().max() < theirs.abs().max() * 2**-8


def test_more_steps_than_a_grid_has_blocks():
    """torch on cuDNN fails beyond 65,535 steps."""
    network = net(cell="rnn", input_size=1, hidden_size=1)
    x = torch.randn(66_000, 1, 1)
    twin = module(network.spec)
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in network.arrays().items()})
    expected, _ = twin(x)
    output, _ = network(x)
    assert (output - expected).abs().max() < 1e-6


@ALL
def test_shapes_of_torch(kind):
    """Without batch, an empty batch, a state given and not changed."""
    network = net(**kind | {"cell": "lstm"})
    units, layers = network.spec.hidden_size, network.spec.num_layers
    x, *hx = noise(network, 4, 3), *(noise(network, layers, units) for _ in "hc")
    before = [state.clone() for state in hx]
    output, (h, c) = network(x, hx)
    assert output.shape == (4, units)
    assert h.shape == c.shape == (layers, units)
    batched, _ = network(x[:, None], tuple(state[:, None] for state in hx))
    assert torch.equal(batched[:, 0], output)
    assert all(torch.equal(*pair) for pair in zip(hx, before, strict=True))
    strided = [torch.stack((state, -state), 2)[..., 0] for state in hx]
    assert_same(network(x, strided), (output, (h, c)))
    output, (h, _) = network(x.new_empty(4, 0, 3))
    assert output.shape == (4, 0, units)
    assert h.shape == (layers, 0, units)


@pytest.mark.parametrize("room", [0, 1, 8, 16])
@pytest.mark.parametrize(
    ("fields", "ways"),
    [
        ({"hidden_size": 128}, {0: "sm", 8: "cluster4"}),
        ({"hidden_size": 20, "num_layers": 3}, {0: "sm", 1: "wavefront"}),
        ({"hidden_size": 128, "num_layers": 2}, {0: "sm", 7: "cluster4", 8: "wavefront"}),
        ({"hidden_size": 256}, {0: "step", 1: "grid", 8: "cluster8"}),
        ({"hidden_size": 384}, {0: "step", 1: "grid", 8: "cluster8", 16: "cluster16"}),
        ({"hidden_size": 440}, {0: "step", 1: "grid", 16: "cluster16"}),
        ({"hidden_size": 133, "isa": "sm_80"}, {0: "step", 1: "grid"}),
        (
            {"hidden_size": 768, "cell": "rnn", "dtype": "float16"},
            {0: "step", 1: "grid", 8: "cluster8", 16: "cluster16"},
        ),
    ],
    ids=words,
)
def test_a_device_takes_the_way_that_it_has_room_for(fields, ways, room, monkeypatch):
    """Such as an A100, without clusters, and a part of one, with what is compiled for all."""
    monkeypatch.setenv("SHIM_CLUSTER", str(room if room > 1 else 0))
    monkeypatch.setenv("SHIM_PROCESSORS", str(108 if room else 1))
    network = net(**fields)
    assert network.plan.ways == tuple(ways[most] for most in sorted(ways, reverse=True))
    way = ways[max(most for most in ways if most <= room)]
    others = "|".join(set(ways.values()) - {way})
    call = rf"return net_run_({others})\(.*;"
    only = with_weights(
        network.plan, lambda text: re.sub(call, "return cudaErrorNotSupported;", text), "-w"
    )
    x = noise(network, 3, 2, 3)
    assert_same(only(x), network(x))


def test_weights_may_change():
    network = net()
    x = torch.randn(3, 2, 3)
    before, _ = network(x)
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    after, _ = network(x)
    assert not torch.equal(before, after)
    twin = with_weights(network.plan)
    assert torch.equal(twin(x)[0], before)


def test_a_graph_keeps_the_weights_that_it_reads(monkeypatch):
    """A replay after new ones came must not read memory that is someone else's by then."""
    network = net()
    x = torch.randn(3, 2, 3)
    network(x)
    seen = [weakref.ref(network._placed(torch.device("cpu"), 0)[-1])]
    monkeypatch.setattr(network, "captured", True)
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    network(x)
    seen.append(weakref.ref(network._placed(torch.device("cpu"), 0)[-1]))
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    assert [ref() is not None for ref in seen] == [False, True]


@pytest.fixture
def graphs(monkeypatch):
    """CUDA graphs on the processor."""
    with_graphs(monkeypatch)


class Untouched(TorchDispatchMode):
    """torch is not asked for anything, not for memory either."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise AssertionError(func)


def arguments(network, batch=3, steps=5):
    """x and states."""
    spec = network.spec
    shape = len(network.plan.model.passes), batch, spec.hidden_size
    hx = noise(network, *shape), -noise(network, *shape)
    return noise(network, steps, batch, spec.input_size), hx[: len(network.plan.state_sizes)]


def given(hx):
    """As a call takes states."""
    return hx if len(hx) == 2 else hx[0]


@ALL
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_bound_is_called(kind, cell, graphs):
    """The same bits as a plain call, from what lies in the buffers then, and in the same memory."""
    network = net(**both(kind) | {"cell": cell})
    x, hx = arguments(network)
    call = network.bind(x, given(hx))
    places = [answer.data_ptr() for answer in flat(call.answer())]
    assert (call._graph is not None) == network.plan.step
    for _ in range(3):
        with Untouched():
            call.run()
        assert_same(call.answer(), network(x, given(hx)))
        x.copy_(x.roll(1))
        for state in hx:
            state.neg_()
    assert places == [answer.data_ptr() for answer in flat(call.answer())]


@ALL
@pytest.mark.parametrize("batch_first", [False, True])
def test_bound_lengths(kind, batch_first, graphs):
    """Each run writes the zeros beyond them."""
    network = net(**both(kind, num_layers=2, batch_first=batch_first))
    x = noise(network, 4, 4, 3)
    lengths = torch.tensor([2, 4, 1, 3])
    call = network.bind(x, lengths=lengths)
    expected = network(x, lengths=lengths)
    lengths.fill_(4)  # those of when it was bound
    for _ in range(2):
        for answer in flat(call.answer()):
            answer.fill_(torch.nan)
        call.run()
        assert_same(call.answer(), expected)


@ALL
def test_bound_without_batch_and_empty(kind, graphs):
    """2-D input; a batch of no sequences does nothing, and is no graph."""
    network = net(**kind)
    x, hx = arguments(network, 1)
    call = network.bind(x[:, 0], hx[0][:, 0])
    call.run()
    assert_same(call.answer(), network(x[:, 0], hx[0][:, 0]))
    empty = network.bind(x[:, :0])
    empty.run()
    assert empty._graph is None
    assert empty.output.shape == (5, 0, network.spec.hidden_size)


def test_bound_arrays_that_speak_dlpack():
    network = net(cell="gru")
    x, (h,) = arguments(network)
    call = network.bind(x.numpy(), h.numpy())
    x.neg_()
    call.run()
    assert_same(call.answer(), network(x, h))


@ALL
def test_bound_weights_stay(kind, graphs):
    network = net(**kind)
    x, hx = arguments(network)
    before = network(x, given(hx))
    call = network.bind(x, given(hx))
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    call.run()
    assert_same(call.answer(), before)


@ALL
def test_bound_keeps_what_it_reads(kind, graphs):
    """`run` alone is enough; without it nothing is left."""
    network = net(**both(kind))
    x, hx = arguments(network)
    call = network.bind(x, given(hx), lengths=[5, 1, 2])
    kept = [weakref.ref(tensor) for tensor in call._kept if torch.is_tensor(tensor)]
    kept.append(weakref.ref(call._kept[-1][-1]))
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    run = call.run
    del call, x, hx
    gc.collect()
    assert len(kept) == 7  # x, output, h_0, h_n, lengths, scratch, weights
    assert all(ref() is not None for ref in kept)
    run()
    del run
    gc.collect()
    assert all(ref() is None for ref in kept)


BY_STEPS = {"cell": "gru", "hidden_size": 20, "dtype": "float64"}


def test_bound_launches_of_steps_are_captured_once(graphs):
    """A run replays them; while something else is captured, it launches them itself."""
    network = net(**BY_STEPS)
    x, (h,) = arguments(network)
    call = network.bind(x, h)
    graph = call._graph
    assert len(graph.launches) == 1
    call.run()
    call.run()
    assert (graph.replays, network._captured) == (2, [])
    network.captured = True
    call.output.fill_(torch.nan)
    call.run()
    assert (graph.replays, len(graph.launches)) == (2, 1)
    assert_same(call.answer(), network(x, h))


@ALL
def test_a_graph_keeps_the_memory_of_bound_calls(kind, graphs):
    """It is read and written when the graph is replayed, with the call or without."""
    network = net(**kind)
    x, hx = arguments(network)
    call = network.bind(x, given(hx))
    output, scratch = weakref.ref(call.output), weakref.ref(call._kept[-2])
    network.captured = True
    call.run()
    del call
    gc.collect()
    assert output() is not None
    assert scratch() is not None


def test_bound_refuses():
    """What cannot be read in place, and what a call refuses."""
    network = net()
    x, (h, c) = arguments(network)
    with pytest.raises(ValueError, match=r"bind: input contiguous .* \(5, 2, 3\) in strides of"):
        network.bind(x[:, ::2])
    for wide in ((h.mT.contiguous().mT, c), (h, c.mT.contiguous().mT)):
        with pytest.raises(ValueError, match=r"bind: [hc]x contiguous .* of \(60, 4, 12\) bytes"):
            network.bind(x, wide)
    with pytest.raises(ValueError, match=r"bind: padded input, .* got a PackedSequence"):
        network.bind(torch.nn.utils.rnn.pack_sequence([x[:, 0]]))
    with pytest.raises(RuntimeError, match="input_size"):
        network.bind(x[:, :, :2].contiguous())
    with pytest.raises(RuntimeError, match="no weights"):
        Emulated(network.plan, network.library).bind(x)
    network.captured = True
    with pytest.raises(RuntimeError, match="bind: before a CUDA graph is captured"):
        network.bind(x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_state_dict_has_the_dtype(dtype, tmp_path):
    """Tensors as they came; a file keeps every bit."""
    network = net(dtype=dtype)
    theirs = module(network.spec).state_dict()
    network.load_state_dict(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in network.state_dict().items())
    saved = tmp_path / "w.safetensors"
    save(network.arrays(), saved)
    network.load_state_dict(saved)
    assert all(np.array_equal(v, theirs[k].float().numpy()) for k, v in network.arrays().items())


def test_pickled_it_is_a_spec_and_weights():
    function, args = net().__reduce__()
    assert function.__name__ == "compile"
    assert args[0].target == "cuda"
    assert set(args[1]) == set(net().arrays())
    pickle.dumps(args)


REFUSED = {
    "a list": (
        (TypeError, "input: a torch tensor on cpu; got list"),
        lambda: ([[[0.0] * 3]] * 2,),
    ),
    "another dtype": (
        (
            ValueError,
            "RNN input dtype (torch.float64) does not match weight dtype (torch.float32). Convert "
            "input: input.to(torch.float32), or convert model: model.to(torch.float64)",
        ),
        lambda: (torch.zeros(2, 1, 3, dtype=torch.float64),),
    ),
    "states of another dtype": (
        (
            RuntimeError,
            "RNN hx dtype (torch.float64) does not match weight dtype (torch.float32). Convert "
            "hx: hx.to(torch.float32), or convert model: model.to(torch.float64)",
        ),
        lambda: (torch.zeros(2, 1, 3), (torch.zeros(1, 1, 5, dtype=torch.float64),) * 2),
    ),
    "another device": (
        (
            RuntimeError,
            "Input and parameter tensors are not at the same device, found input tensor at meta "
            "and parameter tensor at cpu",
        ),
        lambda: (torch.zeros(2, 1, 3, device="meta"),),
    ),
    "width": (
        (RuntimeError, "input.size(-1) must be equal to input_size. Expected 3, got 4"),
        lambda: (torch.zeros(2, 1, 4),),
    ),
    "no steps": (
        (RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
        lambda: (torch.zeros(0, 1, 3),),
    ),
    "a gradient": (
        (
            RuntimeError,
            "input: rnngen computes no gradients; detach() the tensor or call under "
            "torch.no_grad()",
        ),
        lambda: (torch.zeros(2, 1, 3, requires_grad=True),),
    ),
    "sparse": (
        (RuntimeError, "input: a dense tensor; got layout torch.sparse_coo"),
        lambda: (torch.zeros(2, 1, 3).to_sparse(),),
    ),
    "one state": (
        (TypeError, "LSTM: hx is a pair (h_0, c_0); got Tensor"),
        lambda: (torch.zeros(2, 1, 3), torch.zeros(1, 1, 5)),
    ),
    "states of another batch": (
        (RuntimeError, "Expected hidden[0] size (1, 1, 5), got [1, 2, 5]"),
        lambda: (torch.zeros(2, 1, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what):
    """Word for word; where torch has words, in those."""
    (kind, message), args = REFUSED[what]
    with pytest.raises(kind) as caught:
        net()(*args())
    assert str(caught.value) == message


def test_arrays_that_speak_dlpack():
    """NumPy's on the processor; CuPy's and JAX's on a device."""
    network = net()
    x, h, c = (noise(network, *shape) for shape in ((4, 2, 3), (1, 2, 5), (1, 2, 5)))
    assert_same(network(x.numpy(), (h.numpy(), c.numpy())), network(x, (h, c)))


def test_a_network_without_weights_says_so():
    empty = Emulated(net().plan, net().library)
    with pytest.raises(RuntimeError, match="net has no weights yet"):
        empty(torch.zeros(1, 1, 3))


@pytest.mark.parametrize(
    "field",
    ["x", "y", "h_n", "c_n", "T", "device", "way", "weights", "workspace", "bytes"],
)
def test_c_refuses_what_it_cannot_run(field):
    """cudaErrorInvalidValue, and nothing launched: y stays."""
    network = net()
    ffi, forward = network.library.ffi, network.function("_forward")
    memory = {name: torch.full((8, 8), 7.0) for name in ("x", "y", "h_n", "c_n", "workspace")}
    at = {name: ffi.cast("float *", tensor.data_ptr()) for name, tensor in memory.items()}
    fields = {name: at[name] for name in ("x", "y", "h_n", "c_n")} | {"T": 1, "B": 1}
    fields |= {field: 0 if field == "T" else ffi.NULL} if field in fields else {}
    batch = ffi.new("net_batch *", fields)
    device, weights, _ = network._placed(torch.device("cpu"), 0)
    device = {"device": ffi.NULL, "way": ffi.new("net_device *")}.get(field, device)
    weights = ffi.NULL if field == "weights" else weights
    workspace = ffi.NULL if field == "workspace" else at["workspace"]
    nbytes = network.workspace(1, 1) - (field == "bytes")
    assert forward(device, weights, batch, workspace, nbytes, ffi.NULL) == 1
    assert (memory["y"] == 7).all()


def asked(network, x) -> int:
    """How often a call asks CUDA what there is room for, or for more of it than usual."""
    count = ctypes.c_int.in_dll(ctypes.CDLL(str(network.library.path)), "shim_asked")
    before = count.value
    network(x)
    return count.value - before


@ALL
def test_only_init_asks_the_device(kind):
    """Whatever the batch; the answers of init are for all calls."""
    network = net(**both(kind))
    assert asked(network, noise(network, 2, 1, 3)) > 0
    assert [asked(network, noise(network, 2, batch, 3)) for batch in (1, 9, 40)] == [0, 0, 0]


def test_a_question_in_forward_is_seen():
    """What that test counts."""
    start = "    const int stretch = net_stretch_steps(in->T, in->B);"
    ask = "    int most = 0;\n    (void)net_ask(cudaDevAttrClusterLaunch, &most);\n"
    network = with_weights(plan(), lambda text: text.replace(start, ask + start))
    x = noise(network, 2, 1, 3)
    network(x)
    assert asked(network, x) == 2


def test_init_answers_for_the_device(monkeypatch):
    """What there is room for then; nothing if it fails, so that forward refuses."""
    network = net(cell="gru", hidden_size=131, num_layers=2)
    ffi, init = network.library.ffi, network.function("_init")
    assert network.plan.ways == ("wavefront", "cluster4", "grid", "step")
    device = ffi.new("net_device *")

    def found(**room: int) -> list[int]:
        for name, value in room.items():
            monkeypatch.setenv(f"SHIM_{name}", str(value))
        code = init(device)
        return [code, device.way, device.at_once]

    assert found(PROCESSORS=132, CLUSTER=8) == [0, 2, 33]
    assert device.processors == 132
    assert found(CLUSTER=2) == [0, 3, 0]
    assert found(PROCESSORS=1) == [0, 4, 0]
    assert found(SHARED=1024) == [701, 0, 0]
    assert init(ffi.NULL) == 1


def test_a_wavefront_is_for_as_many_sequences_as_pay(monkeypatch):
    """One at a time in all five blocks; more of them are sooner done layer by layer."""
    network = net(hidden_size=20, num_layers=3)
    fit = network.plan.residences[0]
    assert (network.plan.ways, fit.resident) == (("wavefront", "sm"), 5)
    assert fit.cycles < 3 * fit.alone < 5 * fit.cycles
    monkeypatch.setenv("SHIM_PROCESSORS", "5")
    x = noise(network, 3, 5, 3)
    for batch, other in ((1, "sm"), (5, "wavefront")):
        call = rf"return net_run_{other}\(.*;"
        only = with_weights(
            network.plan, lambda t, c=call: re.sub(c, "return cudaErrorNotSupported;", t), "-w"
        )
        assert_same(only(x[:, :batch]), network(x[:, :batch]))
        with pytest.raises(DeviceError):
            only(x[:, : 6 - batch])


def test_what_cuda_answers_becomes_an_error():
    """A kernel whose threads do not meet is one clear error, not a wrong answer."""
    p = plan(cell="rnn", hidden_size=8)
    hung = with_weights(
        p,
        lambda text: text.replace(
            "    if (writes) {\n        h_n",
            "    if (idle)\n        __syncthreads();\n    if (writes) {\n        h_n",
        ),
    )
    with pytest.raises(DeviceError, match=r"net: .* got CUDA error 719"):
        hung(torch.zeros(2, 1, 3))


def test_too_large_a_workspace_is_said():
    network = net()
    assert network.workspace(2**31, 1) == network.workspace(1, 2**31) == 2**64 - 1
    assert network.workspace(0, 1) == network.workspace(1, 0) == 0


def test_samples_are_compiled_without_warnings():
    """All warnings are errors where networks are emulated."""
    assert compiled(plan()).exists()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lines_are_readable(strategy, bidirectional):
    """Up to a hundred columns, indented, no trailing blanks, no tabs, no doubled empty lines."""
    ugly = r"[ \t]\n|\t|\n\n\n|\n\n}|\n(?:const|for|if|int|real|return)\b.*;\n"
    for fields in STRATEGIES[strategy]:
        for text in render.files(plan(**{**fields, "bidirectional": bidirectional})).values():
            assert not re.search(ugly, text)
            assert not [line for line in text.splitlines() if len(line) > 100]


def test_nothing_is_printed_that_does_nothing():
    """In one direction, of full sizes: no direction, no lane without work, no factor of one."""
    text = render.files(plan(cell="gru", input_size=64, hidden_size=128))["net.cu"]
    code = re.sub(r"(?s)/\*.*?\*/", "", text)
    assert not re.findall(r".*(?:\bd\b|\bidle\b|\blayers\b|\bmin\(| \* 1\b|\(sums\)).*", code)


@pytest.mark.full
@pytest.mark.parametrize(
    "fields",
    [
        {"cell": "gru", "input_size": 3, "hidden_size": 150, "isa": "sm_90", "bidirectional": True},
        {"cell": "gru", "input_size": 3, "hidden_size": 155, "isa": "sm_80", "bidirectional": True},
        {"cell": "lstm", "input_size": 17, "hidden_size": 21, "num_layers": 3},
        {"cell": "gru", "input_size": 5, "hidden_size": 33},
        {"cell": "rnn", "input_size": 3, "hidden_size": 261, "num_layers": 2, "isa": "sm_90"},
        {"cell": "lstm", "input_size": 1, "hidden_size": 20, "proj_size": 3, "bidirectional": True},
        {"cell": "rnn", "input_size": 33, "hidden_size": 17, "num_layers": 2, "dtype": "float64"},
        {"cell": "lstm", "input_size": 9, "hidden_size": 21, "num_layers": 2, "dtype": "float16"},
        {"cell": "gru", "input_size": 3, "hidden_size": 150, "isa": "sm_90", "dtype": "bfloat16"},
        {"cell": "lstm", "input_size": 3, "hidden_size": 165, "isa": "sm_80", "dtype": "float16"},
        {"cell": "gru", "input_size": 3, "hidden_size": 29, "bidirectional": True, **HALF[0]},
        {"cell": "lstm", "input_size": 1, "hidden_size": 20, "proj_size": 3, "dtype": "bfloat16"},
    ],
    ids=words,
)
def test_sanitizers_find_nothing(fields, tmp_path):
    """Host and kernels, from memory that has the size it needs."""
    sanitized(plan(**fields), tmp_path)


def test_sanitizers_find_nothing_where_no_cluster_has_room(tmp_path, monkeypatch):
    """Numbers of what there is room for are zero; nothing is divided by them."""
    monkeypatch.setenv("SHIM_CLUSTER", "0")
    monkeypatch.setenv("SHIM_PROCESSORS", "1")
    p = plan(cell="gru", hidden_size=131, num_layers=2)
    assert (p.ways[:2], p.ways[-1]) == (("wavefront", "cluster4"), "step")
    sanitized(p, tmp_path)


@pytest.mark.parametrize(
    "fields",
    [{"cell": "gru"}, {"cell": "rnn", "bias": False}, {"proj_size": 2, "dtype": "float16"}],
)
def test_the_example_in_the_header_runs(fields, tmp_path):
    """As it stands, in a program that gives its arrays."""
    assert example(plan(**fields), tmp_path) == ""


def test_calls_keep_the_weights_they_began_with():
    """Whoever has the struct has the tensor that it points into; new weights are in another."""
    network = net()
    _, struct, tensor = network._placed(torch.device("cpu"), 0)
    assert network._placed(torch.device("cpu"), 0)[-1] is tensor
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    assert network._placed(torch.device("cpu"), 0)[-1] is not tensor
    assert struct.l0.weight_ih == network.library.ffi.cast("float *", tensor.data_ptr())


def test_lengths_beyond_the_memory_of_numbers_are_refused():
    with pytest.raises(ValueError, match="rows: fewer than"):
        tensors.integers(np.array([1, 2**31]), "cpu")


SIZES = {"sm": 19, "cluster": 133, "grid": 157, "step": 18}
SIZES |= {"sm 16": 19, "cluster 16": 133, "grid 16": 197, "step 16": 18}


COMBINATIONS = (  # of layers, directions and biases, where any two meet: one half or the other
    ((1, False, True), (3, True, True)),
    ((1, True, False), (3, False, False)),
)


@pytest.mark.full
@pytest.mark.parametrize(
    ("strategy", "cell", "layers", "bidirectional", "bias"),
    [
        (strategy, cell, *combination)
        for n, strategy in enumerate(SIZES)
        for m, cell in enumerate(("lstm", "gru", "rnn", "relu", "projected"))
        for combination in COMBINATIONS[(n + n // 4 + m) % 2]  # the other half in 16 bits
    ],
)
def test_every_combination(strategy, cell, layers, bidirectional, bias):
    """All strategies with all cells, and either of these with the rest, in either layout."""
    kinds = {"relu": {"cell": "rnn", "nonlinearity": "relu"}}
    kinds["projected"] = {"cell": "lstm", "proj_size": 7}
    fields = kinds.get(cell, {"cell": cell}) | {"num_layers": layers, "bias": bias}
    fields |= {"bidirectional": bidirectional, "batch_first": layers == 3}
    fields |= {"hidden_size": SIZES[strategy], "input_size": 5}
    strategy, *half = strategy.split()
    if half:
        fields["dtype"] = "bfloat16" if bias else "float16"
    if strategy == "step":
        fields |= {"isa": "sm_80", "hidden_size": 270} if half else {"dtype": "float64"}
    elif cell == "projected":
        pytest.skip("strategy step has projections, the others none")
    elif strategy == "grid":
        fields["isa"] = "sm_80"
        fields["hidden_size"] *= 1 if cell in ("lstm", "gru") else 2
    elif strategy == "cluster":
        fields["isa"] = "sm_90" if cell in ("lstm", "gru") else "sm_120"
        fields["hidden_size"] *= 1 if cell in ("lstm", "gru") else 2
    network = net(**fields)
    assert way(network, "wavefront" if network.plan.wavefront else strategy)
    report = beside_torch(network)
    assert report.ok, report


@pytest.mark.full
def test_wavefront_with_weights_in_shared_memory(monkeypatch):
    """In clusters of both kinds: such as have products, such as have steps."""
    network = net(cell="lstm", hidden_size=389, num_layers=2, isa="sm_90")
    fit = network.plan.residences[0]
    assert fit.input_rest
    monkeypatch.setenv("SHIM_PROCESSORS", str(fit.resident))
    x = noise(network, 5, 1, 3)
    alone = network(x)
    monkeypatch.setenv("SHIM_PROCESSORS", "16")
    assert_same(alone, with_weights(network.plan)(x))


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("blocks", "splits", "fields"),  # one unit, both halves of 16, a rest of them, idle warps
    [
        (1, 2, {"cell": "lstm", "hidden_size": 33, "bidirectional": True, "num_layers": 2}),
        (1, 2, {"cell": "gru", "hidden_size": 70, "bias": False}),
        (1, 2, {"cell": "rnn", "hidden_size": 101, "bidirectional": True, "batch_first": True}),
        (1, 4, {"cell": "lstm", "hidden_size": 20}),
        (1, 4, {"cell": "gru", "hidden_size": 41, "bidirectional": True, "batch_first": True}),
        (1, 4, {"cell": "rnn", "hidden_size": 1, "nonlinearity": "relu"}),
        (2, 2, {"cell": "lstm", "hidden_size": 151, "bidirectional": True}),
        (4, 2, {"cell": "gru", "hidden_size": 99, "num_layers": 2}),
        (2, 2, {"cell": "rnn", "hidden_size": 65, "bias": False, "batch_first": True}),
        (2, 4, {"cell": "lstm", "hidden_size": 75, "bias": False}),
        (2, 4, {"cell": "gru", "hidden_size": 89, "bidirectional": True}),
        (4, 4, {"cell": "rnn", "hidden_size": 119, "bidirectional": True}),
    ],
    ids=words,
)
def test_warps_that_share_columns(blocks, splits, fields, dtype):
    """Two or four to 16 units, in one multiprocessor and in a cluster."""
    p = plan(isa="sm_90", input_size=3, dtype=dtype, **fields)
    fit = Tiles(p.gates, p.hidden, blocks, splits)
    assert bool(fit.rest) == (p.hidden == 151)  # weights in shared memory
    report = beside_torch(with_weights(replace(p, residences=(fit,))))
    assert report.ok, report
    assert report.error < report.torch_error, report


@pytest.mark.full
def test_grid_with_weights_in_shared_memory(monkeypatch):
    """In 16 bits, where fewer warps share the columns than would."""
    p = plan(cell="lstm", hidden_size=650, dtype="float16", isa="sm_80")
    fit = GridTiles(p.gates, p.hidden, 41, splits=4)
    assert fit.rest
    monkeypatch.setenv("SHIM_PROCESSORS", str(fit.resident))
    report = beside_torch(with_weights(replace(p, residences=(fit,))))
    assert report.ok, report


ODD = (2, 3, 4, 7, 16, 31, 32, 64, 65, 96, 127, 129, 160, 197, 255, 300)


@pytest.mark.full
@pytest.mark.parametrize(
    ("cell", "hidden", "dtype"),
    [
        (cell, hidden, ("float32", "bfloat16")[(n + m) % 2])
        for n, cell in enumerate(("lstm", "gru", "rnn"))
        for m, hidden in enumerate(ODD)
    ],
)
def test_odd_sizes(cell, hidden, dtype):
    """Rests of quads, lanes, warps and blocks; each size in both precisions."""
    fields = {"hidden_size": hidden, "input_size": hidden % 23 + 1, "dtype": dtype}
    report = beside_torch(net(cell=cell, **fields))
    assert report.ok, report
