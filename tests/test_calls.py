"""What a call refuses: torch's refusals in torch's words, and what only arrays can get wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import data, module, net, spec, state

pytestmark = pytest.mark.usefixtures("cc")

CELLS = ["lstm", "gru", "rnn"]


def both(cell: str):
    s = spec(cell=cell, input_size=3, hidden_size=4)
    return net(s), module(s)


def zeros(cell: str, *shape: int, dtype=torch.float32):
    """hx of zeros, a pair for an LSTM."""
    one = torch.zeros(*shape, dtype=dtype)
    return (one, one) if cell == "lstm" else one


# What torch refuses with a message of its own.
REFUSED = {
    "one dimension": lambda cell: (torch.zeros(3),),
    "four dimensions": lambda cell: (torch.zeros(1, 1, 1, 3),),
    "dtype": lambda cell: (torch.zeros(2, 1, 3, dtype=torch.float64),),
    "integers": lambda cell: (torch.zeros(2, 1, 3, dtype=torch.int64),),
    "input size": lambda cell: (torch.zeros(2, 1, 5),),
    "no steps": lambda cell: (torch.zeros(0, 1, 3),),
    "no steps, unbatched": lambda cell: (torch.zeros(0, 3),),
    "2-D state of a batch": lambda cell: (torch.zeros(2, 1, 3), zeros(cell, 1, 4)),
    "3-D state without batch": lambda cell: (torch.zeros(2, 3), zeros(cell, 1, 1, 4)),
    "batch of the state": lambda cell: (torch.zeros(2, 1, 3), zeros(cell, 1, 2, 4)),
    "layers of the state": lambda cell: (torch.zeros(2, 1, 3), zeros(cell, 2, 1, 4)),
    "width of the state": lambda cell: (torch.zeros(2, 1, 3), zeros(cell, 1, 1, 5)),
    "device": lambda cell: (torch.zeros(2, 1, 3, device="meta"),),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("what", REFUSED)
def test_torchs_refusals(cell, what):
    """The same type of error with the same message as torch's."""
    ours, theirs = both(cell)
    args = REFUSED[what](cell)
    with pytest.raises((ValueError, RuntimeError)) as expected:
        theirs(*args)
    with pytest.raises(type(expected.value)) as caught:
        ours(*args)
    assert str(caught.value).replace(" tensor instead", " instead") == str(expected.value).replace(
        " tensor instead", " instead"
    )


@pytest.mark.parametrize("cell", CELLS)
def test_dtype_of_the_state(cell):
    """torch refuses it deep inside, in words of no use; we name the state."""
    ours, theirs = both(cell)
    args = torch.zeros(2, 1, 3), zeros(cell, 1, 1, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        theirs(*args)
    with pytest.raises(RuntimeError, match=r"RNN hx dtype \(torch.float64\) does not match"):
        ours(*args)


def test_state_of_an_lstm_is_a_pair():
    ours, _ = both("lstm")
    with pytest.raises(TypeError, match=r"LSTM: hx is a pair \(h_0, c_0\); got Tensor"):
        ours(torch.zeros(2, 1, 3), torch.zeros(1, 1, 4))
    with pytest.raises(TypeError, match=r"hx is a pair"):
        ours(torch.zeros(2, 1, 3), (torch.zeros(1, 1, 4),))


@pytest.mark.parametrize("value", [None, 3, [[[0.0] * 3]], "x", np.ma.zeros((2, 1, 3))])
def test_neither_tensor_nor_array(value):
    ours, _ = both("gru")
    with pytest.raises(TypeError, match="input: a torch tensor or a NumPy array; got "):
        ours(value)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", ">f4", "bool", "complex64"])
def test_dtype_of_an_array(dtype):
    """Exactly the network's dtype, in this machine's byte order."""
    ours, _ = both("gru")
    with pytest.raises(ValueError, match=r"does not match weight dtype \(float32\)"):
        ours(np.zeros((2, 1, 3), dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtype_that_numpy_lacks(dtype):
    ours, theirs = both("gru")
    with pytest.raises(ValueError, match="RNN input dtype") as expected:
        theirs(torch.zeros(2, 1, 3, dtype=dtype))
    with pytest.raises(ValueError, match="RNN input dtype") as caught:
        ours(torch.zeros(2, 1, 3, dtype=dtype))
    assert str(caught.value) == str(expected.value)


def test_sparse_tensor():
    ours, _ = both("gru")
    with pytest.raises(RuntimeError, match=r"input: a dense tensor; got layout torch.sparse_coo"):
        ours(torch.zeros(2, 1, 3).to_sparse())


def test_no_gradients():
    """An answer without gradients where some are asked for would be a wrong answer."""
    ours, _ = both("gru")
    x = torch.zeros(2, 1, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="rnngen computes no gradients"):
        ours(x)
    with torch.no_grad():
        ours(x)
    ours(x.detach())


def test_no_weights_yet():
    import rnngen

    network = rnngen.compile(spec(cell="gru"))
    with pytest.raises(RuntimeError, match="net has no weights yet"):
        network(np.zeros((2, 1, 3), np.float32))
    with pytest.raises(RuntimeError, match="net has no weights yet"):
        network.validate()


def test_memory_at_an_odd_place(cc):
    """Bytes from a file or a socket need not be aligned; C reads a copy."""
    s = spec(cell="gru")
    network = net(s)
    x, h, _ = data(s)
    odd = np.frombuffer(b"." + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    assert not odd.flags.aligned
    assert np.array_equal(network(odd, h)[0], network(x, h)[0])
    assert np.array_equal(network.step(odd[0], h)[0], network.step(x[0], h)[0])


LENGTHS = {
    "zero": ([0, 2], "Length of all samples has to be greater than 0"),
    "negative": ([2, -1], "Length of all samples has to be greater than 0"),
    "above T": ([2, 5], "lengths: at most T = 4; got 5"),
    "too few": ([2], "lengths: 2 whole numbers, one a sequence"),
    "fractions": ([1.0, 2.0], "lengths: 2 whole numbers, one a sequence"),
}


@pytest.mark.parametrize("what", LENGTHS)
def test_lengths(what):
    ours, _ = both("gru")
    lengths, message = LENGTHS[what]
    with pytest.raises((RuntimeError, ValueError), match=message):
        ours(np.zeros((4, 2, 3), np.float32), lengths=lengths)


def test_lengths_in_any_form():
    """A list, a tuple, an array, a tensor; none for an empty batch."""
    ours, _ = both("gru")
    x = np.ones((4, 2, 3), np.float32)
    wanted = ours(x, lengths=[2, 4])[0]
    for lengths in ((2, 4), np.array([2, 4], np.int16), torch.tensor([2, 4])):
        assert np.array_equal(ours(x, lengths=lengths)[0], wanted)
    assert ours(x[:, :0], lengths=[])[0].shape == (4, 0, 4)


def test_lengths_belong_to_a_padded_batch():
    ours, _ = both("gru")
    with pytest.raises(ValueError, match="lengths: for batched 3-D input"):
        ours(np.zeros((4, 3), np.float32), lengths=[4])
    sequence = torch.nn.utils.rnn.pack_sequence([torch.zeros(4, 3)])
    with pytest.raises(ValueError, match="lengths: for padded input"):
        ours(sequence, lengths=[4])


@pytest.mark.parametrize("sizes", [[1, 2], [2, 2], [3, 0], [], [4, -1]])
def test_packed_sizes_that_do_not_add_up(sizes):
    """A PackedSequence made by hand can hold anything; nothing is read beyond its rows."""
    ours, _ = both("gru")
    sequence = torch.nn.utils.rnn.PackedSequence(
        torch.zeros(3, 3), torch.tensor(sizes, dtype=torch.int64)
    )
    with pytest.raises(RuntimeError, match="batch_sizes: positive, never rising"):
        ours(sequence)


def test_packed_states():
    ours, theirs = both("lstm")
    sequence = torch.nn.utils.rnn.pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)])
    h, c = torch.zeros(1, 3, 4), torch.zeros(1, 2, 4)
    with pytest.raises(RuntimeError):
        theirs(sequence, (h, c))
    with pytest.raises(
        RuntimeError, match=r"Expected hidden\[0\] size \(1, 2, 4\), got \[1, 3, 4\]"
    ):
        ours(sequence, (h, c))
    wide = sequence._replace(data=torch.zeros(6, 5))
    with pytest.raises(RuntimeError, match="Expected 3, got 5"):
        ours(wide)


def test_step_refuses_what_a_call_refuses():
    ours, _ = both("lstm")
    with pytest.raises(ValueError, match="step: Expected input to be 1D or 2D, got 3D instead"):
        ours.step(torch.zeros(1, 1, 3))
    with pytest.raises(RuntimeError, match="Expected 3, got 5"):
        ours.step(torch.zeros(5))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        ours.step(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(
        RuntimeError, match=r"Expected hidden\[0\] size \(1, 1, 4\), got \[1, 1, 5\]"
    ):
        ours.step(torch.zeros(3), (torch.zeros(1, 5), torch.zeros(1, 5)))


def test_step_needs_one_direction():
    network = net(spec(bidirectional=True))
    with pytest.raises(
        RuntimeError, match="step: a network of one direction; net is bidirectional"
    ):
        network.step(torch.zeros(3))


def test_a_refusal_changes_nothing():
    """After any refusal the network answers as before."""
    s = spec()
    network = net(s)
    x, h, c = data(s)
    before = network(x, state(s, h, c))[0].copy()
    for bad in (x[..., :2], x.astype(np.float64), x[:0]):
        with pytest.raises((ValueError, RuntimeError)):
            network(bad)
    assert np.array_equal(network(x, state(s, h, c))[0], before)
