"""Calls with fixed buffers, and live sequences."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from nets import CELLS, data, flat, net, same, state

from rnngen.calls import contiguous

pytestmark = pytest.mark.usefixtures("cc")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_bound_is_called(cell, batch_first):
    """The same bits as a plain call, again and again, from what lies in the buffers then."""
    network = net(**CELLS[cell], num_layers=2, bidirectional=True, batch_first=batch_first)
    x, h, c = data(network.spec, steps=5, batch=3)
    hx = state(network.spec, h, c)
    call = network.bind(x, hx)
    output = call.output
    for _ in range(3):
        call.run()
        assert same(call.answer(), network(x, hx))
        x[...] = np.roll(x, 1)
        h[...] = -h
    assert call.output is output


@pytest.mark.parametrize("states", [False, True])
def test_bound_tensors(states):
    """Tensors are read in place and the answer is of tensors; zero states where none are given."""
    network = net(num_layers=2)
    x, h, c = map(torch.from_numpy, data(network.spec))
    hx = (h, c) if states else None
    call = network.bind(x, hx)
    x *= 2
    call.run()
    call.run()
    assert isinstance(call.c_n, torch.Tensor)
    assert same((call.output, (call.h_n, call.c_n)), network(x, hx))


def test_bound_lengths():
    """Output beyond a length stays zero."""
    network = net(cell="gru", bidirectional=True)
    x, h, _ = data(network.spec, steps=5, batch=3)
    call = network.bind(x, h, lengths=[2, 5, 1])
    call.run()
    assert same(call.answer(), network(x, h, lengths=[2, 5, 1]))
    assert not call.output[2:, 0].any()


def test_bound_state_goes_on():
    """h_n of one run may be h_0 of the next: pieces of a sequence make the whole."""
    network = net(cell="gru", num_layers=2)
    x, h, _ = data(network.spec, steps=6)
    whole = network(x, h)
    piece = x[:2].copy()
    call = network.bind(piece, h)
    for n in range(3):
        piece[...] = x[2 * n : 2 * n + 2]
        call.run()
        assert call.output.tobytes() == whole[0][2 * n : 2 * n + 2].tobytes()
        h[...] = call.h_n


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_bound_back_and_forth(cell, steps):
    """Runs of a large network read its weights by turns from either end: the same bits."""
    network = net(cell=cell, hidden_size=505, num_layers=2)
    assert network.plan.wide
    for batch in (1, 3, 17):
        x, h, c = data(network.spec, steps=steps, batch=batch)
        given = state(network.spec, h, c)
        whole = network(x, given)
        call = network.bind(x, given)
        for _ in range(3):
            call.run()
            assert same(call.answer(), whole)
    stream = network.stream()
    outputs, _ = network(x[:, :1].repeat(2, 0))
    for t in range(len(outputs)):
        stream.x[:] = x[t // 2, 0]
        stream.step()
        assert np.array_equal(stream.y, outputs[t, 0])


def test_bound_unbatched_and_empty():
    """2-D input without batch; a batch of no sequences does nothing."""
    network = net(cell="gru")
    x, h, _ = data(network.spec, batch=1)
    call = network.bind(x[:, 0], h[:, 0])
    call.run()
    assert same(call.answer(), network(x[:, 0], h[:, 0]))
    empty = network.bind(np.zeros((4, 0, 3), np.float32))
    empty.run()
    assert empty.output.shape == (4, 0, 5)


def test_bound_weights_stay():
    """A bound call has the weights of when it was bound, also when they are gone."""
    network = net(cell="gru")
    x, h, _ = data(network.spec)
    before = network(x, h)
    call = network.bind(x, h)
    network.load_state_dict({k: v * 2 for k, v in network.state_dict().items()})
    call.run()
    assert same(call.answer(), before)
    assert not same(network(x, h), before)


def test_bound_keeps_its_buffers():
    """`run` alone keeps alive all that it reads and writes; so does `step` of a stream."""
    network = net(cell="gru")
    x, h, _ = data(network.spec, steps=200, batch=50)
    expected = network(x, h)
    call = network.bind(x.copy(), h.copy())
    output, run = call.output, call.run
    step, y = (stream := network.stream()).step, stream.y
    del call, stream
    gc.collect()
    _ = [np.full_like(x, np.nan) for _ in range(20)]
    run()
    assert output.tobytes() == expected[0].tobytes()
    step()
    assert y.tobytes() == network(np.zeros((1, 3), np.float32))[0].tobytes()


def test_bound_refuses():
    """What cannot be read in place, and what a call refuses."""
    network = net(cell="gru")
    x, h, _ = data(network.spec)
    with pytest.raises(ValueError, match=r"bind: input contiguous in memory.*strides"):
        network.bind(x[:, ::2])
    with pytest.raises(ValueError, match="bind: hx contiguous in memory"):
        network.bind(x, np.repeat(h, 2, axis=2)[:, :, ::2])
    with pytest.raises(ValueError, match="PackedSequence"):
        network.bind(torch.nn.utils.rnn.pack_sequence([torch.ones(2, 3)]))
    with pytest.raises(RuntimeError, match="input_size"):
        network.bind(x[:, :, :2].copy())
    with pytest.raises(RuntimeError, match="no weights"):
        type(network)(network.plan, network.library).bind(x)


@pytest.mark.parametrize("cell", CELLS)
def test_stream(cell):
    """Steps of a live sequence are the sequence, bit for bit, in any blocks."""
    network = net(**CELLS[cell], num_layers=2)
    x, _, _ = data(network.spec, steps=9, batch=1)
    whole = network(x)
    one, blocks = network.stream(), network.stream(4)
    for t in range(9):
        one.x[...] = x[t, 0]
        one.step()
        assert one.y.tobytes() == whole[0][t, 0].tobytes()
    for first, steps in ((0, 4), (4, 4), (8, 1)):
        blocks.x[:steps] = x[first : first + steps, 0]
        blocks.run(steps)
        assert blocks.y[:steps].tobytes() == whole[0][first : first + steps, 0].tobytes()
    for stream in (one, blocks):
        ends = stream.state()
        ends = ends if isinstance(ends, tuple) else (ends,)
        last = [contiguous(a[:, 0]) for a in flat(whole)[1:]]
        assert [a.tobytes() for a in ends] == [a.tobytes() for a in last]


def test_stream_is_saved_and_restored():
    """A state is a copy; restoring it or torch's, or none, and resetting, say where to go on."""
    network = net()
    stream = network.stream()
    stream.x[...] = 1
    stream.step()
    saved, first = stream.state(), stream.y.copy()
    stream.step()
    second = stream.y.copy()
    assert not np.array_equal(first, second)
    for again in (saved, tuple(map(torch.from_numpy, saved))):
        stream.restore(again)
        stream.step()
        assert np.array_equal(stream.y, second)
    for restart in (stream.reset, lambda: stream.restore(None)):
        restart()
        stream.step()
        assert np.array_equal(stream.y, first)


def test_stream_refuses():
    network = net(cell="gru")
    with pytest.raises(RuntimeError, match="one direction; net is bidirectional"):
        net(bidirectional=True).stream()
    with pytest.raises(ValueError, match="steps of at least 1; got 0"):
        network.stream(0)
    with pytest.raises(ValueError, match="1 to 4 steps; got 5"):
        network.stream(4).run(5)
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        network.stream().restore(np.zeros((2, 5), np.float32))
