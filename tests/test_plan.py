"""Decisions: blocks, kernels, tiles, buffers, widths; and the one layout of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from nets import CELLS, spec, weights

from rnngen.kernel import L1, Tile
from rnngen.model import resolve
from rnngen.pack import pack
from rnngen.parts import CHAIN
from rnngen.plan import decide


def plan(**fields):
    return decide(resolve(spec(**fields)))


@pytest.mark.parametrize(
    ("hidden", "float32", "float64"),
    [(1, 4, 2), (2, 4, 2), (4, 4, 4), (5, 8, 8), (8, 8, 8), (9, 16, 8), (17, 16, 8), (256, 16, 8)],
)
def test_block(hidden, float32, float64):
    """A block is the widest vector, smaller where that would only be padding; never where the
    sums of a few units fill it."""
    for cell in ("gru", "rnn"):
        assert plan(cell=cell, hidden_size=hidden).block == float32
        assert plan(cell=cell, hidden_size=hidden, dtype="float64").block == float64
    assert plan(cell="lstm", hidden_size=hidden).block == 16
    assert plan(cell="lstm", hidden_size=hidden, dtype="float64").block == 8


@pytest.mark.parametrize(
    ("hidden", "parts"),
    [
        (1, [(4, 0, 1)]),
        (4, [(4, 0, 4)]),
        (5, [(2, 0, 5)]),
        (8, [(2, 0, 8)]),
        (9, [(1, 0, 9)]),
        (16, [(1, 0, 16)]),
        (20, [(1, 0, 16), (4, 16, 20)]),
        (40, [(1, 0, 32), (2, 32, 40)]),
        (41, [(1, 0, 41)]),
    ],
)
def test_units_beyond_whole_blocks_have_their_sums_side_by_side(hidden, parts):
    """Of an LSTM, if two or four sums of them fit into a row; of a GRU beside others, if four."""
    kernel = plan(cell="lstm", hidden_size=hidden).kernels[0]
    assert [(part.side, part.first, part.end) for part in kernel.parts] == parts
    kernel = plan(cell="gru", hidden_size=hidden).kernels[0]
    parts = parts if hidden == 20 else [(1, 0, hidden)]
    assert [(part.side, part.first, part.end) for part in kernel.parts] == parts


def test_widths_end_at_the_block():
    """Vectors of up to a block; the macro of a wider set is implied by the narrower one."""
    narrow = (("__SSE2__", "__ARM_NEON", "__wasm_simd128__"), 4)
    wide = ((("__AVX512F__",), 16), (("__AVX__",), 8), narrow)
    assert plan(hidden_size=64).widths == wide
    assert plan(cell="gru", hidden_size=8).widths == wide[1:]
    assert plan(cell="gru", hidden_size=3).widths == (narrow,)
    assert [lanes for _, lanes in plan(hidden_size=64, dtype="float64").widths] == [8, 4, 2]


@pytest.mark.parametrize(
    ("gates", "most"),
    [(1, {15: 9}), (2, {15: 6, 32: 8}), (3, {15: 3, 16: 4, 32: 8}), (4, {15: 2, 16: 3, 32: 6})],
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
    ("width", "chain"),
    [(1, 1), (4, 4), (5, 3), (20, 10), (21, 21), (64, 64), (65, 33), (128, 64), (257, 52)],
)
def test_chains_are_short_and_nearly_equal(width, chain):
    """Of several gates; one gate's are shorter whatever the width."""
    x, h = plan(cell="lstm", input_size=width, hidden_size=8).kernels[0].parts[0].products
    assert (x.chain, h.chain) == (chain, 4)
    assert plan(cell="rnn", input_size=width).kernels[0].parts[0].products[0].chain == 16
    gru = plan(cell="gru", input_size=width).kernels[0].parts[0].products[0]
    assert gru.chain == (32 if width in (1, 4, 21, 64) else chain)


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


@pytest.mark.parametrize("hidden", [5, 17, 24])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_pack_puts_every_number_where_it_is_read(cell, bias, hidden):
    """Each packed number, looked up by block, row and unit, is torch's; the padding is zero."""
    s = spec(**CELLS[cell], bias=bias, hidden_size=hidden, num_layers=2, bidirectional=True)
    p, params = decide(resolve(s)), weights(s)
    left = pack(p, params)
    assert left.size == p.weights_size
    for step in p.steps:
        k, field = step.kernel, step.field
        mine, left = left[: k.size], left[k.size :]
        for part in k.parts:
            mine = parted(part, mine, params, field)
        if k.projection:
            hr = mine.reshape(-1, k.hidden, k.block)
            for unit in range(k.state):
                got = hr[unit // k.block, :, unit % k.block]
                np.testing.assert_array_equal(got, params[f"weight_hr_{field}"][unit])
    assert not left.size


def parted(part, numbers, params, field):
    """Checks one part at the beginning of these numbers; returns those behind it."""
    rows = numbers[: part.size].reshape(part.blocks, -1, part.block // part.side)
    for n in range(part.blocks * part.units):
        column = rows[n // part.units, :, n % part.units]
        unit = n + part.first
        np.testing.assert_array_equal(column, expected(part, params, field, unit))
    return numbers[part.size :]


def expected(part, params, field, unit):
    """Column of one unit: biases, W_ih column by column, W_hh; written without reshaping."""
    sums, apart = part.cell.sums, part.side > 1 and part.cell.torch == "GRU"
    if unit >= part.hidden:
        return np.zeros(part.rows * part.side, np.float32)

    def number(name, s, column=()):
        row = part.cell.gates.index(s.gate) * part.hidden + unit
        return float(params[f"{name}_{field}"][(row, *column)])

    out = []
    if part.bias:
        ih, hh = ([number(f"bias_{w}", s) for s in sums] for w in ("ih", "hh"))
        both = [
            {"x": a, "h": b, "xh": a + b}[s.reads] for s, a, b in zip(sums, ih, hh, strict=True)
        ]
        out += [*both[:3], 0, 0, 0, both[3], 0] if apart else both
    for matrix, letter, width in (("ih", "x", part.input), ("hh", "h", part.state)):
        for column in range(width):
            read = [s for s in sums if letter in s.reads]
            out += [number(f"weight_{matrix}", s, (column,)) for s in read] + [0] * apart
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
