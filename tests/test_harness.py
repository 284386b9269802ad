"""The generated C as a guest runs it: sanitizers, valgrind, clang, NEON, baked weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import CELLS, data, flat, net, spec, state
from test_c import CORPUS, WARNINGS, run

import rnngen
from rnngen.calls import state as c_state
from rnngen.calls import state_views
from rnngen.pack import pack

HARNESS = Path(__file__).parent / "c" / "harness.c"


def drive(s, folder, compiler, flags, ragged=False, runner=(), batch=3):
    """Compile the harness around a network, run it and compare with the same network in Python."""
    network, steps = net(rnngen.load_spec({**s.public(), "isa": "native"})), 5
    x, h, c = data(s, steps, batch)
    lengths = np.resize(np.array([2, 5, 1], np.uint64), batch) if ragged else None
    for name, text in rnngen.generate(s).items():
        (folder / name).write_text(text)
    defines = [f"-DNET={s.name}", f'-DHEADER="{s.name}.h"', f"-DREAL={network.plan.dtype.c}"]
    defines += [f"-DINPUTS={s.input_size}", f"-DOUTPUTS={s.output_size}"]
    defines += [] if s.bidirectional else ["-DSTEPS"]
    defines += ["-DBACK"] if network.plan.wide else []
    defines += ["-DC_STATES"] if "c" in network.plan.state_sizes else []
    defines += ["-DBATCH_FIRST"] if s.batch_first else []
    files = [HARNESS, f"{s.name}.c"]
    run(compiler, "-std=gnu99", "-O1", "-g1", *flags, *defines, "-I.", *files, "-o", "harness",
        "-pthread", folder=folder)  # fmt: skip
    memory = c_state(network.plan, state(s, h, c), batch, 3, "")
    given = [pack(network.plan, network.arrays()), memory, x, *([lengths] if ragged else [])]
    words = [*runner, folder / "harness", steps, batch, int(ragged)]
    out = run(*words, folder=folder, input=b"".join(a.tobytes() for a in given))
    y = np.frombuffer(out, s.dtype, steps * batch * s.output_size)
    output, *ends = flat(network(x, state(s, h, c), lengths=lengths))
    tolerance = network.plan.dtype.tol
    np.testing.assert_allclose(y.reshape(output.shape), output, atol=tolerance)
    after = np.frombuffer(out, s.dtype, offset=y.nbytes).reshape(batch, -1)
    for view, end in zip(state_views(network.plan, after), ends, strict=True):
        np.testing.assert_allclose(view, end, atol=tolerance)


SANITIZERS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}


# Threads share the same memory whatever the width; of vectors they write rests, too.
@pytest.mark.parametrize(
    ("sanitizer", "lanes"), [("address", "scalar"), ("address", "native"), ("thread", "native")]
)
@pytest.mark.parametrize("s", CORPUS, ids=lambda s: s.name)
def test_sanitizers(tool, tmp_path, s, sanitizer, lanes):
    """No read or write out of place, no undefined behaviour, no race; steps equal sequences."""
    wide = {"scalar": [f"-D{s.name.upper()}_LANES=1"], "native": ["-march=native"]}[lanes]
    drive(s, tmp_path, tool("gcc"), [*SANITIZERS[sanitizer], *wide], ragged=sanitizer == "address")


@pytest.mark.parametrize("flags", ["LANES=1", "LANES=8 -DWIDE_REGISTERS=16", "REGISTERS=32"])
@pytest.mark.parametrize("batch", [3, 8, 41])  # one tile, two, more than two steps have room for
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_asked_for(tool, tmp_path, cell, batch, flags):
    """What large nets ask for ahead of time is theirs: here it is read instead."""
    s = spec(name="wide", cell=cell, input_size=150, hidden_size=301)
    reading = "-D__builtin_prefetch(row, write, near)=(void)*(volatile const char *)(row)"
    options = [*SANITIZERS["address"], reading, *f"-march=native -DWIDE_{flags}".split()]
    drive(s, tmp_path, tool("gcc"), options, ragged=True, batch=batch)


@pytest.mark.parametrize("s", CORPUS[:3], ids=lambda s: s.name)
def test_valgrind(tool, tmp_path, s):
    """No uninitialised number decides anything, no byte is lost."""
    checker = [tool("valgrind"), "-q", "--error-exitcode=9", "--leak-check=full"]
    drive(s, tmp_path, tool("gcc"), [], ragged=True, runner=checker)


@pytest.mark.parametrize("s", CORPUS, ids=lambda s: s.name)
def test_clang(tool, tmp_path, s):
    """clang gives the same answers, steps and sequences the same bits."""
    drive(s, tmp_path, tool("clang"), ["-O3", "-march=native", "-ffp-contract=fast"])


@pytest.mark.parametrize("s", CORPUS, ids=lambda s: s.name)
def test_neon(tool, tmp_path, s):
    """The vectors of another machine, under an emulator."""
    drive(s, tmp_path, tool("aarch64-linux-gnu-gcc"), ["-static"], True, [tool("qemu-aarch64")])


@pytest.mark.parametrize("cell", CELLS)
def test_baked_weights(tool, tmp_path, cell):
    """Weights printed as C are the packed weights, bit for bit, and compile without warnings."""
    s = spec(name="baked", **CELLS[cell])
    network = net(s)
    for name, text in rnngen.generate(s, network.arrays()).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "baked_weights.h"\n#include <stdio.h>\n'
        "int main(void) { return fwrite(&baked_baked, sizeof baked_baked, 1, stdout) != 1; }\n"
    )
    files = ["main.c", "baked.c", "baked_weights.c"]
    run(tool("gcc"), "-std=c99", *WARNINGS, *files, "-o", "main", folder=tmp_path)
    packed = pack(network.plan, network.arrays())
    assert run(tmp_path / "main", folder=tmp_path) == packed.tobytes()
