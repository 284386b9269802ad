"""Calls that threads share: the same bits, whatever the split, and no thread before its time."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import CELLS, data, net, same, spec, state, weights
from safetensors.numpy import save_file
from test_c import WARNINGS, run
from torch.nn.utils.rnn import pack_padded_sequence

import rnngen
from rnngen import render, shares
from rnngen.calls import Input
from rnngen.model import resolve
from rnngen.plan import decide


@pytest.fixture
def eager(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(shares, "MIN_WORK", 1)


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


def test_ragged_shares_are_even(eager):
    """By steps, not by sequences."""
    plan = decide(resolve(spec(hidden_size=64)))
    lengths = np.array([100, *[1] * 100], np.uintp)
    (first, second), *_ = shares.split(plan, Input(np.zeros((100, 101, 3)), 100, 101, lengths), 2)
    assert (first.end, second.end) == (1, 101)


def test_small_work_is_not_shared():
    plan = decide(resolve(spec(hidden_size=64)))
    assert len(shares.split(plan, Input(np.zeros((1, 32, 3)), 1, 32), 8)[0]) == 1
    assert len(shares.split(plan, Input(np.zeros((9000, 32, 3)), 9000, 32), 8)[0]) == 8


class Part:
    """Python in the place of a share."""

    def __init__(self, work):
        ffi = net().library.ffi
        self.work = work
        self.job = ffi.callback("int(void *)", lambda _: work(), error=99), ffi.NULL

    def __call__(self):
        return self.work()


def shared(*stages):
    """What comes of these stages."""
    return shares.run(net(), [[Part(work) for work in stage] for stage in stages])


@pytest.fixture
def alone(cc, monkeypatch):
    """No worker has been started."""
    monkeypatch.setattr(shares, "_idle", [])
    monkeypatch.setattr(shares, "_started", [])


@pytest.fixture
def interruptible():
    """Ctrl-C raises: a shell's background jobs begin deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def awake(monkeypatch):
    """Whether a worker stays awake, each time it is woken."""
    seen = []
    made = shares._Worker.__init__

    def watched(self, net):
        made(self, net)
        serve = self._serve
        self._serve = lambda place, pauses: seen.append(pauses > 0) or serve(place, pauses)

    monkeypatch.setattr(shares._Worker, "__init__", watched)
    return seen


def meeting():
    """Two parts that wait for each other, and the threads that were there."""
    both, seen = threading.Barrier(2, timeout=20), []

    def part():
        both.wait()
        seen.append(threading.get_ident())
        return 0

    return [part, part], seen


@pytest.mark.usefixtures("alone")
def test_side_by_side():
    """Parts of a stage run at once, on threads of their own; the next stage waits for all."""
    parts, seen = meeting()
    assert shared(parts, [lambda: seen.append(None) or 0]) == 0
    assert seen[2] is None
    assert seen[0] != seen[1]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("cores", [1, 8])
def test_workers_are_kept(cores, monkeypatch, awake):
    """Asleep or not they come when they are called, those whose core it is stay awake a while."""
    monkeypatch.setattr(shares, "_cores", lambda: cores)
    for rest in (0, 0, 0.1):
        time.sleep(rest)
        parts, seen = meeting()
        assert shared(parts) == 0
        assert len(set(seen)) == 2
    (worker,) = shares._started
    assert shares._idle == [worker]
    assert set(awake) == {cores > 1}


@pytest.mark.usefixtures("alone")
def test_what_nobody_begins_is_done_here(monkeypatch):
    """A worker may be late, or gone with an interpreter that ends."""
    monkeypatch.setattr(shares._Worker, "_work", lambda self: None)
    seen = []
    parts = [lambda n=n: seen.append((n, threading.get_ident())) or n for n in (0, 0, 5)]
    assert shared(parts, parts) == 5
    assert seen == [(n, threading.get_ident()) for n in (0, 0, 5)]


@pytest.mark.usefixtures("alone")
def test_a_long_share_is_waited_for():
    """Longer than one stays awake for it."""
    parts, seen = meeting()
    assert shared([parts[0], lambda: parts[1]() or time.sleep(0.3) or seen.append(3) or 3]) == 3
    assert seen[-1] == 3


@pytest.mark.usefixtures("alone")
def test_an_error_is_answered():
    calls = []
    assert shared([lambda: 0, lambda: 4, lambda: 3], [lambda: calls.append(1) or 0]) == 4
    assert not calls


@pytest.mark.usefixtures("alone", "interruptible")
@pytest.mark.parametrize("when", ["at work", "waiting"])
def test_others_end_before_an_interrupt_leaves(when):
    """They write into memory that the caller may want to use again; their threads stay."""
    begun, sent, ended = threading.Event(), threading.Event(), []

    def send():
        _thread.interrupt_main()
        sent.set()

    def interrupted():
        begun.wait(20)
        if when == "at work":
            sent.set()
            raise KeyboardInterrupt
        threading.Timer(0.1, send).start()
        return 0

    def other():
        begun.set()
        sent.wait(20)
        time.sleep(0.1)
        ended.append(True)
        return 0

    with pytest.raises(KeyboardInterrupt):
        shared([interrupted, other])
    assert ended
    assert shares._idle == shares._started
    parts, seen = meeting()
    assert shared(parts) == 0
    assert len(set(seen)) == 2
    assert len(shares._started) == 1


@pytest.mark.usefixtures("alone")
def test_a_worker_that_was_not_called(monkeypatch):
    """An interrupt may come between an offer and the call: it is called then, to be there later."""
    wake = shares._Worker.wake

    def interrupted(self):
        monkeypatch.setattr(shares._Worker, "wake", wake)
        raise KeyboardInterrupt

    monkeypatch.setattr(shares._Worker, "wake", interrupted)
    done = []
    with pytest.raises(KeyboardInterrupt):
        shared([lambda: 0, lambda: done.append(1) or 0])
    assert done
    parts, seen = meeting()
    assert shared(parts) == 0
    assert len(set(seen)) == 2


@pytest.mark.usefixtures("alone")
def test_no_thread_can_start(monkeypatch):
    """Its share is done here, and those behind it."""

    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    seen = []
    assert shared([lambda n=n: seen.append(n) or n for n in (0, 0, 7)]) == 7
    assert seen == [0, 0, 7]
    assert not shares._started


@pytest.mark.skipif(sys.platform != "linux", reason="no unnamed semaphores here")
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_workers_race(tool, tmp_path, cc):
    """Offers, threads that take them and who does them himself: no race, nothing lost or twice."""
    plan = decide(resolve(spec()))
    for name, text in (render.files(plan) | render.bound(plan)).items():
        (tmp_path / name).write_text(text)
    source = Path(__file__).parent / "c" / "workers.c"
    flags = ["-std=gnu99", "-O1", "-g1", "-fsanitize=thread", *WARNINGS, "-I."]
    run(tool(cc), *flags, source, "net_bound.c", "net.c", "-o", "workers", "-pthread",
        folder=tmp_path)  # fmt: skip
    assert run(tmp_path / "workers", folder=tmp_path) == b"well\n"


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
    monkeypatch.setattr(shares, "run", lambda net, stages: seen.append(len(stages[0])) or 0)
    network(x)
    network.threads = 2
    network(x)
    network(x, threads=3)
    assert seen == [2, 3]
    rebuild, arguments = network.__reduce__()
    assert rebuild(*arguments).threads == 2


SETTING = """
import os, signal, sys, threading
import numpy as np
import rnngen
from rnngen import shares

shares.MIN_WORK = 1
net = rnngen.compile({spec}, weights={weights!r})
x = np.ones((3, 30, 3), np.float32)
"""


def told(code, tmp_path):
    """What a program prints that has a network and an input."""
    path = tmp_path / "weights.safetensors"
    save_file(weights(spec()), path)
    fields = f"rnngen.load_spec({spec().public()})"
    text = SETTING.format(spec=fields, weights=str(path)) + code
    run = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.split()


@pytest.mark.usefixtures("cc")
def test_no_thread_before_its_time(tmp_path):
    """Importing and calling on one thread start none."""
    code = (
        "net(x); print(threading.active_count())\n"
        "net(x, threads=2); print(threading.active_count())"
    )
    assert told(code, tmp_path) == ["1", "2"]


@pytest.mark.usefixtures("cc")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_threads_of_its_own(tmp_path):
    """A fork takes no thread along."""
    code = (
        "net(x, threads=2)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(20)\n"
        "    net(x, threads=2)\n"
        "    os._exit(threading.active_count())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert told(code, tmp_path) == ["2"]


@pytest.mark.usefixtures("cc")
def test_calls_while_the_interpreter_ends(tmp_path):
    """Threads have stopped then, and would not begin; nobody waits for them."""
    code = (
        "whole = net(x)[0].sum()\n"
        "class Late:\n"
        "    def __del__(self, net=net, x=x, whole=whole, write=os.write):\n"
        "        write(1, b'%d' % (net(x, threads=2)[0].sum() == whole))\n"
        "{before}\n"
        "late = Late()"
    )
    for before in ("", "net(x, threads=2)"):  # threads are there, or would have to begin
        assert told(code.format(before=before), tmp_path) == ["1"]
