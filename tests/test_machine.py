"""One core's limits: what is timed, what is kept, and the floor under a network that follows."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from nets import spec
from test_c import WARNINGS, run

from rnngen import build, machine, processor, render
from rnngen.dtypes import DTYPES
from rnngen.errors import BuildError
from rnngen.machine import SIZES, Machine
from rnngen.model import resolve
from rnngen.plan import decide
from rnngen.targets import TARGETS

# 100 GFLOP/s; 200 GB/s up to 32 KiB, 100 up to 1 MiB, 50 beyond.
CORE = Machine(1e11, {n: 2e11 if n <= 2**15 else 1e11 if n <= 2**20 else 5e10 for n in SIZES})


@pytest.fixture
def quick(monkeypatch, own_cache, cc):
    """A measurement of a moment."""
    monkeypatch.setattr(machine, "SECONDS", 0.01)


def floor(steps, batch, **fields):
    return CORE.floor(decide(resolve(spec(**fields))), steps, batch)


# What is kept.


def test_measured_once_known_from_then_on(quick):
    assert machine.known() is None
    found = machine.measure()
    assert machine.known() == found
    assert found.flops > 0
    assert tuple(found.bandwidth) == SIZES
    assert all(rate > 0 for rate in found.bandwidth.values())


def test_measuring_again_replaces(quick, monkeypatch):
    machine.measure()
    monkeypatch.setattr(machine, "_best", lambda samples: [float(n) for n in range(14, 0, -1)])
    assert machine.measure().flops == 14
    assert machine.known() == Machine(14, dict(zip(SIZES, range(13, 0, -1), strict=True)))


def test_an_interrupted_measurement_leaves_the_old_one(quick, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    found = machine.measure()
    monkeypatch.setattr(machine, "_best", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.measure()
    assert machine.known() == found


@pytest.mark.parametrize("what", ["processor", "flags", "C"])
def test_something_else_was_not_measured(quick, monkeypatch, what):
    machine.measure()
    if what == "processor":
        monkeypatch.setattr(processor, "identity", lambda: "another")
    elif what == "flags":
        monkeypatch.setenv("CFLAGS", "-O1")
    else:
        monkeypatch.setattr(render, "measuring", lambda: {"measure.h": "", "measure.c": ""})
    assert machine.known() is None


@pytest.mark.parametrize("change", ["{}", "", None])
def test_damaged_figures_are_none(quick, own_cache, change):
    machine.measure()
    (path,) = own_cache.glob("*/machine.json")
    if change is None:
        shutil.rmtree(path.parent)
    else:
        path.write_text(change)
    assert machine.known() is None
    assert machine.measure() == machine.known()


def test_no_compiler(own_cache, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    for call in (machine.measure, machine.known):
        with pytest.raises(BuildError, match="a C compiler on PATH; found none"):
            call()


# What is timed.


def test_the_best_of_each_by_turns(monkeypatch):
    """Until the time is up, all of a turn; rates by a clock of the test's own."""
    now, calls = 0.0, []

    def sample(name, seconds):
        def work():
            nonlocal now
            now += seconds.pop(0)
            calls.append(name)
            return 6.0

        return work

    monkeypatch.setattr(machine.time, "perf_counter", lambda: now)
    monkeypatch.setattr(machine, "SECONDS", 10.0)
    samples = [sample("a", [3.0, 2.0, 4.0]), sample("b", [1.0, 3.0, 2.0])]
    assert machine._best(samples) == [3.0, 6.0]
    assert calls == ["a", "b"] * 3


def test_less_is_read_no_slower():
    assert machine._falling([5, 3, 4, 1, 2]) == [5, 4, 4, 2, 2]


def test_the_samples_do_what_they_say(cc):
    """They count right, and the sums show that the work was done."""
    library = build.module(machine._source(), TARGETS["c"])
    lib, ffi = library.lib, library.ffi
    sum_ = ffi.new("double *")
    lanes = lib.measure_flops(1, sum_) / 32
    assert lanes in (1, 4, 8, 16)
    assert sum_[0] == 16 * lanes * (-0.5 + 0.25)
    assert lib.measure_flops(1000, sum_) == 32 * lanes * 1000
    assert -0.002 < sum_[0] / (16 * lanes) < -0.0005  # about -1/1000
    memory = np.arange(2048 + 16, dtype=np.float32)
    start = -memory.ctypes.data % 64 // 4
    buffer = ffi.from_buffer("float *", memory[start:])
    assert lib.measure_read(buffer, 8192, 3, sum_) == 3 * 8192
    assert sum_[0] == 3 * memory[start : start + 2048].sum(dtype=np.float64)


def test_every_sample_stays_in_its_memory(cc, monkeypatch):
    """Wherever it begins, aligned, and long enough to be timed."""
    library = build.module(machine._source(), TARGETS["c"])
    seen = []

    class Lib:
        @staticmethod
        def measure_flops(rounds, sum_):
            return 0

        @staticmethod
        def measure_read(buffer, size, rounds, sum_):
            seen.append((int(library.ffi.cast("size_t", buffer)), size, rounds))

    fake = build.Library(library.path, 0, Lib, library.ffi)
    for sample in machine._samples(fake):
        for _ in range(50):
            sample()
    base = min(start for start, _, _ in seen)
    assert all(start % 64 == 0 for start, _, _ in seen)
    assert max(start + size for start, size, _ in seen) <= base + max(SIZES)
    assert {size for _, size, _ in seen} == set(SIZES)
    assert all(size * rounds >= max(SIZES) for _, size, rounds in seen)


@pytest.mark.parametrize("flags", ["", "-march=x86-64-v3", "-march=x86-64-v4"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "tcc"])
def test_no_warnings(tool, tmp_path, compiler, flags):
    for name, text in render.measuring().items():
        (tmp_path / name).write_text(text)
    warnings = ["-Wall", "-Werror"] if compiler == "tcc" else [*WARNINGS, *flags.split()]
    run(tool(compiler), "-std=c99", "-O2", *warnings, "-c", "measure.c", folder=tmp_path)


@pytest.mark.skipif(not machine.PINNED, reason="threads cannot be pinned here")
def test_pinned_and_free_again():
    before, inside = os.sched_getaffinity(0), set()

    def fail():
        inside.update(os.sched_getaffinity(0))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), machine.pinned():
        fail()
    assert inside == {min(before)}
    assert os.sched_getaffinity(0) == before


# What follows.


def test_a_wider_dtype_is_half_as_fast():
    assert CORE.flops_for(DTYPES["float32"]) == 1e11
    assert CORE.flops_for(DTYPES["float64"]) == 5e10


def test_between_sizes_and_beyond():
    """Measured sizes as measured, a line between them by the size's logarithm, flat outside."""
    found = Machine(1.0, {1024: 40.0, 4096: 20.0})
    sizes = (0, 1, 1024, 2048, 4096, 10**12)
    assert [found.bandwidth_for(n) for n in sizes] == [40, 40, 40, 30, 20, 20]


def test_floor_of_one_sequence():
    """W_ih at the rate of arithmetic, once; W_hh as fast as it is read, each step."""
    weights = 4 * 64 * 64  # of one matrix, 64 KiB: read at 100 GB/s
    steps = 1000
    wanted = 2 * weights * steps / 1e11 + steps * weights * 4 / 1e11
    assert floor(steps, 1, input_size=64, hidden_size=64) == pytest.approx(wanted)


def test_floor_of_a_batch():
    """Arithmetic alone: weights read once a step serve all sequences."""
    weights = 4 * 64 * (64 + 64)
    assert floor(10, 8, input_size=64, hidden_size=64) == pytest.approx(2 * weights * 80 / 1e11)


def test_floor_of_one_step():
    """All weights are read, at the rate of the whole network: one step leaves nothing nearby."""
    shapes = {"input_size": 512, "hidden_size": 512, "bias": False}
    assert floor(1, 1, **shapes) == pytest.approx(4 * 512 * 1024 * 4 / 5e10)


def test_floor_counts_what_there_is():
    """Gates, directions, layers and their inputs, projections; numbers twice as wide."""
    batch = {"steps": 10, "batch": 64, "input_size": 30, "hidden_size": 20}
    unit = 2 * 20 * 640 / 1e11  # seconds for a row of 20 units times one column
    assert floor(**batch, cell="rnn") == pytest.approx(50 * unit)
    assert floor(**batch, cell="gru") == pytest.approx(3 * 50 * unit)
    assert floor(**batch, cell="lstm") == pytest.approx(4 * 50 * unit)
    assert floor(**batch, cell="rnn", dtype="float64") == pytest.approx(2 * 50 * unit)
    assert floor(**batch, cell="rnn", bidirectional=True) == pytest.approx(2 * 50 * unit)
    assert floor(**batch, cell="rnn", num_layers=2) == pytest.approx((50 + 40) * unit)
    both = 2 * (50 + 60) * unit  # the second layer reads both directions of the first
    assert floor(**batch, cell="rnn", num_layers=2, bidirectional=True) == pytest.approx(both)
    projected = (4 * (30 + 5) + 5) * unit
    assert floor(**batch, cell="lstm", proj_size=5) == pytest.approx(projected)
