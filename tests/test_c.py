"""The generated C as compilers see it: warnings, symbols, stack; other compilers and machines."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from nets import ROWS, from_row, spec

import rnngen

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
    guest(name="ca", input_size=8400, hidden_size=4, num_layers=2, dtype="float64"),
    guest(name="cb", cell="gru", input_size=5, hidden_size=308, num_layers=2, bidirectional=True),
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


@dataclass(frozen=True)
class Build:
    """One way to compile the sources; what comes out serves all tests below."""

    compiler: str
    flags: str
    files: str = "*.c"
    levels: bool = False  # DISPATCH

    def __str__(self) -> str:
        return f"{self.compiler} {self.flags} {self.files}{' levels' * self.levels}"


@dataclass(frozen=True)
class Built:
    """What a compiler made and what it said."""

    build: Build
    folder: Path  # objects; from gcc how much stack each function takes, too
    said: str


# The covering array is for what depends on sizes, such as what gcc's optimiser warns of.
GCC, CLANG = (
    [
        Build(compiler, "-O0"),
        Build(compiler, "-Os", "c*.c"),
        Build(compiler, "-O3 -march=native", optimised),
        Build(compiler, "-O3 -mavx512f -ffp-contract=fast", "c?.c"),
        Build(compiler, "-O0", "c*.c", levels=True),
        Build(compiler, "-O2", "c*.c", levels=True),
    ]
    for compiler, optimised in (("gcc", "*.c"), ("clang", "c*.c"))
)
FULL = [Build(compiler, "-O2", "r*.c", levels=True) for compiler in ("gcc", "clang")]
FULL += [Build("clang", "-O3 -march=native", "r*.c")]
BUILDS = [*GCC, *CLANG, *(pytest.param(build, marks=pytest.mark.full) for build in FULL)]


@pytest.fixture(scope="module", params=BUILDS, ids=str)
def built(request, tool, sources, tmp_path_factory):
    """The sources, compiled: once for warnings, symbols and stack."""
    build = request.param
    if "avx512" in build.flags and platform.machine() != "x86_64":
        pytest.skip("AVX-512 is x86-64's")
    folder = tmp_path_factory.mktemp("built")
    warnings = [word for word in WARNINGS if word != "-Werror"]
    options = ["-std=c99", *warnings, "-Wmissing-prototypes", *build.flags.split()]
    options += DISPATCH * build.levels + ["-fstack-usage"] * (build.compiler == "gcc")
    command = [tool(build.compiler), *options, "-c", *sorted(sources.glob(build.files))]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Built(build, folder, out.stdout + out.stderr)


def test_no_warnings(built, sources):
    """None, with optimisation and without: over the corpus, the covering array and all levels."""
    assert not built.said, built.said[:4000]
    made = {path.stem for path in built.folder.glob("*.o")}
    assert made == {path.stem for path in sources.glob(built.build.files)}


@pytest.mark.parametrize("standard", ["c11", "c17"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_later_standards(tool, sources, tmp_path, compiler, standard):
    """Newer C is read without warnings as well; what comes after reading is the same."""
    options = [f"-std={standard}", *WARNINGS, "-Wmissing-prototypes", "-fsyntax-only"]
    for defines in ([], DISPATCH):
        run(tool(compiler), *options, *defines, *sorted(sources.glob("c*.c")), folder=tmp_path)


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
WHOLE = ("forward", "forward_ragged", "forward_packed", "forward_share", "step", "workspace")


def symbols(tool, folder) -> dict[str, list[list[str]]]:
    """File -> kind and name of each symbol."""
    found: dict[str, list[list[str]]] = {path.stem: [] for path in folder.glob("*.o")}
    objects = [f"{stem}.o" for stem in found]
    for line in run(tool("nm"), "-A", *objects, folder=folder).decode().splitlines():
        file, _, symbol = line.partition(".o:")
        found[file].append(symbol.split()[-2:])
    return found


def test_symbols(tool, built):
    """Nothing is called but memcpy and its kin, nothing lives outside the caller's memory.

    Each level has names of its own; only what chooses among them asks for the processor.
    """
    for file, found in symbols(tool, built.folder).items():
        assert found or "_" in file  # a level may be empty
        named, called = names(file) if built.build.levels else (None, CALLED)
        for kind, symbol in found:
            assert kind in "UTtrR", symbol
            assert kind != "U" or symbol in called, symbol
            own = symbol in named if named else symbol.startswith(f"{file}_")
            assert kind != "T" or own, symbol


def names(file: str) -> tuple[set[str], set[str]]:
    """What an object of several levels may define, and what it may call."""
    name, _, level = file.partition("_")
    own = {f"{name}_{call}" for call in WHOLE}
    named = {f"{symbol}_{level or 'portable'}" for symbol in own}
    if level:
        return named, CALLED
    others = {f"{symbol}_{other}" for symbol in own for other in ("avx2", "avx512")}
    return named | own, CALLED | others | {"__cpu_model", "_GLOBAL_OFFSET_TABLE_"}


@pytest.mark.parametrize("built", GCC, ids=str, indirect=True)
def test_stack_is_bounded(built, sources):
    """Every function's stack is known when it is compiled, and a call's is what the header says."""
    usages = sorted(built.folder.glob("*.su"))
    assert usages
    for usage in usages:
        lines = usage.read_text().splitlines()
        assert all(line.endswith(("static", "dynamic,bounded")) for line in lines)
        largest = sorted(int(line.split("\t")[1]) for line in lines)[-4:]
        header = sources / f"{usage.stem.partition('_')[0]}.h"
        most = int(re.search(r"takes less than (\d+) KB of", header.read_text())[1]) * 1024
        assert built.build.flags == "-O0" or sum(largest) < most  # forward, pass, kernel, tile
