"""The generated C as a product: warnings, symbols, sanitizers, other compilers and machines."""

from __future__ import annotations

import platform
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from nets import CELLS, ROWS, data, flat, from_row, net, spec, state

import rnngen
from rnngen.calls import state as c_state
from rnngen.calls import state_views
from rnngen.pack import pack

HARNESS = Path(__file__).parent / "c" / "harness.c"
WARNINGS = [
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"),
    *("-Wstrict-prototypes", "-Wvla", "-Werror"),
]
guest = partial(spec, isa="auto")  # what a guest gets unless he asks for something else
# One of each cell, sizes with and without rests; together they print every line of the templates.
CORPUS = [
    guest(name="c0", num_layers=2, bidirectional=True, input_size=17, hidden_size=33),
    guest(name="c1", proj_size=2, num_layers=3, batch_first=True),
    guest(name="c2", cell="gru", input_size=40, hidden_size=64, num_layers=2),
    guest(name="c3", cell="gru", bias=False, bidirectional=True, dtype="float64"),
    guest(name="c4", cell="rnn", input_size=1, hidden_size=16),
    guest(name="c5", cell="rnn", nonlinearity="relu", input_size=20, hidden_size=3, num_layers=2),
    guest(name="c6", input_size=1, hidden_size=1, dtype="float64", proj_size=0),
    guest(name="c7", proj_size=20, hidden_size=40, input_size=5, bidirectional=True),
    guest(name="c8", input_size=150, hidden_size=230, proj_size=137),
    guest(name="c9", cell="gru", input_size=3, hidden_size=202, num_layers=2, dtype="float64"),
]
UNIDIRECTIONAL = [s for s in CORPUS if not s.bidirectional]


def run(*command, folder, **options):
    """One command that has to succeed; its output otherwise."""
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, check=False, **options
    )
    assert result.returncode == 0, (result.stdout + result.stderr).decode(errors="replace")[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with the C of the corpus and of the covering array."""
    folder = tmp_path_factory.mktemp("sources")
    for s in CORPUS + [from_row(f"r{n}", row, "auto") for n, row in enumerate(ROWS)]:
        for name, text in rnngen.generate(s).items():
            (folder / name).write_text(text)
    return folder


# -DNAME_DISPATCH for all: each network is three objects, else one and two empty ones.
DISPATCH = [f"-D{name}_DISPATCH" for name in map(str.upper, (s.name for s in CORPUS))]
DISPATCH += [f"-DR{n}_DISPATCH" for n in range(len(ROWS))]


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-O3 -march=native", "-O2 -mavx2 -mfma"])
@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warnings(tool, sources, tmp_path, compiler, standard, flags):
    """Every warning is an error, over the corpus and the covering array."""
    files = sorted(sources.glob("*.c"))
    options = [f"-std={standard}", *WARNINGS, "-Wmissing-prototypes", *flags.split()]
    run(tool(compiler), *options, "-c", *files, folder=tmp_path)


@pytest.mark.parametrize("flags", ["-O0", "-O2 -mavx2 -mfma"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_levels_have_no_warnings(tool, sources, tmp_path, compiler, flags):
    """Nor have the files for wider vectors, and what chooses among them."""
    files = sorted(sources.glob("*.c"))
    options = ["-std=c99", *WARNINGS, "-Wmissing-prototypes", *flags.split(), *DISPATCH]
    run(tool(compiler), *options, "-c", *files, folder=tmp_path)


@pytest.mark.parametrize("compiler", ["tcc", "aarch64-linux-gnu-gcc"])
def test_other_compilers(tool, sources, tmp_path, compiler):
    """Plain C99 for a small compiler, NEON for another machine."""
    warnings = ["-Wall", "-Werror"] if compiler == "tcc" else WARNINGS
    for file in sorted(sources.glob("c*.c")):
        for defines in ([], DISPATCH):
            options = ["-std=c99", *warnings, *defines, "-c", file, "-o", "out.o"]
            run(tool(compiler), *options, folder=tmp_path)


@pytest.mark.parametrize("size", [0, 16])
def test_forced_width_has_no_warnings(tool, sources, tmp_path, size):
    """-DNAME_LANES=n, as the file offers: plain C99, and vectors of 16 bytes."""
    for s in CORPUS:
        lanes = max(1, size // np.dtype(s.dtype).itemsize)
        define = f"-D{s.name.upper()}_LANES={lanes}"
        run(
            tool("gcc"),
            "-std=c99",
            *WARNINGS,
            define,
            "-c",
            sources / f"{s.name}.c",
            folder=tmp_path,
        )


def test_a_width_that_does_not_divide_the_block_is_refused(tool, sources, tmp_path):
    command = [tool("gcc"), "-DC4_LANES=3", "-c", sources / "c4.c"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode
    assert "C4_LANES: a divisor of 16" in result.stderr


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp_reads_the_headers(tool, cc, sources, tmp_path, compiler):
    """C++17 includes every header at once, without warnings, and links with the C."""
    names = [s.name for s in UNIDIRECTIONAL]
    includes = "\n".join(f'#include "{name}.h"' for name in names)
    calls = "\n".join(
        f"    if ({n}_step(nullptr, nullptr, nullptr, nullptr) != {n.upper()}_E_NULL) return 1;"
        for n in names
    )
    (tmp_path / "main.cpp").write_text(f"{includes}\nint main()\n{{\n{calls}\n    return 0;\n}}\n")
    run(cc, "-c", *(sources / f"{name}.c" for name in names), folder=tmp_path)
    warnings = [w for w in WARNINGS if w != "-Wstrict-prototypes"]  # of C alone
    objects = [f"{name}.o" for name in names]
    command = [tool(compiler), "-std=c++17", *warnings, f"-I{sources}", "main.cpp", *objects]
    run(*command, "-o", "main", folder=tmp_path)
    run(tmp_path / "main", folder=tmp_path)


CALLED = {"memcpy", "memset", "memmove"}


def symbols(tool, folder) -> list[list[str]]:
    """Kind and name of each symbol in out.o."""
    lines = run(tool("nm"), "out.o", folder=folder).decode().splitlines()
    return [line.split()[-2:] for line in lines]


@pytest.mark.parametrize("flags", ["-O0", "-Os", "-O3 -march=native"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_symbols(tool, sources, tmp_path, compiler, flags):
    """Nothing is called but memcpy and its kin, nothing lives outside the caller's memory."""
    for file in sorted(sources.glob("*.c")):
        run(tool(compiler), "-std=c99", *flags.split(), "-c", file, "-o", "out.o", folder=tmp_path)
        for kind, symbol in symbols(tool, tmp_path):
            assert kind in "UTtrR", symbol
            assert kind != "U" or symbol in CALLED, symbol
            assert kind != "T" or symbol.startswith(f"{file.stem}_"), symbol


@pytest.mark.parametrize("flags", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_symbols_of_levels(tool, sources, tmp_path, compiler, flags):
    """Each level has names of its own; only what chooses among them asks for the processor."""
    for file in sorted(sources.glob("c*.c")):
        options = ["-std=c99", *flags.split(), *DISPATCH, "-c", file, "-o", "out.o"]
        run(tool(compiler), *options, folder=tmp_path)
        name, _, level = file.stem.partition("_")
        whole = ("forward", "forward_ragged", "forward_packed", "forward_share")
        calls = (*whole, "step", "workspace")
        own = {f"{name}_{call}" for call in calls}
        named = {f"{symbol}_{level or 'portable'}" for symbol in own} | (set() if level else own)
        others = {f"{symbol}_{other}" for symbol in own for other in ("avx2", "avx512")}
        asked = set() if level else {"__cpu_model", "_GLOBAL_OFFSET_TABLE_", *others}
        for kind, symbol in symbols(tool, tmp_path):
            assert kind in "UTtrR", symbol
            assert kind != "U" or symbol in CALLED | asked, symbol
            assert kind != "T" or symbol in named, symbol


@pytest.mark.parametrize("flags", ["-O2", "-O3 -mavx512f", "-O0"])
def test_stack_is_bounded(tool, sources, tmp_path, flags):
    """Every function's stack is known when it is compiled, and a call's is what the header says."""
    if "avx512" in flags and platform.machine() != "x86_64":
        pytest.skip("AVX-512 is x86-64's")
    for file in sorted(sources.glob("c?.c")):
        options = [*flags.split(), "-fstack-usage", "-c", file, "-o", "out.o"]
        run(tool("gcc"), *options, folder=tmp_path)
        usage = next(tmp_path.glob("*.su"))
        lines = usage.read_text().splitlines()
        assert all(line.endswith(("static", "dynamic,bounded")) for line in lines)
        largest = sorted(int(line.split("\t")[1]) for line in lines)[-4:]
        said = re.search(r"takes less than (\d+) KB of", file.with_suffix(".h").read_text())
        most = int(said[1]) * 1024
        assert flags == "-O0" or sum(largest) < most  # forward, pass, kernel, tile
        usage.unlink()


def drive(s, folder, compiler, flags, ragged=False, runner=()):
    """Compile the harness around a network, run it and compare with the same network in Python."""
    network, steps, batch = net(s), 5, 3
    x, h, c = data(s, steps, batch)
    lengths = np.array([2, 5, 1], np.uint64) if ragged else None
    for name, text in rnngen.generate(s).items():
        (folder / name).write_text(text)
    defines = [f"-DNET={s.name}", f'-DHEADER="{s.name}.h"', f"-DREAL={network.plan.dtype.c}"]
    defines += [f"-DINPUTS={s.input_size}", f"-DOUTPUTS={s.output_size}"]
    defines += [] if s.bidirectional else ["-DSTEPS"]
    defines += ["-DBATCH_FIRST"] if s.batch_first else []
    files = [HARNESS, f"{s.name}.c"]
    run(compiler, "-std=gnu99", "-O1", "-g", *flags, *defines, "-I.", *files, "-o", "harness",
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


@pytest.mark.parametrize("lanes", ["scalar", "native"])
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("s", CORPUS, ids=lambda s: s.name)
def test_sanitizers(tool, tmp_path, s, sanitizer, lanes):
    """No read or write out of place, no undefined behaviour, no race; steps equal sequences."""
    wide = {"scalar": [f"-D{s.name.upper()}_LANES=1"], "native": ["-march=native"]}[lanes]
    drive(s, tmp_path, tool("gcc"), [*SANITIZERS[sanitizer], *wide], ragged=sanitizer == "address")


@pytest.mark.parametrize("flags", ["LANES=1", "LANES=8 -DWIDE_REGISTERS=16", "REGISTERS=32"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_asked_for(tool, tmp_path, cell, flags):
    """What large nets ask for ahead of time is theirs: here it is read instead."""
    s = spec(name="wide", cell=cell, input_size=150, hidden_size=301)
    reading = "-D__builtin_prefetch(row, write, near)=(void)*(volatile const char *)(row)"
    options = [*SANITIZERS["address"], reading, *f"-march=native -DWIDE_{flags}".split()]
    drive(s, tmp_path, tool("gcc"), options, ragged=True)


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
