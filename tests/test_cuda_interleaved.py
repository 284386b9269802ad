"""Strategy grid with more sets of sequences than find room: they take turns in each step."""

from __future__ import annotations

import re
from math import ceil

import pytest
import torch
from emulated import Emulated, net, poisoned, with_weights
from nets import errors
from test_cuda import assert_same, flat, noise, quick, words

from rnngen import cuda, render
from rnngen.errors import DeviceError
from rnngen.grid import Grid
from rnngen.validate import Case

pytestmark = pytest.mark.usefixtures("gxx")

# Rests of 16 bytes of h, none; one layer and several, one direction and both, no bias.
NETS = [
    {"cell": "lstm", "hidden_size": 133, "num_layers": 2, "bidirectional": True},
    {"cell": "gru", "hidden_size": 155, "batch_first": True},
    {"cell": "gru", "hidden_size": 256, "bias": False},
    {"cell": "rnn", "hidden_size": 301, "bidirectional": True},
    {"cell": "lstm", "hidden_size": 168, "dtype": "float16"},
    {"cell": "lstm", "hidden_size": 167, "dtype": "bfloat16", "bidirectional": True},
    {"cell": "gru", "hidden_size": 198, "dtype": "bfloat16", "num_layers": 2},
    {"cell": "rnn", "hidden_size": 270, "dtype": "float16", "nonlinearity": "relu"},
]
EACH = pytest.mark.parametrize(
    "fields", [pytest.param(fields, marks=quick(fields)) for fields in NETS], ids=words
)


@pytest.fixture
def slots(monkeypatch):
    """A round has three sets, so that there are several."""
    monkeypatch.setattr(Grid, "slots", 3)


def room(monkeypatch, network, sets: int) -> None:
    """For so many sets at once, from the network's next call on."""
    monkeypatch.setenv("SHIM_PROCESSORS", str(sets * network.plan.grid.resident))
    network._found.clear()


def grid(**fields) -> Emulated:
    return net(**{"isa": "sm_80", "input_size": 3, **fields})


def growing(batch: int, each: int) -> torch.Tensor:
    """Lengths of up to 6: sets of up to 2, 4 and 6 steps by turns, so not the longest first."""
    b = torch.arange(batch)
    return b // each % 3 * 2 + b % 2 + 1


@EACH
@pytest.mark.parametrize("sets", [1, 2])
def test_torch_in_float64(fields, sets, slots, monkeypatch):
    """A set alone, two, three and rounds of them, the last one not full; ragged ones end early."""
    network = grid(**fields)
    room(monkeypatch, network, sets)
    each = network.plan.grid.turning
    first = network.spec.batch_first
    with poisoned():
        report = errors(
            network,
            Case(3, sets * each + 1, ragged=False, states=True, batch_first=first),
            Case(6, 5 * sets * each - 1, ragged=True, states=True, batch_first=first),
            Case(1, 3 * sets * each, ragged=False, states=False, batch_first=first),
        )
    assert report.ok, report


@EACH
def test_bits_are_those_of_few_sequences(fields, slots, monkeypatch):
    """Of all sets at once, which the other kernel has; and of one sequence alone."""
    network = grid(**fields)
    each = network.plan.grid.turning
    batch = 3 * each + 1
    shape = (batch, 6, 3) if network.spec.batch_first else (6, batch, 3)
    x, lengths = noise(network, *shape), growing(batch, each)
    room(monkeypatch, network, ceil(batch / network.plan.grid.together))
    together = network(x), network(x, lengths=lengths)
    room(monkeypatch, network, 1)
    with poisoned():
        assert_same(network(x), together[0])
        assert_same(network(x, lengths=lengths), together[1])
    axis = 0 if network.spec.batch_first else 1
    for b in (0, batch - 1):
        alone = flat(network(x.narrow(axis, b, 1)))
        for one, all_ in zip(alone, flat(together[0]), strict=True):
            axis_ = axis if one is alone[0] else 1
            assert torch.equal(one, all_.narrow(axis_, b, 1))


@EACH
def test_stretches_give_the_same_bits(fields, slots, monkeypatch):
    whole = grid(**fields)
    batch = 4 * whole.plan.grid.turning + 1
    p = whole.plan
    monkeypatch.setattr(cuda, "STRETCH", 2 * batch * p.sums_row * p.dtype.real.bytes)
    cut = grid(**fields)
    room(monkeypatch, whole, 1)
    shape = (batch, 5, 3) if whole.spec.batch_first else (5, batch, 3)
    x, lengths = noise(whole, *shape), torch.arange(batch) % 5 + 1
    assert_same(cut(x), whole(x))
    assert_same(cut(x, lengths=lengths), whole(x, lengths=lengths))


@pytest.mark.parametrize("fields", NETS[1::4], ids=words)
def test_which_kernel_runs(fields, monkeypatch):
    """The interleaved one where there are more sets than find room, and only there."""
    network = grid(**fields)
    room(monkeypatch, network, 2)
    launch = r"return net_run_grid_interleaved\(.*;"
    few = with_weights(
        network.plan, lambda text: re.sub(launch, "return cudaErrorNotSupported;", text), "-w"
    )
    most = 2 * network.plan.grid.together
    x = noise(network, 2, 2 * most, 3).transpose(0, int(network.spec.batch_first)).contiguous()
    axis = 0 if network.spec.batch_first else 1
    assert_same(few(x.narrow(axis, 0, most)), network(x.narrow(axis, 0, most)))
    with pytest.raises(DeviceError, match="got CUDA error 801"):
        few(x.narrow(axis, 0, most + 1))


def test_lengths_of_zero_in_a_stretch(monkeypatch, slots):
    """Sets that are over from the beginning keep their states, and the rest is zero."""
    network = grid(cell="lstm", hidden_size=133)
    batch = 3 * network.plan.grid.together
    p = network.plan
    monkeypatch.setattr(cuda, "STRETCH", batch * p.sums_row * 4)
    cut = grid(cell="lstm", hidden_size=133)
    assert cut.plan.stretch == batch
    room(monkeypatch, cut, 1)
    x, lengths = noise(network, 4, batch, 3), torch.arange(batch) // network.plan.grid.together + 1
    assert_same(cut(x, lengths=lengths), network(x, lengths=lengths))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sets[rank] = mine;", "sets[self] = mine;"),
        ("k < self);\n    __syncthreads();", "k < self);"),
        ("sets[k].steps > mine.steps", "sets[k].steps < mine.steps"),
    ],
)
def test_the_longest_sets_come_first(right, wrong, slots, monkeypatch):
    """Mistakes in that show, where they are not given so."""
    network = grid(cell="lstm", hidden_size=133)
    room(monkeypatch, network, 1)
    batch = 5 * network.plan.grid.together
    x, lengths = noise(network, 6, batch, 3), growing(batch, network.plan.grid.together)
    expected = network(x, lengths=lengths)
    assert right in render.files(network.plan)["net.cu"]
    mutant = with_weights(network.plan, lambda text: text.replace(right, wrong), "-w")
    try:
        answer = mutant(x, lengths=lengths)
    except DeviceError:
        return
    assert not all(map(torch.equal, flat(answer), flat(expected)))
