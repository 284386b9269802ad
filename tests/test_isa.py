"""Levels of instructions: each within the contract, the best one picked, refusals of the others."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from itertools import product
from unittest import mock

import numpy as np
import pytest
from nets import CELLS, ROWS, data, errors, flat, from_row, net, same, spec, state, weights
from test_c import run

import rnngen
from rnngen import build, package, processor
from rnngen.dtypes import DTYPES
from rnngen.errors import BuildError
from rnngen.model import resolve
from rnngen.plan import decide
from rnngen.run import Network
from rnngen.targets import LEVELS
from rnngen.validate import Case

NAMES = ("portable", *(level.name for level in reversed(LEVELS)))

pytestmark = [
    pytest.mark.usefixtures("cc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are x86-64's"),
]


def have(name: str) -> str:
    """A level that this processor has, or a skip."""
    if NAMES.index(name) > NAMES.index(processor.best()):
        pytest.skip(f"a processor without {name}")
    return name


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine("avx2", "fma"): what Linux says of a processor with these features and no more."""

    def pretend(*features: str) -> None:
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: fpu sse2 {' '.join(features)}\n")
        monkeypatch.setattr(processor, "_CPUINFO", path)

    return pretend


def refusal(s) -> str:
    with pytest.raises(BuildError) as caught:
        rnngen.compile(s)
    return str(caught.value)


# Numbers.


def built(specs, flags: str, **environment: str):
    """All levels of all of them in one module."""
    plans = [decide(resolve(s)) for s in specs]
    with mock.patch.dict(os.environ, CFLAGS=flags, **environment):
        return plans, build.library(plans)


@pytest.fixture(scope="module")
def library(cc):
    """Every second network of the covering array; with less than -O2 gcc does not fuse."""
    return built([from_row(f"r{n}", row, "auto") for n, row in enumerate(ROWS[::2])], "-O2")


def networks(library, level: str = "") -> list[Network]:
    plans, built = library
    out = [Network(plan, replace(built, level=level and f"_{level}")) for plan in plans]
    for seed, network in enumerate(out):
        s = network.spec
        scale = min(1.0, (s.hidden_size / s.input_size) ** 0.5)
        network.load_state_dict(weights(s, seed, scale))
    return out


@pytest.mark.parametrize("level", NAMES)
def test_every_level_keeps_the_contract(library, level):
    have(level)
    for network in networks(library, level):
        layout = network.spec.batch_first
        cases = [Case(1, 1, False, True, layout), Case(7, 3, True, True, layout)]
        report = errors(network, *cases, Case(5, 1, False, False, layout))
        assert report.ok, (network, report)


def answers(network) -> list[np.ndarray]:
    """Of a batch, of one sequence, and of a step: all that a level has a function for."""
    s = network.spec
    x, h, c = data(s, steps=9, batch=3)
    out = flat(network(x, state(s, h, c), lengths=[9, 4, 1]))
    out += flat(network(x[:1] if s.batch_first else x[:, :1]))
    return out if s.bidirectional else out + flat(network.step(x[:, 0] if s.batch_first else x[0]))


def same_answers(one, other) -> bool:
    return all(
        x.tobytes() == y.tobytes() for x, y in zip(answers(one), answers(other), strict=True)
    )


def test_levels_are_bit_identical_where_nothing_is_fused(cc):
    """They add in the same order: what is left to differ is fused multiply-add."""
    have("avx512")
    specs = [
        spec(name=f"n{n}", isa="auto", hidden_size=33, num_layers=2, dtype=dtype, **cell)
        for n, (cell, dtype) in enumerate(product(CELLS.values(), ("float32", "float64")))
    ]
    plain = built(specs, "-O1 -ffp-contract=off")
    for trio in zip(*(networks(plain, level) for level in NAMES), strict=True):
        assert same_answers(trio[0], trio[1])
        assert same_answers(trio[0], trio[2])


def test_avx2_and_avx512_are_bit_identical(library):
    """Both fuse, portable does not."""
    have("avx512")
    differ = 0
    for portable, narrow, wide in zip(*(networks(library, n) for n in NAMES), strict=True):
        differ += not same_answers(portable, narrow)
        assert same_answers(narrow, wide)
    assert differ > len(ROWS) // 4


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_compilers_and_widths_that_fuse_are_bit_identical(tool, cell):
    """gcc and clang, vectors of 32 and of 16 bytes: no compiler chooses what is fused."""
    have("avx2")
    specs = [
        spec(name=f"{dtype}{h}", isa="avx2", hidden_size=h, dtype=dtype, **CELLS[cell])
        for dtype, h in product(("float32", "float64"), (9, 33))
    ]
    narrow = "".join(f" -D{s.name.upper()}_LANES={16 // DTYPES[s.dtype].bytes}" for s in specs)
    first = networks(built(specs, "-O3", CC=tool("gcc")))
    for compiler, flags in (("gcc", "-O2" + narrow), ("clang", "-O3")):
        others = networks(built(specs, flags, CC=tool(compiler)))
        assert all(map(same_answers, first, others)), (compiler, flags)


@pytest.mark.parametrize("level", NAMES)
def test_a_spec_may_ask_for_one_level(level, monkeypatch):
    """It is the same code as that level of a library of all; RNNGEN_ISA has nothing to choose."""
    have(level)
    s = spec(isa=level, hidden_size=20)
    only = net(s)
    assert only.validate().ok
    monkeypatch.setenv("RNNGEN_ISA", level)
    chosen = net(spec(isa="auto", hidden_size=20))
    monkeypatch.setenv("RNNGEN_ISA", "portable")
    x, h, c = data(s, steps=6)
    assert same(only(x, state(s, h, c)), chosen(x, state(s, h, c)))
    assert same(net(s)(x, state(s, h, c)), only(x, state(s, h, c)))


# Which level.

STUBS = """
#include "net.h"
int net_forward_{level}(
    const net_weights *w, net_state *s, const float *x, const size_t *lengths, float *y, size_t T,
    size_t B, void *workspace, size_t workspace_bytes)
{{
    return w || s || x || lengths || y || workspace ? 0 : (int)(T + B + workspace_bytes) + {n};
}}
int net_forward_ragged_{level}(
    const net_weights *w, net_state *s, const float *x, const size_t *lengths, float *y, size_t B,
    void *workspace, size_t workspace_bytes)
{{
    return w || s || x || lengths || y || workspace ? 0 : (int)(B + workspace_bytes) + {n};
}}
int net_forward_packed_{level}(
    const net_weights *w, net_state *s, const float *x, const size_t *lengths, const size_t *starts,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes)
{{
    return w || s || x || lengths || starts || y || workspace
        ? 0 : (int)(T + B + workspace_bytes) + {n};
}}
int net_forward_share_{level}(
    const net_weights *w, net_state *s, const float *x, const size_t *lengths, float *y, size_t T,
    size_t B, const net_share *share, void *workspace, size_t workspace_bytes)
{{
    return w || s || x || lengths || y || share || workspace
        ? 0 : (int)(T + B + workspace_bytes) + {n};
}}
int net_step_{level}(const net_weights *w, net_state *s, const float *x, float *y)
{{
    return w || s || x || y ? 0 : {n};
}}
"""
MAIN = """
#include "net.h"
#include <stdio.h>
int main(void)
{
    return printf("%d %d %d %d %d %d",
        net_forward(NULL, NULL, NULL, NULL, NULL, 1, 2, NULL, 4),
        net_forward_ragged(NULL, NULL, NULL, NULL, NULL, 2, NULL, 4),
        net_forward_packed(NULL, NULL, NULL, NULL, NULL, NULL, 1, 2, NULL, 6),
        net_forward_share(NULL, NULL, NULL, NULL, NULL, 1, 2, NULL, NULL, 5),
        net_forward(NULL, NULL, NULL, NULL, NULL, 2, 1, NULL, 4),
        net_step(NULL, NULL, NULL, NULL)) < 0;
}
"""
# What stubs answer; the portable level itself has a code for NULL.
PICKED = {
    "portable": b"1 1 1 1 1 1",
    "avx2": b"1007 1006 1009 1008 1007 1000",
    "avx512": b"2007 2006 2009 2008 2007 2000",
}


@pytest.fixture(params=["gcc", "clang"])
def program(request, tool, tmp_path):
    """Says which level its calls went to, those with wide vectors being stubs."""
    return dispatching(tool(request.param), 16, tmp_path)


def dispatching(cc, hidden, tmp_path):
    """The program, of an LSTM of so many units."""
    texts = rnngen.generate(spec(isa="auto", hidden_size=hidden)) | {"main.c": MAIN}
    for n, level in enumerate(NAMES[1:]):
        texts[f"net_{level}.c"] = STUBS.format(level=level, n=1000 * (n + 1))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    sources = [name for name in texts if name.endswith(".c")]
    options = ["-std=c99", "-O2", "-DNET_DISPATCH", *sources, "-o", "program"]
    run(cc, *options, folder=tmp_path)
    return tmp_path / "program"


def test_the_best_level_is_picked(program):
    """All calls go to it, with all their arguments; Python thinks it is the same one."""
    assert run(program, folder=program.parent) == PICKED[processor.best()]


def test_one_sequence_of_few_units_goes_to_narrower_vectors(tool, tmp_path):
    """Of eight units at most, which do not fill AVX-512's."""
    program = dispatching(tool("gcc"), 8, tmp_path)
    best = processor.best()
    several = PICKED[best].split()
    alone = PICKED["avx2" if best == "avx512" else best].split()
    assert run(program, folder=tmp_path).split() == several[:4] + alone[4:]


@pytest.mark.parametrize(("cpu", "level"), [("Nehalem", "portable"), ("Haswell", "avx2")])
def test_older_processors(program, tool, cpu, level):
    emulator = [tool("qemu-x86_64"), "-cpu", cpu]
    said = run(*emulator, program, folder=program.parent)
    assert said == PICKED[level]


def test_what_python_thinks(machine):
    """A level is there when all of its features are."""
    levels = {level.name: level.features for level in LEVELS}
    machine()
    assert processor.best() == "portable"
    machine(*levels["avx2"])
    assert processor.best() == "avx2"
    machine(*levels["avx512"])
    assert processor.best() == "avx512"
    for missing in levels["avx512"]:
        machine(*(f for f in levels["avx512"] if f != missing))
        assert processor.best() == ("portable" if missing in levels["avx2"] else "avx2")


def test_where_the_system_says_nothing(tmp_path, monkeypatch):
    """Whoever asks for a level there is believed, on x86-64 only."""
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert processor.suffix("avx512") == ""
    assert processor.identity() == platform.processor()
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(BuildError, match="isa: avx512 needs a processor with AVX-512; this one"):
        processor.suffix("avx512")


# Refusals.


@pytest.mark.parametrize("isa", ["auto", "native"])
@pytest.mark.parametrize("wish", ["sse2", "AVX2", "native", "auto", "_avx2"])
def test_a_level_that_is_none(monkeypatch, wish, isa):
    monkeypatch.setenv("RNNGEN_ISA", wish)
    assert refusal(spec(isa=isa)) == f"RNNGEN_ISA: portable, avx2 or avx512; got '{wish}'"


def test_a_processor_that_lacks_it(machine, monkeypatch, own_cache):
    """Before a compiler starts."""
    machine("avx2", "fma", "bmi2", "avx512f", "avx512cd")
    lacking = "this one lacks avx512bw, avx512dq, avx512vl"
    message = f"isa: avx512 needs a processor with AVX-512; {lacking}"
    assert refusal(spec(isa="avx512")) == message
    monkeypatch.setenv("RNNGEN_ISA", "avx512")
    assert refusal(spec(isa="auto")) == f"RNNGEN_{message.replace('isa', 'ISA')}"
    assert not own_cache.exists()


def test_a_package_for_another_processor(machine, tmp_path):
    """What was built elsewhere is refused when it is loaded, not when it is run."""
    have("avx2")
    network = net(spec(name="toy", isa="avx2"))
    package.write(tmp_path / "toy", package.texts(network), network)
    machine("avx2")
    with pytest.raises(BuildError, match="isa: avx2 needs a processor with AVX2 and FMA; this"):
        package.load(tmp_path / "toy")


# What is built.


def test_nothing_is_exported_but_the_module(tool):
    """The names of the levels stay inside."""
    path = rnngen.compile(spec(isa="auto")).library.path
    lines = run(tool("nm"), "-D", "--defined-only", path, folder=path.parent).decode().splitlines()
    names = [line.split()[-1] for line in lines]
    assert not [name for name in names if name.startswith("net_")]
    assert f"PyInit_{path.name.partition('.')[0]}" in names


@pytest.mark.parametrize("isa", ["auto", "portable", "avx2", "avx512", "native"])
def test_what_the_folder_has(isa):
    """Two small files more where there are several levels; who needs it is told which flags."""
    files = rnngen.generate(spec(isa=isa))
    more = {"net_avx2.c", "net_avx512.c"} if isa == "auto" else set()
    assert set(files) == {"net.h", "net.c"} | more
    assert all(len(files[name].splitlines()) < 40 for name in more)
    assert ("It needs a processor with" in files["net.h"]) == (isa in ("avx2", "avx512"))
    assert ("DISPATCH" in files["net.c"]) == (isa == "auto")
