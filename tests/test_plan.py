"""Decisions: blocks, kernels, tiles, buffers, widths; and the one layout of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from nets import CELLS, spec, weights

from rnngen.kernel import CHAIN, L1, Tile
from rnngen.model import resolve
from rnngen.pack import pack
from rnngen.plan import decide


def plan(**fields):
    return decide(resolve(spec(**fields)))


@pytest.mark.parametrize(
    ("hidden", "float32", "float64"),
    [(1, 4, 2), (2, 4, 2), (4, 4, 4), (5, 8, 8), (8, 8, 8), (9, 16, 8), (17, 16, 8), (256, 16, 8)],
)
def test_block(hidden, float32, float64):
    """A block is the widest vector, smaller where that would only be padding."""
    assert plan(hidden_size=hidden).block == float32
    assert plan(hidden_size=hidden, dtype="float64").block == float64


def test_widths_end_at_the_block():
    """Vectors of up to a block; the macro of a wider set is implied by the narrower one."""
    narrow = (("__SSE2__", "__ARM_NEON", "__wasm_simd128__"), 4)
    wide = ((("__AVX512F__",), 16), (("__AVX__",), 8), narrow)
    assert plan(hidden_size=64).widths == wide
    assert plan(hidden_size=8).widths == wide[1:]
    assert plan(hidden_size=3).widths == (narrow,)
    assert [lanes for _, lanes in plan(hidden_size=64, dtype="float64").widths] == [8, 4, 2]


@pytest.mark.parametrize(
    ("gates", "most"), [(1, {15: 9}), (3, {15: 3, 16: 4, 32: 6}), (4, {15: 2, 16: 3, 32: 6})]
)
def test_tiles_fit_registers(gates, most):
    """Sums of a tile, and a column's weights and a value, or its values and a weight."""
    tile = Tile(gates)
    assert {have: sizes[-1] for have, sizes in tile.sizes.items()} == most
    sizes = [n for sizes in tile.sizes.values() for n in sizes]
    assert sizes == list(range(1, len(sizes) + 1))
    for have, n in most.items():
        assert gates * n + min(gates, n) + 1 <= have
    assert CHAIN <= tile.span <= L1 // 2 // 64 // gates


@pytest.mark.parametrize(
    ("width", "chain"), [(1, 32), (33, 32), (64, 32), (65, 33), (128, 64), (257, 52), (512, 64)]
)
def test_chains_are_short_and_nearly_equal(width, chain):
    """Of several gates; one gate's are shorter whatever the width."""
    x, h = plan(cell="lstm", input_size=width, hidden_size=8).kernels[0].products
    assert (x.chain, h.chain) == (chain, 32)
    assert plan(cell="rnn", input_size=width).kernels[0].products[0].chain == 16


def test_x_is_summed_ahead_where_w_ih_leaves_the_cache():
    """Never for small layers: their weights cost nothing to read again."""
    assert [plan(input_size=n, hidden_size=n).kernels[0].ahead for n in (32, 64)] == [0, 6]
    assert plan(input_size=1, hidden_size=256).kernels[0].ahead == 0


def test_layers_that_read_the_same_share_a_kernel():
    """Code does not grow with layers or directions."""
    assert [k.input for k in plan(num_layers=5).kernels] == [3, 5]
    assert [k.input for k in plan(num_layers=5, input_size=5).kernels] == [5]
    assert [k.input for k in plan(num_layers=2, bidirectional=True).kernels] == [3, 10]
    assert [k.input for k in plan(num_layers=2, proj_size=2).kernels] == [3, 2]


@pytest.mark.parametrize(
    ("layers", "buffers"),
    [(1, ()), (2, ("buffer0",)), (3, ("buffer0", "buffer1")), (6, ("buffer0", "buffer1"))],
)
def test_buffers_between_layers(layers, buffers):
    """Two at most; no layer reads the buffer that it fills."""
    p = plan(num_layers=layers, bidirectional=True)
    assert tuple(p.buffers) == buffers
    assert [s.source for s in p.steps[:2]] == ["x", "x"]
    assert [s.sink for s in p.steps[-2:]] == ["y", "y + 5"]
    assert all(s.source != s.sink.split()[0] for s in p.steps)
    filled = [s.sink.split()[0] for s in p.steps]
    assert all(s.source == filled[n - 2] for n, s in enumerate(p.steps) if n >= 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_pack_puts_every_number_where_it_is_read(cell, bias):
    """Each packed number, looked up by block, row and unit, is torch's; the padding is zero."""
    s = spec(**CELLS[cell], bias=bias, hidden_size=17, num_layers=2, bidirectional=True)
    p, params = decide(resolve(s)), weights(s)
    rest = pack(p, params)
    assert rest.size == p.weights_size
    for step in p.steps:
        k, field = step.kernel, step.field
        mine, rest = rest[: k.size], rest[k.size :]
        panel = mine[: k.panel].reshape(k.blocks, k.rows, k.block)
        for unit in range(k.blocks * k.block):
            column = panel[unit // k.block, :, unit % k.block]
            np.testing.assert_array_equal(column, expected(k, params, field, unit))
        if k.projection:
            hr = mine[k.panel :].reshape(-1, k.hidden, k.block)
            for unit in range(k.state):
                got = hr[unit // k.block, :, unit % k.block]
                np.testing.assert_array_equal(got, params[f"weight_hr_{field}"][unit])
    assert not rest.size


def expected(k, params, field, unit):
    """Column of one unit: biases, W_ih column by column, W_hh; written without reshaping."""
    if unit >= k.hidden:
        return np.zeros(k.rows, np.float32)
    out, gates = [], k.cell.gates
    if k.bias:
        for s in k.cell.sums:
            row = gates.index(s.gate) * k.hidden + unit
            ih, hh = (float(params[f"bias_{w}_{field}"][row]) for w in ("ih", "hh"))
            out.append(np.float32({"x": ih, "h": hh, "xh": ih + hh}[s.reads]))
    for matrix, letter, width in (("ih", "x", k.input), ("hh", "h", k.state)):
        for column in range(width):
            for s in k.cell.sums:
                if letter in s.reads:
                    row = gates.index(s.gate) * k.hidden + unit
                    out.append(params[f"weight_{matrix}_{field}"][row, column])
    return np.array(out, np.float32)


def test_both_biases_are_in_the_sum():
    """1 + 2^-23 and -1 leave 2^-23."""
    s = spec(hidden_size=4)
    params = {name: np.zeros_like(value) for name, value in weights(s).items()}
    params["bias_ih_l0"][:] = 1 + 2**-23
    params["bias_hh_l0"][:] = -1
    assert (pack(decide(resolve(s)), params)[:16] == np.float32(2**-23)).all()


def test_a_gru_keeps_the_biases_of_n_apart():
    s = spec(cell="gru", hidden_size=4)
    params = {name: np.zeros_like(value) for name, value in weights(s).items()}
    params["bias_ih_l0"][8:] = 1
    params["bias_hh_l0"][8:] = 2
    biases = pack(decide(resolve(s)), params)[:16].reshape(4, 4)
    assert biases[:, 0].tolist() == [1, 0, 0, 2]  # n r z n_h
