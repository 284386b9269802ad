"""Calls that threads share: the same bits, whatever the split, and no thread before its time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import CELLS, data, net, same, spec, state
from torch.nn.utils.rnn import pack_padded_sequence

import rnngen
from rnngen import shares
from rnngen.calls import Input
from rnngen.model import resolve
from rnngen.plan import decide


@pytest.fixture
def eager(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(shares, "MIN_WORK", 1)
    monkeypatch.setattr(shares, "WAKING", 0)


@pytest.mark.usefixtures("cc", "eager")
@pytest.mark.parametrize("batch", [1, 2, 5, 30])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits(cell, bidirectional, batch):
    """Padded and not, bound and plain, batch first and last, for two threads and more."""
    for batch_first in (False, True):
        network = net(
            **CELLS[cell], num_layers=3, bidirectional=bidirectional, batch_first=batch_first
        )
        x, h, c = data(network.spec, steps=6, batch=batch)
        hx = state(network.spec, h, c)
        lengths = [1 + (3 * n + 1) % 6 for n in range(batch)]
        for threads in (2, 3, 8):
            for given_lengths in (None, lengths):
                whole = network(x, hx, lengths=given_lengths)
                assert same(network(x, hx, lengths=given_lengths, threads=threads), whole)
                call = network.bind(x, hx, lengths=given_lengths, threads=threads)
                assert call.run() == call.run() == 0
                assert same(call.answer(), whole)


@pytest.mark.usefixtures("cc", "eager")
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_same_bits_packed(bidirectional, batch):
    network = net(cell="gru", num_layers=2, bidirectional=bidirectional)
    x, _, _ = data(network.spec, steps=6, batch=batch)
    lengths = [1 + (3 * n + 5) % 6 for n in range(batch)]
    packed = pack_padded_sequence(torch.from_numpy(x), lengths, enforce_sorted=False)
    output, h_n = network(packed)
    shared, h_shared = network(packed, threads=4)
    assert torch.equal(shared.data, output.data)
    assert torch.equal(h_shared, h_n)


@given(
    st.integers(1, 40),
    st.lists(st.integers(1, 50), min_size=1, max_size=90),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([1, shares.MIN_WORK]),
)
def test_everything_once(threads, lengths, bidirectional, layers, least):
    """Each sequence of each pass in one share, layers in order, nobody idle, no index twice."""
    plan = decide(resolve(spec(num_layers=layers, bidirectional=bidirectional, hidden_size=64)))
    call = Input(np.zeros((50, len(lengths), 3)), 50, len(lengths), np.array(lengths, np.uintp))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "MIN_WORK", least)
        stages = shares.split(plan, call, threads)
    done = []
    for stage in stages:
        cells = [
            (n, p)
            for s in stage
            for n in range(s.first, s.end)
            for p in range(s.first_pass, s.end_pass)
        ]
        assert all(s.first < s.end and s.first_pass < s.end_pass for s in stage)
        assert [s.thread for s in stage] == list(range(len(stage)))
        assert len(stage) <= threads
        if len(stages) > 1:
            assert len({p // 2 for _, p in cells}) == 1
        done += cells
    assert sorted(done) == [(n, p) for n in range(len(lengths)) for p in range(len(plan.steps))]
    layers_done = [p // 2 for _, p in done]
    assert len(stages) == 1 or layers_done == sorted(layers_done)


def test_ragged_shares_are_even():
    """By steps, not by sequences; the first has the lead."""
    plan = decide(resolve(spec(hidden_size=64)))
    lengths = np.array([100, *[1] * 100], np.uintp)
    call = Input(np.zeros((100, 101, 3)), 100, 101, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "MIN_WORK", 1)
        patch.setattr(shares, "WAKING", 0)
        (first, second), *_ = shares.split(plan, call, 2)
        patch.setattr(shares, "WAKING", 30 * plan.weights_size)
        (ahead, _), *_ = shares.split(plan, call, 2)
    assert (first.end, second.end) == (1, 101)
    assert ahead.end == 1 + 15


def test_small_work_is_not_shared():
    plan = decide(resolve(spec(hidden_size=64)))
    assert len(shares.split(plan, Input(np.zeros((1, 32, 3)), 1, 32), 8)[0]) == 1
    assert len(shares.split(plan, Input(np.zeros((9000, 32, 3)), 9000, 32), 8)[0]) == 8


def test_side_by_side():
    """Parts of a stage run at once, on threads of their own; the next stage waits for all."""
    both = threading.Barrier(2, timeout=20)
    seen = []

    def part():
        both.wait()
        seen.append(threading.get_ident())
        return 0

    def after():
        seen.append(None)
        return 0

    assert shares.run([[part, part], [after]]) == 0
    assert seen[2] is None
    assert seen[0] != seen[1]


def test_an_error_is_answered():
    calls = []
    stages = [[lambda: 0, lambda: 4, lambda: 3], [lambda: calls.append(1) or 0]]
    assert shares.run(stages) == 4
    assert not calls


def test_others_end_before_an_interrupt_leaves():
    """They write into memory that the caller may want to use again."""
    ended = []

    def interrupted():
        raise KeyboardInterrupt

    def other():
        time.sleep(0.3)
        ended.append(True)
        return 0

    with pytest.raises(KeyboardInterrupt):
        shares.run([[interrupted, other]])
    assert ended


@pytest.mark.usefixtures("cc")
@pytest.mark.parametrize("threads", [0, -1, True, 2.0, "2", None])
def test_bad_threads(threads):
    with pytest.raises(ValueError, match="threads: a whole number of at least 1; got"):
        rnngen.compile(spec(), threads=threads)
    if threads is not None:  # those of the network
        x, _, _ = data(spec())
        for call in (net(), net().bind):
            with pytest.raises(ValueError, match="threads: a whole number of at least 1; got"):
                call(x, threads=threads)


@pytest.mark.usefixtures("cc", "eager")
def test_threads_of_the_network(monkeypatch):
    """What compile was told is for every call that does not say otherwise, and travels along."""
    network = net()
    x, _, _ = data(network.spec, batch=4)
    seen = []
    monkeypatch.setattr(shares, "run", lambda stages: seen.append(len(stages[0])) or 0)
    network(x)
    network.threads = 2
    network(x)
    network(x, threads=3)
    assert seen == [2, 3]
    rebuild, arguments = network.__reduce__()
    assert rebuild(*arguments).threads == 2


def test_no_thread_before_its_time():
    """Importing and calling on one thread start none."""
    code = (
        "import threading, numpy, rnngen.run, rnngen.shares as s\n"
        "s.run([[lambda: 0]]); print(threading.active_count())\n"
        "s.run([[lambda: 0, lambda: 0]]); print(threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_threads_of_its_own():
    """A fork takes no thread along; it would wait for ever for one of its parent's."""
    code = (
        "import os, signal, rnngen.shares as s\n"
        "stages = [[lambda: 0, lambda: 0]]\n"
        "s.run(stages)\n"
        "child = os.fork()\n"
        "if not child: signal.alarm(20); os._exit(s.run(stages))\n"
        "print(os.waitpid(child, 0)[1])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0"]
