"""Compiled networks agree with torch.nn: every cell, layout, size, width, length and state."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import (
    CELLS,
    FACTORS,
    OPTIONS,
    ROWS,
    all_pairs,
    data,
    errors,
    flat,
    from_row,
    module,
    net,
    nets,
    pairs,
    possible,
    same,
    spec,
    state,
)

from rnngen.calls import packed
from rnngen.validate import Case, Report

pytestmark = pytest.mark.usefixtures("cc")

CALLS = [
    (steps, batch, ragged, states)
    for steps, batch, ragged, states in product((1, 2, 7), (1, 3), (False, True), (False, True))
    if not ragged or batch > 1
]


def misses(rows: list[dict], prefix: str, *options: str) -> list[tuple[dict, Report]]:
    """The networks that are further from torch than allowed."""
    specs = [from_row(f"{prefix}{n}", row) for n, row in enumerate(rows)]
    networks = nets(specs, [row["lanes"] for row in rows], options or OPTIONS)
    found = []
    for row, network in zip(rows, networks, strict=True):
        calls = [Case(*call, network.spec.batch_first) for call in CALLS]
        report = errors(network, *calls)
        if not report.ok:
            found.append((row, report))
    return found


def test_covering_array_covers():
    """Every pair of values of any two factors meets in some network, and there are few networks."""
    assert all_pairs() <= pairs(ROWS)
    assert len(ROWS) <= 50


@pytest.mark.parametrize("part", range(4))
def test_matches_torch(part):
    """Networks in which every pair of factors meets, over all calls, within the contract."""
    assert not misses(ROWS[part::4], f"pair{part}_")


@pytest.mark.full
@pytest.mark.parametrize("part", range(20))
def test_matches_torch_at_length(part):
    """A part of the full product, drawn once and for all.

    What could be wrong in these alone is an index or a layout, which no optimisation is needed for.
    """
    everything = [dict(zip(FACTORS, row, strict=True)) for row in product(*FACTORS.values())]
    drawn = random.Random(part).sample([row for row in everything if possible(row)], 40)
    assert not misses(drawn, f"full{part}_", "-O0")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    row=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FACTORS.items()}),
    steps=st.integers(1, 12),
    batch=st.integers(1, 5),
    ragged=st.booleans(),
    states=st.booleans(),
)
def test_any_network_any_call(row, steps, batch, ragged, states):
    """Any network of the matrix, called in any way."""
    if possible(row):
        (network,) = nets([from_row("drawn", row)], [row["lanes"]])
        report = errors(network, Case(steps, batch, ragged, states, row["batch_first"]))
        assert report.ok, report


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_large_layers(lanes):
    """Sizes with a loop, a rest of columns and a rest of units."""
    rows = [
        {**dict.fromkeys(FACTORS, False), "cell": cell, "num_layers": 2, "bias": True}
        | {"dtype": "float32", "lanes": lanes, "input_size": 45, "hidden_size": 100}
        for cell in ("lstm", "gru", "rnn_tanh", "lstm_proj")
    ]
    assert not misses(rows, f"large{lanes}_")


@pytest.mark.parametrize("cell", CELLS)
def test_wide_layers(cell):
    """Sums over many columns stay within twice torch's error: no chain is as long as the layer."""
    fields = {**CELLS[cell], "input_size": 600, "hidden_size": 525}
    fields |= {"proj_size": 300} if "proj_size" in fields else {}
    network = net(spec(**fields))
    report = errors(network, *(Case(steps, 4, False, True, False) for steps in (1, 30)))
    assert report.ok, report


def test_outputs_beyond_one():
    """relu grows without bound; the contract grows with it."""
    network = net(spec(cell="rnn", nonlinearity="relu", num_layers=2), scale=3.0)
    report = errors(network, Case(30, 3, True, True, False))
    assert report.ok, report
    assert report.lines[0].scale > 20


def test_long_sequence():
    """Ten thousand steps leave no drift beyond torch's own."""
    network = net(cell="gru", input_size=8, hidden_size=16)
    assert errors(network, Case(10_000, 2, True, True, False)).ok


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_answers_in_kind(cell):
    """Tensors give tensors, arrays give arrays, of the same numbers."""
    s = spec(cell=cell)
    network = net(s)
    x, h, c = data(s)
    arrays = network(x, state(s, h, c))
    tensors = network(*map(_torch, (x, state(s, h, c))))
    assert all(isinstance(a, np.ndarray) for a in _members(arrays))
    assert all(isinstance(a, torch.Tensor) for a in _members(tensors))
    assert same(arrays, tensors)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched(cell, batch_first):
    """2-D input is one sequence, whatever batch_first says; answers are 2-D."""
    s = spec(cell=cell, batch_first=batch_first, bidirectional=True, num_layers=2)
    network, reference = net(s), module(s)
    x, h, c = data(spec(cell=cell, bidirectional=True, num_layers=2), batch=1)
    hx = _torch(state(s, h[:, 0], c[:, 0]))
    ours, theirs = network(_torch(x[:, 0]), hx), reference(_torch(x[:, 0]), hx)
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=6e-7)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed(batch_first, enforce_sorted):
    """A PackedSequence gives one with the same sizes; states stay in the original order."""
    s = spec(bidirectional=True, num_layers=2, batch_first=batch_first)
    network, reference = net(s), module(s)
    x, h, c = map(_torch, data(s, steps=6, batch=4))
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    pack = torch.nn.utils.rnn.pack_padded_sequence
    sequence = pack(x, lengths, batch_first=batch_first, enforce_sorted=enforce_sorted)
    ours, theirs = network(sequence, (h, c)), reference(sequence, (h, c))
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        a, b = getattr(ours[0], name), getattr(theirs[0], name)
        assert a is b or torch.equal(a, b)
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=6e-7)


@pytest.mark.parametrize("batch_first", [False, True])
def test_padded_with_lengths(batch_first):
    """`lengths` gives a padded batch what packing gives it, zeros beyond each length."""
    s = spec(cell="gru", bidirectional=True, batch_first=batch_first)
    network, lengths = net(s), [2, 5, 1]
    x, h, _ = data(s, steps=5, batch=3)
    output, h_n = network(x, h, lengths=lengths)
    pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    sequence = pack(_torch(x), lengths, batch_first=batch_first, enforce_sorted=False)
    packed, state_n = network(sequence, _torch(h))
    padded, _ = pad(packed, batch_first=batch_first)
    assert output.tobytes() == padded.numpy().tobytes()
    assert h_n.tobytes() == state_n.numpy().tobytes()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("hidden", "batch"), [(5, 90), (300, 40), (5, 1)])
def test_packed_is_each_length_alone(hidden, batch, threads):
    """Bits of each sequence by itself, whoever is beside it: full groups and not, large nets."""
    s = spec(hidden_size=hidden, bidirectional=True, num_layers=2)
    network, lengths = net(s), np.random.default_rng(1).integers(1, 12, batch)
    x, h, c = map(_torch, data(s, steps=int(max(lengths)), batch=batch))
    pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    sequence = pack(x, torch.from_numpy(lengths), enforce_sorted=False)
    packed, (h_n, c_n) = network(sequence, (h, c), threads=threads)
    output, _ = pad(packed)
    for b in {0, batch // 2, batch - 1, int(lengths.argmin()), int(lengths.argmax())}:
        one, n = slice(b, b + 1), lengths[b]
        alone = network(x[:n, one], (h[:, one].contiguous(), c[:, one].contiguous()))
        assert same((output[:n, one], (h_n[:, one], c_n[:, one])), alone)


def test_a_packed_sequence_is_read_where_it_lies(monkeypatch):
    """What C gets and fills is as long as the valid steps, however uneven the lengths."""
    network = net(spec(cell="gru", bidirectional=True, num_layers=2))
    lengths = [1] * 300 + [4000]
    sequences = [torch.ones(n, 3) for n in lengths]
    pack = torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    assert np.shares_memory(packed(network.spec, pack).x, pack.data.numpy())
    asked = []
    monkeypatch.setattr(type(network), "workspace", lambda self, *n: asked.append(n) or 1 << 20)
    output, h_n = network(pack)
    assert asked == [(4300, 1)]
    assert output.data.shape == (4300, 10)
    assert h_n.shape == (4, 301, 5)


def test_padding_is_never_read():
    """NaN beyond a sequence's length reaches nothing."""
    s = spec(bidirectional=True, num_layers=2)
    network, lengths = net(s), np.array([2, 4])
    x, h, c = data(s, steps=4, batch=2)
    clean = network(x, (h, c), lengths=lengths)
    x[2:, 0] = np.nan
    assert same(clean, network(x, (h, c), lengths=lengths))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_flush_to_zero(cell):
    """Audio hosts flush denormals; decaying silence gives the same answer either way."""
    network = net(spec(cell=cell, hidden_size=8, bias=False))
    x = np.zeros((2000, 1, 3), np.float32)
    x[0] = 1e-30
    if not torch.set_flush_denormal(True):
        pytest.skip("no flush-to-zero here")
    flushed = flat(network(x))
    torch.set_flush_denormal(False)
    for a, b in zip(flushed, flat(network(x)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)


def test_empty_batch():
    """B = 0 is an empty answer, as torch's."""
    s = spec(num_layers=2)
    output, (h_n, c_n) = net(s)(torch.zeros(4, 0, 3))
    assert output.shape == (4, 0, 5)
    assert h_n.shape == c_n.shape == (2, 0, 5)


@pytest.mark.parametrize("change", ["strides", "reversed", "read-only", "transposed"])
def test_any_layout_of_memory(change):
    """Views that are not contiguous or may not be written give the same numbers, unharmed."""
    s = spec(cell="gru")
    network = net(s)
    x, h, _ = data(s)
    view = {
        "strides": np.repeat(x, 2, axis=2)[:, :, ::2],
        "reversed": x[::-1].copy()[::-1],
        "read-only": x.copy(),
        "transposed": x.transpose(2, 1, 0).copy().transpose(2, 1, 0),
    }[change]
    view.flags.writeable = False
    assert same(network(view, h), network(x, h))


def test_given_states_are_left_alone():
    """h_0 and c_0 are read, never written."""
    s = spec()
    network = net(s)
    x, h, c = data(s)
    before = h.copy(), c.copy()
    network(x, (h, c))
    network.step(x[0], (h, c))
    assert np.array_equal(h, before[0])
    assert np.array_equal(c, before[1])


def test_step_without_batch():
    """One sequence without a batch dimension: x [I], states [L, P]."""
    s = spec(num_layers=2)
    network = net(s)
    x, h, c = data(s, batch=1)
    y, (h_n, c_n) = network.step(x[0, 0], (h[:, 0], c[:, 0]))
    whole = network(x[:1], (h, c))
    assert y.tobytes() == whole[0].tobytes()
    assert (y.shape, h_n.shape, c_n.shape) == ((5,), (2, 5), (2, 5))
    fresh, _ = network.step(torch.from_numpy(x[0, 0]))
    assert isinstance(fresh, torch.Tensor)


def _torch(value):
    if isinstance(value, tuple):
        return tuple(map(_torch, value))
    return torch.from_numpy(value)


def _members(answer):
    output, states = answer
    return [output, *(states if isinstance(states, tuple) else (states,))]
