"""The work that generated code does, in instructions: a guard against slower code that no clock
and no busy machine can fool.

What the committed figures say is by compiler, as each has its own way with the same C. After an
intended change, or for another compiler: pytest tests/test_instructions.py --update-instructions
"""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest
from filelock import FileLock
from nets import spec
from test_c import run

import rnngen
from rnngen.dtypes import DTYPES
from rnngen.targets import TARGETS

FIGURES = Path(__file__).with_name("instructions.json")
PROGRAM = Path(__file__).parent / "c" / "instructions.c"
TOLERANCE = 0.03
# As rnngen compiles, but never -march=native, nor what a distribution switches on by itself: the
# same code everywhere.
FLAGS = [
    *(*TARGETS["c"].flags, "-march=x86-64-v3", "-Wall", "-Werror"),
    *("-fno-stack-protector", "-fno-stack-clash-protection", "-fcf-protection=none"),
]
UPDATE = "pytest tests/test_instructions.py --update-instructions"
STEPS = 12

# Sizes below, at and beyond those of vectors and unrolled loops, one beyond a core's caches.
# Name -> spec, B, ragged.
NETS = {
    "lstm_8": (spec(input_size=8, hidden_size=8), 1, False),
    "lstm_64": (spec(input_size=40, hidden_size=64), 1, False),
    "lstm_128_batch": (spec(input_size=64, hidden_size=128), 8, False),
    "gru_32": (spec(cell="gru", input_size=16, hidden_size=32), 1, False),
    "gru_64_batch": (spec(cell="gru", input_size=40, hidden_size=64), 8, False),
    "gru_320_batch": (spec(cell="gru", input_size=16, hidden_size=320), 8, False),
    "rnn_128": (spec(cell="rnn", input_size=3, hidden_size=128), 1, False),
    "lstm_33_bidirectional": (
        spec(input_size=20, hidden_size=33, num_layers=2, bidirectional=True), 1, False),
    "gru_48_ragged": (spec(cell="gru", input_size=24, hidden_size=48), 8, True),
    "lstm_64_projected": (spec(input_size=40, hidden_size=64, proj_size=24), 1, False),
    "lstm_32_float64": (spec(input_size=16, hidden_size=32, dtype="float64"), 8, False),
}  # fmt: skip


def figures() -> dict[str, dict[str, int]]:
    return json.loads(FIGURES.read_text())


def version(compiler: str, folder: Path) -> str:
    """`gcc 12`: what a compiler calls itself, to its first number."""
    macros = run(compiler, "-dM", "-E", "-x", "c", "/dev/null", folder=folder).decode()
    name, macro = ("clang", "__clang_major__") if "__clang__" in macros else ("gcc", "__GNUC__")
    return f"{name} {re.search(rf'#define {macro} ([0-9]+)', macros)[1]}"


def program(name: str, compiler: str, folder: Path) -> Path:
    """The network and what calls it, compiled."""
    s, batch, ragged = NETS[name]
    for file, text in rnngen.generate(s).items():
        (folder / file).write_text(text)
    defines = [f"-DNET={s.name}", f'-DHEADER="{s.name}.h"', f"-DREAL={DTYPES[s.dtype].c}"]
    defines += [f"-DINPUTS={s.input_size}", f"-DOUTPUTS={s.output_size}"]
    defines += [f"-DSTEPS={STEPS}", f"-DBATCH={batch}", f"-DRAGGED={ragged:d}"]
    run(compiler, *FLAGS, *defines, "-I.", PROGRAM, f"{s.name}.c", "-o", "program", folder=folder)
    return folder / "program"


def count(valgrind: str, path: Path) -> int:
    """Instructions of the network: in the program's own functions that main calls. Not in libc's
    memcpy, of which there is one for each processor."""
    collect = ["--toggle-collect=main", "--compress-strings=no", "--compress-pos=no"]
    command = [valgrind, "--tool=callgrind", *collect, "--callgrind-out-file=counts", path]
    run(*command, folder=path.parent)
    total, file, function, inclusive = 0, "", "", False
    for line in (path.parent / "counts").read_text().splitlines():
        word, _, value = line.partition("=")
        if word == "ob":
            file = value
        elif word == "fn":
            function = value
        elif word == "calls":
            inclusive = True  # the next line is the cost of what is called, counted there
        elif re.fullmatch(r"\d+ \d+", line):
            own = file == str(path) and function != "main" and not inclusive
            total += int(line.split()[1]) if own else 0
            inclusive = False
    assert total, "nothing was counted"
    return total


def update(key: str, name: str, counted: int) -> None:
    """Write one figure; many processes may do so at once."""
    with FileLock(FIGURES.with_suffix(".lock")):
        found = figures()
        kept = {n: v for n, v in found.get(key, {}).items() if n in NETS}
        found[key] = dict(sorted((kept | {name: counted}).items()))
        new = FIGURES.with_suffix(".new")
        new.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
        new.replace(FIGURES)  # another process may be reading it


def check(name: str, counted: int, committed: int) -> None:
    change = counted / committed - 1
    text = f"{name}: {counted:,} instructions, {change:+.1%} from the committed {committed:,}"
    assert abs(change) <= TOLERANCE, f"{text}. If that is intended: {UPDATE}"


@pytest.mark.full
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_instructions(tool, tmp_path, compiler, name, update_instructions):
    """As many as were committed, within a few percent."""
    valgrind, cc = tool("valgrind"), tool(compiler)
    if platform.machine() != "x86_64" or " avx2 " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("no x86-64 processor with AVX2 here")
    key = version(cc, tmp_path)
    committed = figures().get(key, {}).get(name)
    if committed is None and not update_instructions:
        pytest.skip(f"no figure of {name} with {key}; {UPDATE}")
    counted = count(valgrind, program(name, cc, tmp_path))
    if update_instructions:
        update(key, name, counted)
    else:
        check(name, counted, committed)


@pytest.mark.full
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_what_is_counted(tool, tmp_path, compiler):
    """The program's own functions below main, callees too, each once; neither main nor libc."""
    (tmp_path / "program.c").write_text(
        "#include <string.h>\n"
        '#define NOP __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop; nop; nop")\n'
        "static char from[1 << 20], to[1 << 20];\n"
        "__attribute__((noinline)) static void inner(void) { NOP; NOP; NOP; }\n"
        "__attribute__((noinline)) static void outer(int n)\n"
        "{\n    while (n--)\n        inner();\n    memcpy(to, from, sizeof to);\n    NOP;\n}\n"
        "int main(void)\n{\n    for (volatile int n = 0; n < 5000; n++)\n        ;\n"
        "    outer(100);\n    return to[7];\n}\n"
    )
    run(tool(compiler), "-O1", "program.c", "-o", "program", folder=tmp_path)
    counted = count(tool("valgrind"), tmp_path / "program")
    assert 3010 <= counted <= 3010 + 100 * 10


def test_a_change_is_noticed():
    """Beyond the tolerance, in either direction; and the message says what to do."""
    check("net", 1029, 1000)
    check("net", 971, 1000)
    for counted, shown in ((1031, "+3.1%"), (969, "-3.1%")):
        with pytest.raises(AssertionError, match=rf"net: \S+ instructions, \{shown} .* --update-"):
            check("net", counted, 1000)


def test_every_figure_is_of_a_net(update_instructions):
    if update_instructions:
        pytest.skip("they are being written")
    for key, found in figures().items():
        assert set(found) == set(NETS), key
