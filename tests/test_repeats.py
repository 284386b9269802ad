"""The short way of plain calls: the same answers as the long one, and nothing let through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from nets import data, net

from rnngen import repeats

pytestmark = pytest.mark.usefixtures("cc")

CELLS = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])


def arguments(network, kind: str, steps: int = 4, seed: int = 0):
    """x and hx as arrays or tensors."""
    x, h, c = data(network.spec, steps, 2, seed)
    values = [torch.from_numpy(a) for a in (x, h, c)] if kind == "tensors" else [x, h, c]
    return values[0], (values[1], values[2]) if network.spec.cell == "lstm" else values[1]


def flat(answer):
    output, states = answer
    return [np.asarray(a) for a in (output, *(states if isinstance(states, tuple) else (states,)))]


def long_way(network, *args):
    """The answer without what was kept, and without keeping it."""
    network._repeats = repeats.Repeats(network)
    return flat(network(*args))


@CELLS
@pytest.mark.parametrize("kind", ["arrays", "tensors"])
@pytest.mark.parametrize("states", [False, True])
def test_same_answers_in_memory_of_their_own(cell, kind, states, monkeypatch):
    network = net(cell=cell, num_layers=2, batch_first=True)
    every = [arguments(network, kind, seed=seed) for seed in range(3)]
    every = [args if states else args[:1] for args in every]
    expected = [long_way(network, *args) for args in every]
    network(*every[0])
    monkeypatch.setattr(network, "_given", None)  # the long way would fail now
    answers = [network(*args) for args in every]
    for answer, right in zip(answers, expected, strict=True):
        assert all(map(np.array_equal, flat(answer), right))
        wanted = torch.Tensor if kind == "tensors" else np.ndarray
        assert isinstance(answer[0], wanted)
        assert isinstance(answer[1], tuple) == (cell == "lstm")


def test_without_batch(monkeypatch):
    network = net()
    x = data(network.spec)[0][:, 0].copy()
    right = long_way(network, x)
    monkeypatch.setattr(network, "_given", None)
    assert all(map(np.array_equal, flat(network(x)), right))


def test_new_weights_are_used():
    network = net()
    x, hx = arguments(network, "arrays")
    before = flat(network(x, hx))
    assert all(map(np.array_equal, flat(network(x, hx)), before))
    network.load_state_dict({k: -v for k, v in network.arrays().items()})
    after = flat(network(x, hx))
    assert not np.array_equal(before[0], after[0])
    assert all(map(np.array_equal, flat(network(x, hx)), after))


# What is refused or needs a copy, after calls of the same shape went the short way.
OTHERS = {
    "another dtype": lambda x, h: (x.double(), h),
    "a gradient": lambda x, h: (x.clone().requires_grad_(), h),
    "a gradient in the state": lambda x, h: (x, (h[0].clone().requires_grad_(), h[1])),
    "sparse": lambda x, h: (x.to_sparse(), h),
    "another device": lambda x, h: (x.to("meta"), h),
    "state of another dtype": lambda x, h: (x, (h[0].double(), h[1])),
    "state of another shape": lambda x, h: (x, (h[0][..., :-1].contiguous(), h[1])),
    "state of another kind": lambda x, h: (x, (h[0].numpy(), h[1])),
    "one state": lambda x, h: (x, h[0]),
    "three states": lambda x, h: (x, (*h, h[0])),
    "not contiguous": lambda x, h: (x.transpose(0, 1).contiguous().transpose(0, 1), h),
    "state not contiguous": lambda x, h: (x, (h[0].mT.contiguous().mT, h[1])),
    "a list of states": lambda x, h: (x, list(h)),
    "a negative view": lambda x, h: (torch._neg_view(x), h),
    "a parameter": lambda x, h: (torch.nn.Parameter(x, requires_grad=False), h),
    "read-only array": lambda x, h: (locked(x.numpy()), tuple(s.numpy() for s in h)),
    "other byte order": lambda x, h: (x.numpy().astype(">f4"), tuple(s.numpy() for s in h)),
}


def locked(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def outcome(network, args):
    try:
        return flat(network(*args))
    except (TypeError, ValueError, RuntimeError) as error:
        return [type(error), str(error)]


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_short_way_does_not_know_goes_the_long_way(name):
    network = net()
    x, hx = arguments(network, "tensors")
    args = OTHERS[name](x, hx)
    network._repeats = repeats.Repeats(network)
    first = outcome(network, args)
    for kind in ("arrays", "tensors"):
        network(*arguments(network, kind))
        network(*arguments(network, kind))
    again = outcome(network, args)
    assert len(first) == len(again)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_few_and_small_ones_are_kept():
    network = net(num_layers=2)
    for steps in range(1, 30):
        network(arguments(network, "arrays", steps)[0])
        assert len(network._repeats._made) <= repeats.SHAPES
    many = repeats.LARGEST // 4 // 6 + 1
    network(arguments(network, "arrays", many)[0])
    assert not [key for key in network._repeats._made if key[1][0] == many]


def test_threads_do_not_meet():
    """Calls of one shape from many threads at once, each with its own answer."""
    network = net(hidden_size=40)
    every = [arguments(network, "arrays", 20, seed)[0] for seed in range(8)]
    expected = [long_way(network, x)[0] for x in every]
    network(every[0])

    def work(n):
        return all(np.array_equal(network(every[n])[0], expected[n]) for _ in range(300))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
