"""Relations that hold whatever the numbers are; most of them bit for bit. No oracle needed."""

from __future__ import annotations

import nets as helper
import numpy as np
import pytest
from nets import CELLS, data, flat, net, nets, same, spec, state

pytestmark = pytest.mark.usefixtures("cc")


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_split_is_the_whole(cell, lanes, dtype):
    """B1: a sequence cut anywhere, its state carried on, gives the bits of the whole sequence."""
    s = spec(**CELLS[cell], dtype=dtype, num_layers=3, hidden_size=17)
    (network,) = nets([s], [lanes])
    x, h, c = data(s, steps=7, batch=3)
    whole, end = network(x, state(s, h, c))
    for cut in range(1, 7):
        first, middle = network(x[:cut], state(s, h, c))
        second, last = network(x[cut:], middle)
        assert same((np.concatenate([first, second]), last), (whole, end))


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_steps_are_the_sequence(cell, lanes, num_layers):
    """step after step gives the bits of one call."""
    s = spec(**CELLS[cell], num_layers=num_layers, hidden_size=17)
    (network,) = nets([s], [lanes])
    x, h, c = data(s, steps=5, batch=2)
    current, outputs = state(s, h, c), []
    for t in range(5):
        y, current = network.step(x[t], current)
        outputs.append(y)
    assert same((np.stack(outputs), current), network(x, state(s, h, c)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_row_alone_is_the_row_in_its_batch(cell, batch_first):
    """B2: a sequence's result does not depend on the rest of the batch."""
    s = spec(**CELLS[cell], bidirectional=True, num_layers=2, batch_first=batch_first)
    network = net(s)
    x, h, c = data(s, steps=4, batch=5)
    rows = (lambda a, b: a[b : b + 1]) if batch_first else (lambda a, b: a[:, b : b + 1])
    whole = flat(network(x, state(s, h, c)))
    for b in range(5):
        alone = network(rows(x, b).copy(), state(s, h[:, b : b + 1], c[:, b : b + 1]))
        kept = [rows(whole[0], b), *(a[:, b : b + 1] for a in whole[1:])]
        assert all(np.array_equal(a, k) for a, k in zip(flat(alone), kept, strict=True))


@pytest.mark.parametrize("lanes", [1, 8, 16])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("inputs", [3, 70, 2100])
def test_any_batch_is_its_rows(cell, inputs, lanes):
    """Tiles of every size, groups that are full and not, lengths that end anywhere: the bits of
    each sequence by itself, though one alone goes another way and a wide one goes by spans."""
    s = spec(**CELLS[cell], input_size=inputs, hidden_size=33, bidirectional=inputs == 70)
    (network,) = nets([s], [lanes])
    rng, group = np.random.default_rng(0), network.plan.rows
    for batch in (*range(1, 15), group - 1, group, group + 1, 2 * group + 5):
        x, h, c = data(s, steps=9, batch=batch)
        lengths = rng.integers(1, 9, batch, endpoint=True)
        output, last = network(x, state(s, h, c), lengths=lengths)
        together = flat((output, last))
        for b in {0, batch // 2, batch - 1}:
            one, n = slice(b, b + 1), lengths[b]
            alone = flat(network(x[:n, one].copy(), state(s, h[:, one], c[:, one])))
            kept = [together[0][:n, one], *(a[:, one] for a in together[1:])]
            assert all(np.array_equal(a, k) for a, k in zip(alone, kept, strict=True)), (batch, b)


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_wide_layers_go_ahead(cell, lanes):
    """One sequence of a net whose W_ih leaves the cache: sums of x first; the bits of its steps."""
    s = spec(**CELLS[cell], input_size=600, hidden_size=40, num_layers=2)
    (network,) = nets([s], [lanes])
    assert network.plan.kernels[0].ahead
    x, h, c = data(s, steps=31, batch=1)
    current, outputs = state(s, h, c), []
    for t in range(31):
        y, current = network.step(x[t], current)
        outputs.append(y)
    assert same((np.stack(outputs), current), network(x, state(s, h, c)))


@pytest.mark.parametrize("cell", CELLS)
def test_powers_of_two_move_freely(cell):
    """B3: inputs doubled and their weights halved change no bit."""
    s = spec(**CELLS[cell])
    one, other = net(s), net(s)
    halved = one.state_dict()
    halved["weight_ih_l0"] /= 2
    other.load_state_dict(halved)
    x, h, c = data(s)
    assert same(one(x, state(s, h, c)), other(2 * x, state(s, h, c)))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_units_have_no_order(cell):
    """B4: hidden units renamed throughout give the renamed answer."""
    s = spec(**CELLS[cell], hidden_size=9)
    one, other = net(s), net(s)
    order = np.random.default_rng(0).permutation(9)
    renamed = {}
    for name, weight in one.state_dict().items():
        by_gate = weight.reshape(-1, 9, *weight.shape[1:])[:, order].reshape(weight.shape)
        renamed[name] = by_gate[:, order] if name.startswith("weight_hh") else by_gate
    other.load_state_dict(renamed)
    x, h, c = data(s, steps=6)
    a = flat(one(x, state(s, h, c)))
    b = flat(other(x, state(s, h[..., order], c[..., order])))
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left[..., order], right, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_which_bias_matters_for_a_gru_only(cell):
    """B5: a constant moved from one bias to the other changes nothing, but the GRU's n."""
    s = spec(**CELLS[cell], hidden_size=8)
    one, other = net(s), net(s)
    moved = one.state_dict()
    moved["bias_ih_l0"] += 0.5
    moved["bias_hh_l0"] -= 0.5
    other.load_state_dict(moved)
    x, h, c = data(s)
    pairs = zip(flat(one(x, state(s, h, c))), flat(other(x, state(s, h, c))), strict=True)
    difference = max(np.abs(a - b).max() for a, b in pairs)
    assert difference > 0.05 if cell == "gru" else difference <= 2e-7


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gate_held_keeps_its_memory(dtype, lanes):
    """B6: forget gate open and input gate shut keep c bit for bit; z = 1 keeps the GRU's h."""
    lstm = spec(name="held", dtype=dtype)
    gru = spec(name="kept", cell="gru", dtype=dtype)
    for network in nets([lstm, gru], [lanes, lanes]):
        params = {k: np.zeros_like(v) for k, v in network.state_dict().items()}
        gates = {"lstm": [-1000, 1000, 0, 0], "gru": [0, 1000, 0]}[network.spec.cell]
        params["bias_ih_l0"] += np.repeat(gates, 5).astype(dtype)
        params["weight_ih_l0"] += 0.1
        network.load_state_dict(params)
        x, h, c = data(network.spec, steps=1000, batch=1)
        _, end = network(x, state(network.spec, h, c))
        kept, before = (end[1], c) if network.spec.cell == "lstm" else (end, h)
        assert kept.tobytes() == before.tobytes()


@pytest.mark.full
def test_a_million_steps_forget_nothing():
    """Gates at the edge of saturation, as training leaves them, for a million steps."""
    network = net(spec())
    params = {k: np.zeros_like(v) for k, v in network.state_dict().items()}
    params["bias_ih_l0"] += np.repeat([-95, 18, 0, 0], 5).astype(np.float32)
    network.load_state_dict(params)
    _, h, c = data(network.spec, batch=1)
    x = np.zeros((1_000_000, 1, 3), np.float32)
    assert network(x, (h, c))[1][1].tobytes() == c.tobytes()


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_row(cell, lanes):
    """B7: NaN poisons its own sequence from its own step on, all of h, and nothing else."""
    s = spec(**CELLS[cell], num_layers=2)
    (network,) = nets([s], [lanes])
    x, h, c = data(s, steps=6, batch=3)
    clean, _ = network(x, state(s, h, c))
    x[3, 1, 0] = np.nan
    output, end = network(x, state(s, h, c))
    spoilt = np.zeros_like(output, bool)
    spoilt[3:, 1] = True
    assert np.array_equal(np.isnan(output), spoilt)
    assert np.array_equal(output[~spoilt], clean[~spoilt])
    ends = end if isinstance(end, tuple) else (end,)
    assert all(np.isnan(a[:, 1]).all() and np.isfinite(a[:, ::2]).all() for a in ends)


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("cell", ["lstm", "lstm_proj", "gru", "rnn_tanh"])
def test_huge_input_gives_finite_output(cell, value, lanes):
    """B8: gates saturate; their own exponential never overflows into the answer."""
    s = spec(**CELLS[cell], hidden_size=8)
    (network,) = nets([s], [lanes])
    params = network.state_dict()
    params["weight_ih_l0"] = np.abs(params["weight_ih_l0"])  # inf - inf would be NaN in torch too
    network.load_state_dict(params)
    x, h, c = data(s)
    x[1] = value
    assert all(np.isfinite(a).all() for a in flat(network(x, state(s, h, c))))


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_are_forward_and_reversed(cell):
    """B9: the reverse direction is the forward network on the reversed sequence."""
    s = spec(**CELLS[cell], bidirectional=True)
    both, one, other = net(s), net(**CELLS[cell]), net(**CELLS[cell])
    params = both.state_dict()
    one.load_state_dict({k: v for k, v in params.items() if "reverse" not in k})
    reverse = {k.removesuffix("_reverse"): v for k, v in params.items() if "reverse" in k}
    other.load_state_dict(reverse)
    x, h, c = data(s)
    whole = flat(both(x, state(s, h, c)))
    there = flat(one(x, state(s, h[:1], c[:1])))
    back = flat(other(x[::-1], state(s, h[1:], c[1:])))
    assert np.array_equal(whole[0], np.concatenate([there[0], back[0][::-1]], axis=2))
    for states, first, second in zip(whole[1:], there[1:], back[1:], strict=True):
        assert np.array_equal(states, np.concatenate([first, second]))


@pytest.mark.parametrize("cell", CELLS)
def test_two_layers_are_two_networks(cell):
    """B9: a second layer is a network that reads the first one's output."""
    s = spec(**CELLS[cell], num_layers=2)
    lower_spec = spec(**CELLS[cell])
    upper_spec = spec(**CELLS[cell], input_size=s.state_size)
    stack, lower, upper = net(s), net(lower_spec), net(upper_spec)
    params = stack.state_dict()
    lower.load_state_dict({k: v for k, v in params.items() if "_l0" in k})
    upper.load_state_dict({k.replace("_l1", "_l0"): v for k, v in params.items() if "_l1" in k})
    x, h, c = data(s)
    whole = flat(stack(x, state(s, h, c)))
    below = flat(lower(x, state(s, h[:1], c[:1])))
    above = flat(upper(below[0], state(s, h[1:], c[1:])))
    assert np.array_equal(whole[0], above[0])
    for states, first, second in zip(whole[1:], below[1:], above[1:], strict=True):
        assert np.array_equal(states, np.concatenate([first, second]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_ragged_is_each_length_alone(cell, batch_first):
    """B9: a ragged batch gives each sequence what it gets alone, in both directions and layers."""
    s = spec(**CELLS[cell], bidirectional=True, num_layers=2, batch_first=batch_first)
    network, lengths = net(s), [3, 6, 1, 4]
    x, h, c = data(s, steps=6, batch=4)
    output, *ends = flat(network(x, state(s, h, c), lengths=lengths))
    for b, n in enumerate(lengths):
        one = x[b : b + 1, :n] if batch_first else x[:n, b : b + 1]
        alone = flat(network(one, state(s, h[:, b : b + 1], c[:, b : b + 1])))
        mine = output[b : b + 1, :n] if batch_first else output[:n, b : b + 1]
        assert np.array_equal(mine, alone[0])
        for end, wanted in zip(ends, alone[1:], strict=True):
            assert np.array_equal(end[:, b : b + 1], wanted)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_at_every_width(cell, dtype, monkeypatch):
    """Without fused multiply-add no vector width changes a bit: sums over k keep one order."""
    specs = [
        spec(**CELLS[cell], dtype=dtype, name=f"w{n}", hidden_size=33, num_layers=2)
        for n in (1, 4, 8, 16)
    ]
    monkeypatch.setattr(helper, "OPTIONS", ["-O1", "-ffp-contract=off"])
    networks = nets(specs, [1, 4, 8, 16])
    x, h, c = data(specs[0], steps=5)
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    first, *others = (network(x, state(specs[0], h, c)) for network in networks)
    assert all(same(first, other) for other in others)
