"""Activations over the numbers themselves, and constants that survive being printed."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from pathlib import Path

import emulated
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import CELLS, data, module, net, spec

import rnngen
from rnngen import processor
from rnngen.dtypes import DTYPES

SWEEP = Path(__file__).parent / "c" / "sweep.c"
FUSED = ["-march=native", "-ffp-contract=fast"]
PLAIN = ["-ffp-contract=off"]
# Bit patterns of float32 from 0 to 20 and from -0 to -20, where the contract holds.
HALVES = {"positive": (0x00000000, 0x41A00000), "negative": (0x80000000, 0xC1A00000)}


def write(folder, s):
    """What the spec generates."""
    for name, text in rnngen.generate(s).items():
        (folder / name).write_text(text)


def sweep(cc, folder, dtype, lanes, flags, *args):
    """Largest errors, leaks and special values of one build of the activations."""
    s = spec(name="act", cell="gru", hidden_size=16, dtype=dtype)
    write(folder, s)
    held, opened, wide = (9.1, 18, "double") if dtype == "float32" else (19.1, 37.5, "long double")
    command = [cc, "-std=c99", "-O2", "-w", *flags, f"-DACT_LANES={lanes}", '-DSOURCE="act.c"']
    command += [
        f"-DHELD={held}",
        f"-DOPEN={opened}",
        f"-DWIDE={wide}",
        "-I.",
        str(SWEEP),
        "-o",
        "sweep",
        "-lm",
    ]
    subprocess.run(command, cwd=folder, check=True)
    return told([folder / "sweep", *args])


def told(command):
    """What the sweep prints: largest errors, leaks and special values."""
    first, *rest = subprocess.check_output([*map(str, command)], text=True).split("\n")
    *errors, leaks = first.split()
    return [float(e) for e in errors], int(leaks), [line.split() for line in rest if line]


def check_float32(errors, leaks, special):
    """What the README says of float32, and what NaN and infinity give."""
    tanh, sigmoid, tanh_relative, sigmoid_relative = errors
    assert tanh <= 1.5e-7
    assert sigmoid <= 9e-8  # torch.sigmoid's own
    assert tanh_relative <= 2.5e-7  # small numbers keep their digits
    assert sigmoid_relative <= 2e-7
    assert leaks == 0
    check_special(special)


def check_special(special):
    nan, plus, minus, huge, zero = special
    assert "nan" in nan[1]
    assert "nan" in nan[2]
    assert plus[1:] == ["1", "1"]
    assert minus[1:] == huge[1:] == ["-1", "0"]
    assert zero[1:] == ["0", "0.5"]


@pytest.mark.parametrize("flags", [FUSED, PLAIN], ids=["fused", "plain"])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("half", HALVES)
def test_float32(cc, tmp_path, half, lanes, flags):
    """Every 997th float32 in [-20, 20]."""
    first, last = HALVES[half]
    check_float32(*sweep(cc, tmp_path, "float32", lanes, flags, first, last, 997))


@pytest.mark.parametrize("lanes", [1, 16])
def test_float32_tail(cc, tmp_path, lanes):
    """A gate nearly shut keeps its relative error down to -80, and never leaves [0, 1]."""
    args = (0xC1A00000, 0xC2B40000, 101)
    errors, leaks, _ = sweep(cc, tmp_path, "float32", lanes, FUSED, *args)
    assert errors[3] <= 2e-7
    assert leaks == 0


@pytest.mark.full
@pytest.mark.parametrize("flags", [FUSED, PLAIN], ids=["fused", "plain"])
@pytest.mark.parametrize("half", HALVES)
def test_every_float32(cc, tmp_path, half, flags):
    """All of them; scalar and vector code have the same operations, the widest is fastest."""
    first, last = HALVES[half]
    check_float32(*sweep(cc, tmp_path, "float32", 16, flags, first, last, 1))


@pytest.mark.parametrize("flags", [FUSED, PLAIN], ids=["fused", "plain"])
@pytest.mark.parametrize("lanes", [1, 8])
def test_float64(cc, tmp_path, lanes, flags):
    """Two million numbers in [-40, 40], to 1e-15."""
    errors, leaks, special = sweep(cc, tmp_path, "float64", lanes, flags, 2_000_003)
    assert max(errors[:2]) <= 1e-15
    assert max(errors[2:]) <= 1e-15
    assert leaks == 0
    check_special(special)


def on_cuda(folder, cell, program, *flags):
    """A program over the activations of a .cu file, run by the shim, whose instructions err."""
    plan = emulated.plan(name="act", cell=cell, hidden_size=16)
    write(folder, plan.model.spec)
    one = "inline vec load(const real *p) { return *p; }\n"
    one += "inline vec splat(real a) { return a; }\nusing std::isnan;\n"
    one += "inline void store(real *p, vec v) { *p = v; }\nenum { LANES = 1 };\n"
    (folder / "act.inc").write_text(f'#include "act.cu"\n{one}')
    options = ["-O2", "-w", "-ffp-contract=fast", "-march=native", "-DWIDE=double", *flags]
    source = ['-DSOURCE="act.inc"', "-I.", str(SWEEP.parent / program)]
    emulated.gxx(folder, plan, *options, *source, "-o", "program")
    return folder / "program"


@pytest.mark.parametrize("half", HALVES)
def test_float32_on_cuda(tool, tmp_path, half):
    """Every 997th float32 in [-20, 20], where each instruction errs as much as it may."""
    tool("g++")
    program = on_cuda(tmp_path, "gru", "sweep.c", "-DHELD=9.1", "-DOPEN=18")
    errors, leaks, special = told([program, *HALVES[half], 997])
    assert errors[0] <= 1.9e-7  # tanh
    assert errors[1] <= 1.3e-7  # sigmoid
    assert errors[2] <= 4e-7  # small numbers keep their digits
    assert errors[3] <= 1.3e-6  # and gates that are nearly shut six of them
    assert leaks == 0
    check_special(special)


def test_gated_on_cuda(tool, tmp_path):
    """One division here, too, and as exact at the ends."""
    tool("g++")
    program = on_cuda(tmp_path, "lstm", "gated.c")
    worst, out = subprocess.check_output([program, "1000000"], text=True).split()
    assert float(worst) <= 3e-7
    assert out == "0"


@pytest.mark.parametrize("flags", [FUSED, PLAIN], ids=["fused", "plain"])
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize(
    ("dtype", "wide", "limit"), [("float32", "double", 2.6e-7), ("float64", "long double", 1e-15)]
)
def test_gated(cc, tmp_path, dtype, wide, limit, lanes, flags):
    """sigmoid(x) * tanh(y) by one division; two are off by 2.5e-7, too. Exact at the ends."""
    write(tmp_path, spec(name="act", cell="lstm", hidden_size=16, dtype=dtype))
    options = ["-std=c99", "-O2", "-w", *flags, f"-DACT_LANES={lanes}", f"-DWIDE={wide}"]
    command = [cc, *options, '-DSOURCE="act.c"', "-I.", str(SWEEP.parent / "gated.c")]
    subprocess.run([*command, "-o", "gated", "-lm"], cwd=tmp_path, check=True)
    worst, out = subprocess.check_output([tmp_path / "gated", "1000000"], text=True).split()
    assert float(worst) <= limit
    assert out == "0"


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_chooses_what_is_fused(tool, tmp_path, compiler, lanes):
    """Of a * b + c * d it is a * b, whichever comes first: levels and functions agree in bits."""
    if processor.best() == "portable":
        pytest.skip("a processor without FMA")
    write(tmp_path, spec(name="act", hidden_size=16))
    options = ["-O3", "-w", "-mavx2", "-mfma", "-ffp-contract=fast", f"-DACT_LANES={lanes}"]
    command = [tool(compiler), *options, '-DSOURCE="act.c"', "-I.", str(SWEEP.parent / "fused.c")]
    subprocess.run([*command, "-o", "fused", "-lm"], cwd=tmp_path, check=True)
    wrong, telling = map(int, subprocess.check_output(tmp_path / "fused").split())
    assert wrong == 0
    assert telling > 1000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_literal_float64_round_trips(value):
    assert float(DTYPES["float64"].literal(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_literal_float32_round_trips(value):
    text = DTYPES["float32"].literal(value)
    assert text.endswith("f")
    assert np.float32(text[:-1]) == np.float32(value)
    assert math.copysign(1, float(text[:-1])) == math.copysign(1, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_literal_refuses_what_c_cannot_spell(value):
    with pytest.raises(ValueError, match="literal: a finite number"):
        DTYPES["float32"].literal(value)


def test_literal_is_never_an_integer():
    """1 would make 1 / 2 a zero in C."""
    assert DTYPES["float64"].literal(1) == "1.0"
    assert DTYPES["float32"].literal(1e9) == "1e+09f"


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own
@pytest.mark.parametrize("hidden", [8, 20])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_finite_goes_as_far_as_torchs(cc, cell, hidden):
    """No padding, and no weight that is there for the layout alone, makes NaN of an infinite x."""
    s = spec(**CELLS[cell], hidden_size=hidden)
    x, *_ = data(s, steps=7, batch=6)
    x[2, 0, 1], x[4, 5, 0], x[5, 3, 2] = math.inf, -math.inf, math.nan
    own = net(s)(x)[0]
    theirs = module(s)(torch.from_numpy(x))[0].numpy()
    np.testing.assert_array_equal(np.isnan(own), np.isnan(theirs))
    np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-6)


LOOSE = {
    "-ffast-math": "compile without -ffast-math and its kin",
    "-funsafe-math-optimizations": "compile without -ffast-math and its kin",
    "-std=gnu11 -mfpmath=387": "compile with -std=c99 or -msse2",
}


@pytest.mark.parametrize("flags", LOOSE)
def test_loose_arithmetic_is_refused(tool, tmp_path, flags):
    """The compiler would simplify (x + big) - big away; better no library than a wrong one."""
    if "387" in flags and platform.machine() != "x86_64":
        pytest.skip("no x87 here")
    for name, text in rnngen.generate(spec(name="act")).items():
        (tmp_path / name).write_text(text)
    command = [tool("gcc"), *flags.split(), "-c", "act.c", "-o", os.devnull]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode
    assert LOOSE[flags] in result.stderr
