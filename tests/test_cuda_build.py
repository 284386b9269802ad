"""What nvcc makes of CUDA networks, and what is said where there is none or no device."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path

import pytest
import torch
from emulated import plan
from nets import weights

import rnngen
from rnngen import build, cache, compiler, package, processor, render, residence, run, strategy
from rnngen.cuda import CudaPlan
from rnngen.errors import BuildError, DeviceError, WeightsError
from rnngen.grid import Grid
from rnngen.targets import ARCHITECTURES, TARGETS, architectures
from rnngen.tiles import Tiles

NETS = {
    "sm lstm": {"cell": "lstm", "input_size": 64, "hidden_size": 96, "bidirectional": True},
    "sm lstm, weights in shared memory": {"cell": "lstm", "hidden_size": 128, "isa": "sm_80"},
    "cluster lstm": {"cell": "lstm", "hidden_size": 256, "bidirectional": True},
    "cluster lstm, two blocks": {"cell": "lstm", "hidden_size": 101, "bidirectional": True},
    "cluster gru, weights in shared memory": {"cell": "gru", "hidden_size": 448},
    "cluster rnn": {"cell": "rnn", "hidden_size": 256, "nonlinearity": "relu"},
    "grid lstm": {"cell": "lstm", "hidden_size": 1024, "isa": "sm_90"},
    "grid gru, weights in shared memory": {"cell": "gru", "hidden_size": 900, "isa": "sm_80"},
    "grid rnn": {"cell": "rnn", "hidden_size": 600, "isa": "sm_80", "bidirectional": True},
    "grid lstm, no whole quads": {"cell": "lstm", "hidden_size": 1027, "isa": "sm_90"},
    "sm gru": {"cell": "gru", "input_size": 64, "hidden_size": 128},
    "wavefront lstm": {"cell": "lstm", "input_size": 64, "hidden_size": 96, "num_layers": 4},
    "wavefront gru": {"cell": "gru", "input_size": 64, "hidden_size": 128, "num_layers": 2},
    "wavefront lstm, clusters": {"cell": "lstm", "hidden_size": 256, "num_layers": 2},
    "wavefront gru, clusters": {"cell": "gru", "hidden_size": 448, "num_layers": 3},
    "wavefront rnn": {"cell": "rnn", "hidden_size": 141, "num_layers": 3, "batch_first": True},
    "sm rnn": {"cell": "rnn", "input_size": 1, "hidden_size": 20},
    "step gru": {"cell": "gru", "input_size": 3, "hidden_size": 1700, "bidirectional": True},
    "step lstm, projected": {"cell": "lstm", "input_size": 3, "hidden_size": 40, "proj_size": 7},
    "step rnn, float64": {"cell": "rnn", "input_size": 3, "hidden_size": 20, "dtype": "float64"},
    "sm lstm, float16": {"cell": "lstm", "hidden_size": 64, "dtype": "float16"},
    "wavefront rnn, bfloat16": {
        "cell": "rnn",
        "hidden_size": 256,
        "isa": "sm_90",
        "dtype": "bfloat16",
        "num_layers": 3,
    },
    "wavefront lstm, float16": {"hidden_size": 128, "dtype": "float16", "num_layers": 2},
    "wavefront gru, bfloat16, weights in shared memory": {
        "cell": "gru",
        "hidden_size": 150,
        "isa": "sm_80",
        "dtype": "bfloat16",
        "num_layers": 3,
    },
    "sm gru, bfloat16": {"cell": "gru", "hidden_size": 150, "isa": "sm_80", "dtype": "bfloat16"},
    "cluster lstm, bfloat16": {"cell": "lstm", "hidden_size": 256, "dtype": "bfloat16"},
    "cluster gru, float16": {"cell": "gru", "hidden_size": 160, "dtype": "float16"},
    "cluster rnn, float16": {"cell": "rnn", "hidden_size": 512, "dtype": "float16"},
    "cluster lstm, float16, four warps": {"hidden_size": 448, "dtype": "float16"},
    "cluster gru, float16, four warps, weights in shared memory": {
        "cell": "gru",
        "hidden_size": 672,
        "dtype": "float16",
    },
    "sm lstm, bfloat16, four warps": {"hidden_size": 16, "dtype": "bfloat16"},
    "sm gru, float16, two warps": {"cell": "gru", "hidden_size": 32, "dtype": "float16"},
    "step lstm, projected, float16": {"hidden_size": 40, "proj_size": 7, "dtype": "float16"},
    "grid lstm, bfloat16": {
        "cell": "lstm",
        "hidden_size": 1024,
        "isa": "sm_90",
        "dtype": "bfloat16",
    },
    "grid gru, float16, weights in shared memory": {
        "cell": "gru",
        "hidden_size": 1536,
        "isa": "sm_90",
        "dtype": "float16",
    },
    "grid gru, float16, no whole eights": {
        "cell": "gru",
        "hidden_size": 801,
        "isa": "sm_80",
        "dtype": "float16",
        "bidirectional": True,
    },
    "step gru, bfloat16": {"cell": "gru", "hidden_size": 2300, "dtype": "bfloat16"},
}
ROOT = Path(__file__).parents[1]
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
GATES = ("-Xptxas", "-v,-warn-spills,-warn-lmem-usage,-Werror", "-Werror", "all-warnings")


def cubin(p: CudaPlan, nvcc: tuple[str, ...], architecture: str) -> tuple[str, Path]:
    """Compile for one architecture, spills and warnings being errors: what ptxas says, and code.

    Tests share it.
    """
    files = render.files(p)
    flags = ["-std=c++17", "-O3", f"-arch={architecture}", *GATES, "-cubin", *p.sources]

    def make(folder: Path) -> int:
        for name, text in files.items():
            (folder / name).write_text(text)
        command = [*nvcc, *flags, "-o", "net.cubin"]
        out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert out.returncode == 0, out.stdout + out.stderr
        (folder / "said").write_text(out.stderr + out.stdout)
        return 0

    parts = [compiler.find(TARGETS["cuda"]).identity, *flags, *files.values()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    code = cache.entry(digest, "net.cubin", make).path
    return code.with_name("said").read_text(), code


def taken(report: str, kernel: str) -> Iterator[tuple[int, int]]:
    """Of kernels of that name, for so many sequences: registers of a thread, by ptxas."""
    used = re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", report, re.DOTALL)
    for name, count in used:
        if found := re.match(rf"_Z\d+{kernel}(?:ILi(\d+)E|[v\d])", name):
            yield int(found[1] or 1), int(count)


def everywhere():
    """Each network on sm_90, whose code is read below, and one other in turn; full: the rest. Of
    wavefronts, which are written as their layers are, one of each kind on others, in full.
    """
    others = [name for name in ARCHITECTURES if name != "sm_90"]
    for n, name in enumerate(NETS):
        for architecture in ARCHITECTURES:
            quick = architecture == "sm_90"
            if name.startswith("wavefront") and not quick and "lstm" not in name:
                continue
            quick |= architecture == others[n % len(others)] and not name.startswith("wavefront")
            marks = () if quick else pytest.mark.full
            yield pytest.param(name, architecture, marks=marks, id=f"{name}-{architecture}")


@pytest.mark.parametrize(("name", "architecture"), list(everywhere()))
def test_no_spill_and_no_warning(name, architecture, nvcc):
    """And as many registers as the plan predicts, within its slack; no shared memory but what is
    asked for when a kernel is launched.
    """
    p = plan(**NETS[name])
    assert p.strategy == name.split()[0]
    report, _ = cubin(p, nvcc, architecture)
    as_predicted(p, report, architecture)


def as_predicted(p: CudaPlan, report: str, architecture: str) -> None:
    """Registers and shared memory that ptxas reports are what the plan says."""
    assert "bytes smem" not in report
    for fit in p.residences:
        if fit.cluster and architecture == "sm_80":
            continue  # empty there
        found = list(taken(report, f"{p.name}_{fit.name}"))
        assert len(found) == 1 + fit.shares
        for sequences, count in found:
            assert abs(count - fit.predicted(1 if p.half else sequences)) <= residence.SLACK
        if isinstance(fit, Grid):
            ((_, count),) = taken(report, f"{p.name}_{fit.name}_interleaved")
            assert abs(count - fit.predicted_by_turns) <= residence.SLACK


@pytest.mark.parametrize("name", NETS)
def test_launches_ask_for_what_the_plan_has(name):
    """Threads and bytes of shared memory for the most sequences that there are, as comments say."""
    p = plan(**NETS[name])
    text = render.files(p)[f"{p.name}.cu"]
    for fit in p.residences:
        kernel = f"{p.name}_{fit.name}"
        sizes = dict(re.findall(rf"constexpr int ({kernel}_\w+) = (.*);", text))
        launch = rf"call\.stream, {kernel}(?:<\w+>)?, grid, {kernel}_threads,\s+{kernel}_bytes\b"
        assert len(re.findall(launch, text)) == 1
        size = sizes[f"{kernel}_bytes"].replace("SEQUENCES", str(fit.many if fit.shares else 8))
        terms = [prod(map(int, term.split("*"))) for term in size.split("+")]
        assert (int(sizes[f"{kernel}_threads"]), sum(terms)) == (fit.threads, fit.shared)
        assert f" * {fit.room};\n * {fit.budget}.\n" in text
        assert text.count(f"__launch_bounds__({kernel}_threads, 1) {kernel}(") == 1
        if isinstance(fit, Grid):
            assert f" * {fit.interleaved}.\n */\nstatic __global__" in text
            assert sizes[f"{kernel}_interleaved_bytes"] == str(fit.most_shared)
            assert text.count(f"{kernel}_threads, {kernel}_interleaved_bytes") == 2
            assert fit.counters * fit.sets * 4 <= fit.packets * 8


@pytest.mark.full
@pytest.mark.parametrize(
    ("cell", "isa", "dtype"),  # any two meet
    [
        (cell, isa, ("float16", "float32")[(n + (isa == "sm_90")) % 2])
        for n, cell in enumerate(("lstm", "gru", "rnn"))
        for isa in ARCHITECTURES
    ],
)
def test_no_size_spills(cell, isa, dtype, nvcc):
    """And all are as predicted, over all kinds of layout whose weights fill half of the registers,
    or nearest to that.

    Of sm_100, whose kinds are those of sm_90 but for two, the fuller ones.
    """
    enough = 0.6 if isa == "sm_100" else 0.5
    kinds = {}
    for hidden, layers in product(range(1, 1400), (1, 2)):
        p = plan(cell=cell, hidden_size=hidden, isa=isa, dtype=dtype, num_layers=layers)
        for fit in p.residences:
            blocks = 1 if isinstance(fit, Grid) else fit.blocks
            kind = replace(fit, hidden=1, blocks=blocks), fit.threads, fit.words, bool(fit.rest)
            kinds.setdefault(kind, (fit.words / fit.registers, p))
    fullest = max(full for full, _ in kinds.values())
    for full, p in kinds.values():
        if full >= min(fullest, enough):
            report, _ = cubin(p, nvcc, isa)
            as_predicted(p, report, isa)


READ_TWICE = (  # of each strategy one in 32 bits and one in 16, also for sm_100
    *("sm lstm", "cluster gru, weights in shared memory", "grid gru, weights in shared memory"),
    *("sm lstm, float16", "cluster gru, float16", "grid gru, float16, weights in shared memory"),
    *("wavefront lstm", "wavefront gru, clusters", "wavefront lstm, float16"),
)


def read(*strategies: str) -> pytest.MarkDecorator:
    """Networks whose machine code is read, and for which architecture."""
    names = [name for name in NETS if name.split()[0] in strategies]
    places = [(name, "sm_90") for name in names]
    places += [(name, "sm_100") for name in names if name in READ_TWICE]
    return pytest.mark.parametrize(("name", "architecture"), places)


@read("sm", "cluster", "grid")
def test_time_loop(name, architecture, nvcc):
    """Its machine code reads no weight from memory, and nothing from local memory.

    There is one barrier in strategies sm and grid, which polls packets as well; none in a cluster,
    which sends messages instead; and one more before warps add up what they made of the columns
    that they share, wherever they do.
    """
    p = plan(**NETS[name])
    fit = p.residences[0]
    bodies = machine_code(p, f"{p.name}_{fit.name}", nvcc, architecture)
    bodies = {name: body for name, body in bodies.items() if "interleaved" not in name}
    assert len(bodies) == 1 + fit.shares
    for kernel, body in bodies.items():
        grid = isinstance(fit, Grid)
        loop = longest_loop(body)
        assert len(re.findall(r"\bBAR\.", loop)) == (not fit.cluster) + fit.split
        assert bool(re.search(r"\bSTAS\b", loop)) == fit.cluster
        assert not re.search(r"\b(LDL|STL|MEMBAR|UCGABAR_\w+)\b", loop)
        cells = fit.cells if p.half and not grid else 1  # of a thread
        loads = cells * (p.gates + 2)  # sums of x; starts, lengths
        assert len(re.findall(r"\bLDG\S*(?<!STRONG\.GPU) ", loop)) <= loads
        assert bool(re.search(r"\bLDG\.E\.128\.STRONG\.GPU\b", loop)) == grid
        assert not (grid and re.search(r"\bCCTL\b", loop))
        several = re.search(r"ILi(\d)E", kernel)
        words = fit.words * int(several[1] if several and not p.half else 1)
        kind, count = ("HMMA", words // 4) if p.half else ("FFMA", words)
        assert len(re.findall(rf"\b{kind}\b", loop)) >= count


@read("grid")
def test_loop_of_interleaved_sets(name, architecture, nvcc):
    """That over turns: copies h while it multiplies, reads no weight from memory and nothing from
    local memory. A barrier more is for one set or two; so is the second of what sends and fetches.
    """
    p = plan(**NETS[name])
    fit = p.residences[0]
    (body,) = machine_code(p, "net_grid_interleaved", nvcc, architecture).values()
    loop = longest_loops(body)[2]  # in those over rounds and over steps
    assert len(re.findall(r"\bBAR\.", loop)) == 2 + p.half
    assert len(re.findall(r"\bREDG?\.\S*STRONG\.GPU\b", loop)) == 2
    assert len(re.findall(r"\bMEMBAR\b", loop)) == 2  # before these
    assert len(re.findall(r"\bLDG\S*STRONG\.GPU\b", loop)) == 2
    assert re.search(r"\bLDGSTS\.E\.BYPASS\S*\.128\b", loop)
    assert not re.search(r"\b(LDL|STL|UCGABAR_\w+)\b", loop)
    loads = re.findall(r"\bLDG\b\S*(?<!STRONG\.GPU) ", loop)
    assert len(loads) <= p.gates + 2  # sums of x, the cell's own state, starts
    kind, count = ("HMMA", fit.words // 32) if p.half else ("FFMA", fit.words)
    assert len(re.findall(rf"\b{kind}\b", loop)) >= count * fit.turning


@read("wavefront")
def test_time_loops_of_a_wavefront(name, architecture, nvcc):
    """That over steps of a layer has one barrier, or messages instead; that over products, whose
    sums of columns go from thread to thread in float32, two.
    """
    p = plan(**NETS[name])
    fit = p.residences[0]
    (body,) = machine_code(p, "net_wavefront", nvcc, architecture).values()
    found = longest_loops(body)[:2]
    sent = [len(re.findall(r"\bSTG\S*STRONG\.GPU\b", loop)) for loop in found]
    cells = 4 if p.half else 1
    products = cells * p.gates if p.half else fit.input_each  # sums of x that a thread sends
    assert sorted(sent) == sorted([products, cells + 1])  # h, and how far it is
    for loop in found:
        assert not re.search(r"\b(LDL|STL|MEMBAR)\b", loop)
        assert fit.cluster or not re.search(r"\bCCTL\b", loop)
        product = not re.search(r"\bMUFU\b", loop)  # no cell
        messages = fit.cluster and not product
        assert bool(re.search(r"\bSTAS\b", loop)) == messages
        assert len(re.findall(r"\bBAR\.", loop)) == (
            0 if messages else 1 + product - p.half * product
        )
        words = fit.words if p.half or not product else 4 * p.gates * fit.input_held
        kind, count = ("HMMA", words // 4) if p.half else ("FFMA", words)
        assert len(re.findall(rf"\b{kind}\b", loop)) >= count
        loads = 0 if product else cells * (p.gates + 2)  # sums of x; starts, lengths
        assert len(re.findall(r"\bLDG\S*(?<!STRONG\.GPU) ", loop)) <= loads


@pytest.mark.parametrize("kernel", ["net_inputILi8", "net_stepILi8"])
def test_products_read_four_numbers_at_once(kernel, nvcc):
    """Of 16 columns a thread reads 8 rows and 4 gates each, for 32 products."""
    p = plan(cell="lstm", hidden_size=700, isa="sm_90")
    (body,) = machine_code(p, kernel, nvcc, "sm_90").values()
    loop = longest_loop(body)
    assert len(re.findall(r"\bFFMA\b", loop)) == 16 * 32
    assert len(re.findall(r"\bLDS\.128\b", loop)) == 16 * 3
    assert len(re.findall(r"\bLDS", loop)) <= 16 * 3 + 1


def machine_code(
    p: CudaPlan, kernel: str, nvcc: tuple[str, ...], architecture: str
) -> dict[str, str]:
    """Of the kernels of that name."""
    _, code = cubin(p, nvcc, architecture)
    command = [cuobjdump(), "-sass", str(code)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = {part.splitlines()[0]: part for part in text.split("Function : ")[1:]}
    return {name: part for name, part in functions.items() if kernel in name}


def cuobjdump() -> str:
    """NVIDIA's disassembler, from the toolkit or from PyPI's triton."""
    if found := shutil.which("cuobjdump"):
        return found
    spec = find_spec("triton")
    for place in (spec and spec.submodule_search_locations) or ():
        for path in Path(place).rglob("cuobjdump"):
            return str(path)
    pytest.skip("no cuobjdump here")


def longest_loop(sass: str) -> str:
    """From the target of the backward branch that goes back furthest to the branch."""
    return longest_loops(sass)[0]


def longest_loops(sass: str) -> list[str]:
    """All loops, one within another or not. Behind the last exit, and the branch back of a loop
    that is left by it, is only what waits.
    """
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", sass)
    exits = [n for n, (_, text) in enumerate(lines) if text.endswith("EXIT")]
    ends = [n for n, (_, text) in enumerate(lines) if text.startswith(("EXIT", "BRA "))]
    lines = lines[: 1 + min(n for n in ends if n >= exits[-1])]
    spans = [
        (int(at, 16) - int(target[1], 16), int(target[1], 16), int(at, 16))
        for at, text in lines
        if (target := re.search(r"\bBRA\b.*?(?:0x|`\(.*?0x)([0-9a-f]+)", text))
    ]
    loops = {first: (first, last) for size, first, last in sorted(spans) if size > 0}
    return [
        "\n".join(text for at, text in lines if first <= int(at, 16) <= last)
        for first, last in sorted(loops.values(), key=lambda loop: loop[0] - loop[1])
    ]


def test_module_loads_without_a_device(nvcc, own_cache):
    """It opens, and says in one sentence what is lacking."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    p = plan(name="toy", isa="sm_90")
    s = p.model.spec
    net = rnngen.compile(s, weights(s))
    with pytest.raises(DeviceError, match=r"toy: a .*; there is none.*; got CUDA error (35|100)"):
        net.validate()
    with pytest.raises(
        RuntimeError, match="found input tensor at cpu and parameter tensor at cuda"
    ):
        net(torch.zeros(2, 1, 3))
    again = build.shared(p)
    assert again.path == net.library.path
    assert {path.suffix for path in again.path.parent.iterdir()} == {".so", ".json"}


def places(nvcc: tuple[str, ...], file: Path) -> tuple[list[str], list[str]]:
    """Where nvcc has headers and libraries, as options of other compilers; any .cu file will do."""
    out = subprocess.run([*nvcc, "--dryrun", file], capture_output=True, text=True, check=True)
    said = dict(re.findall(r"^#\$ (\w+)=(.*)$", out.stderr, re.MULTILINE))
    headers = shlex.split(said["INCLUDES"].replace("-I", "-isystem") + said["SYSTEM_INCLUDES"])
    return headers, [*nvcc[1:], *shlex.split(said["LIBRARIES"])]


def written(p: CudaPlan, folder: Path) -> None:
    for name, text in render.files(p).items():
        (folder / name).write_text(text)


def test_a_program_of_someone_s_own(nvcc, gxx, tmp_path):
    """It has the network and CUDA in it, starts anywhere, and is told what is lacking."""
    p = plan(isa="sm_90")
    written(p, tmp_path)
    headers, libraries = places(nvcc, tmp_path / "net.cu")
    program = ROOT / "tests" / "cuda" / "embed.cc"
    link = [*libraries, "-lcudart_static", "-lrt", "-lpthread", "-ldl", "-o", "embed"]
    for command in (
        [*nvcc, *p.flags, "-c", "net.cu", "-o", "net.o"],
        [gxx, *STRICT, *headers, "-I.", "-c", program, "-o", "embed.o"],
        [gxx, "embed.o", "net.o", *link],
    ):
        out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (out.returncode, out.stderr) == (0, ""), command
    out = subprocess.run([tmp_path / "embed"], capture_output=True, text=True, check=False)
    if torch.cuda.is_available():
        assert (out.returncode, out.stdout) == (0, "net: 80 bytes for a step\n")
    else:
        assert re.fullmatch(r"net: CUDA error (35|100), [\w ]+\n", out.stdout), out
    assert out.stderr == ""


@pytest.mark.parametrize("standard", ["c99", "c++11"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_header_is_c_and_cpp(dtype, standard, nvcc, cc, gxx, tmp_path):
    """Without warnings; in C++ beside CUDA's own 16-bit numbers, before or behind."""
    written(plan(dtype=dtype, num_layers=2), tmp_path)
    headers, _ = places(nvcc, tmp_path / "net.cu")
    half, ours = "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n", '#include "net.h"\n'
    start = [cc, "-x", "c"] if standard == "c99" else [gxx, "-x", "c++"]
    command = [*start, f"-std={standard}", *STRICT, *headers, "-I.", "-fsyntax-only", "-"]
    for text in (ours,) if standard == "c99" else (half + ours, ours + half):
        subprocess.run(command, cwd=tmp_path, input=text, text=True, check=True)


@pytest.mark.parametrize("name", ["wavefront gru, clusters", "grid lstm, bfloat16"])
def test_a_library_has_three_names_and_cuda_in_it(name, nvcc, tool):
    """Whoever loads it gets no other names, and needs no library of CUDA to do so."""
    p = plan(**{**NETS[name], "isa": "sm_90"})
    library = build.shared(p).path

    def ask(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    nm = tool("nm")
    exported = ask(nm, "-D", "--defined-only", str(library)).split()[2::3]
    assert exported == ["net_forward", "net_init", "net_workspace"]
    lacking = ask(nm, "-D", "--undefined-only", str(library))
    assert not re.search(r" _*cu", lacking)
    needed = re.findall(r"NEEDED.*\[(\w+)", ask(tool("readelf"), "-d", str(library)))
    assert "libc" in needed
    assert not [library for library in needed if library.startswith("libcu")]


LISTED = {  # architectures: up to which hidden size an LSTM has which ways, the best first
    ("sm_80", "sm_90"): {
        96: ("sm",),
        128: ("cluster4", "sm"),
        256: ("cluster8", "grid", "step"),
        432: ("cluster16", "cluster8", "grid", "step"),
        576: ("cluster16", "grid", "step"),
        1344: ("grid", "step"),
        1345: ("step",),
    },
    ("sm_90", "sm_120"): {
        128: ("cluster4",),
        256: ("cluster8",),
        272: ("cluster16", "cluster8"),  # with no more shared memory than an RTX 50 has
        432: ("cluster16", "cluster8", "grid", "step"),
        1024: ("grid", "step"),
        1025: ("step",),
    },
    ("sm_90", "sm_100"): {432: ("cluster16", "cluster8"), 576: ("cluster16", "step")},
    ("sm_80", "sm_120"): {320: ("cluster8", "grid", "step"), 321: ("grid", "step")},
}


@pytest.mark.parametrize("listed", LISTED, ids="-".join)
def test_a_list_holds_what_each_architecture_needs(listed):
    """Clusters for those that have them, something else for those that lack them, or the room."""
    for hidden, ways in LISTED[listed].items():
        assert plan(hidden_size=hidden, isa=list(listed)).ways == ways


def test_flags_of_a_list():
    """Machine code of each, and PTX of sm_90 and of the last for devices behind them."""
    code = "-gencode=arch=compute_{0},code=sm_{0}".format
    ptx = "-gencode=arch=compute_{0},code=compute_{0}".format
    common = TARGETS["cuda"].flags
    assert plan(isa=["sm_120", "sm_80"]).flags == (*common, code(80), code(120), ptx(120))
    flags = (*common, code(80), code(90), code(100), ptx(90), ptx(100))
    assert plan(isa=["sm_90", "sm_80", "sm_100"]).flags == flags
    assert plan(isa=list(ARCHITECTURES)).flags == plan().flags


def test_a_list_is_compiled(nvcc, own_cache):
    """For both, and nothing else; the order makes no difference."""
    orders = ["sm_90", "sm_80"], ["sm_80", "sm_90"]
    p, twin = (plan(hidden_size=120, cell="rnn", isa=isa) for isa in orders)
    files = render.files(p)
    assert files == render.files(twin)
    assert " *     isa: [sm_80, sm_90]\n" in files["net.cu"]
    fields = json.loads(render.manifest(p)["manifest.json"])["spec"]
    assert rnngen.load_spec(fields) == p.model.spec
    path = build.shared(p).path
    assert build.shared(twin).path == path
    command = [cuobjdump(), "-lelf", "-lptx", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    own = re.findall(r"(?:ELF|PTX) file +\d+: \S*?(sm_\d+)\.(cubin|ptx)", text)
    assert set(own) == {("sm_80", "cubin"), ("sm_90", "cubin"), ("sm_90", "ptx")}


def test_package(nvcc, own_cache, tmp_path):
    p = plan(name="toy", isa="sm_90")
    net = rnngen.compile(p.model.spec, weights(p.model.spec))
    files = package.write(tmp_path / "toy", package.texts(net), net)
    module = f"{render.module_name([p])}.so"
    assert {path.name for path in files} == {
        *("__init__.py", "manifest.json", "toy.cu", "toy.h", "toy.safetensors", module),
    }
    code = "import toy; net = toy.load(); print(net, len(net.arrays()))"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out == "<rnngen toy: LSTM 3 -> 5, float32> 4\n"


def test_threads_are_for_processors(nvcc, own_cache):
    with pytest.raises(ValueError, match="threads: 1 for target cuda; got 2"):
        run.network(plan(isa="sm_90").model.spec, threads=2)


def test_weights_are_not_source():
    with pytest.raises(WeightsError, match="for target c; got target cuda"):
        rnngen.generate({**plan().model.spec.public()}, weights={})


def test_missing_compiler(monkeypatch, own_cache):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiler, "_wheels", lambda target: [])
    with pytest.raises(BuildError) as caught:
        rnngen.compile(plan().model.spec)
    assert str(caught.value) == (
        "compiler: NVIDIA's compiler on PATH; found none (nvcc). Install the CUDA toolkit or `pip "
        "install 'rnngen[cuda]'`, or name one in NVCC. `rnngen generate` needs none."
    )


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_compiler_of_the_wheel(monkeypatch, tmp_path, order):
    """Where PATH has none, PyPI's, which has to be told where its libraries are; the one that
    Python would import, if there are several.
    """
    for place in reversed(order):
        path = tmp_path / place / "nvidia" / "cu13" / "bin" / "nvcc"
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        monkeypatch.syspath_prepend(tmp_path / place)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("NVCC", raising=False)
    found = compiler.find(TARGETS["cuda"])
    assert found.command == (str(path), f"-L{path.parents[1] / 'lib'}")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_nvcc_of_the_wheel_compiles(dtype, monkeypatch, own_cache):
    """PyPI's own, where it is installed beside us; numbers of 16 bits need one wheel more."""
    found = compiler._wheels(TARGETS["cuda"])
    if not found:
        pytest.skip("no nvidia-cuda-nvcc here")
    if dtype != "float32" and not (Path(found[0][0]).parents[1] / "include" / "nv").exists():
        pytest.skip("no nvidia-cuda-cccl here")
    monkeypatch.setenv("NVCC", " ".join(found[0]))
    assert build.shared(plan(isa="sm_90", dtype=dtype)).path.exists()


def test_cards(monkeypatch, tmp_path):
    """Code for `native` depends on them."""
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    monkeypatch.setattr(processor, "_CARDS", tmp_path)
    assert processor.cards() == ("NVIDIA H200",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_native_needs_a_card(nvcc, own_cache):
    """nvcc would make code for its oldest architecture and say so in passing; nothing is kept."""
    for _ in range(2):
        with pytest.raises(BuildError) as caught:
            build.shared(plan(isa="native"))
        assert str(caught.value) == (
            "isa: native needs an NVIDIA card in this machine; nvcc found none. Name an "
            "architecture, such as sm_90, or use auto."
        )


LARGEST = {  # of RNN, GRU and LSTM that stay on the chip: in a cluster or less, in a grid
    "float32": {
        "sm_80": ((256, 152, 128), (2592, 1664, 1344)),
        "sm_90": ((1136, 672, 576), (3168, 1984, 1600)),
        "sm_120": ((640, 400, 320), (2016, 1344, 1024)),
        "auto": ((1136, 672, 576), (2144, 1408, 1088)),
    },
    "float16": {
        "sm_80": ((256, 192, 160), (1728, 1728, 1536)),
        "sm_90": ((1312, 672, 544), (2112, 2112, 2048)),
        "sm_120": ((864, 384, 288), (1344, 1344, 1280)),
        "auto": ((1312, 672, 544), (1728, 1728, 1280)),
    },
}


@pytest.mark.parametrize("isa", ["auto", "sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("gates", [1, 3, 4])
@pytest.mark.parametrize("dtype", LARGEST)
def test_what_a_chip_holds(gates, isa, dtype):
    """All weights have a place, with no gap up to the largest size."""
    column = {1: 0, 3: 1, 4: 2}[gates]
    largest = [sizes[column] for sizes in LARGEST[dtype][isa]]
    sample = {*range(1, 1400, 5), *range(1400, 3400, 50), *largest, *(n + 1 for n in largest)}
    held: dict[bool, set[int]] = {False: set(), True: {0}}
    for hidden in sample - {0}:
        for fit in strategy.choose(gates, hidden, architectures(isa), half=dtype == "float16"):
            grid = isinstance(fit, Grid)
            held[grid].add(hidden)
            assert fit.threads % 128 == 0
            assert fit.threads >= fit.lanes
            tiles = isinstance(fit, Tiles)
            all_of_them = fit.own_spans if tiles else fit.quads
            assert fit.held + fit.rest == all_of_them
            assert (8 * fit.line if tiles else 4 * fit.width) >= hidden
            assert fit.units * fit.active >= hidden > fit.units * (fit.active - 1)
            assert fit.shared <= strategy.SHARED["sm_90"]
            most = strategy.PROCESSORS.get(isa, 108) if grid else strategy.BLOCKS.get(isa, 16)
            assert fit.active <= fit.blocks <= most
            assert not fit.cluster or isa != "sm_80"
    assert [max(held[False]), max(held[True])] == largest
    assert held[False] | held[True] >= {n for n in sample if n <= max(largest)}


WIDEST = {"float32": {"lstm": 512, "gru": 528, "rnn": 1024}}
WIDEST["float16"] = {"lstm": 128, "gru": 128, "rnn": 192}


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", WIDEST)
def test_layers_at_once(cell, dtype):
    """Up to this size, in one direction, and not more of them than there are multiprocessors."""
    widest = WIDEST[dtype][cell]
    fields = {"cell": cell, "num_layers": 2, "dtype": dtype}
    sizes = range(widest - 50, widest + 100)
    wide = [n for n in sizes if plan(**fields, hidden_size=n).wavefront]
    assert wide == list(range(sizes[0], widest + 1))
    for other in ({"bidirectional": True}, {"num_layers": 1}, {"num_layers": 75}):
        assert not plan(**{**fields, "hidden_size": 20, **other}).wavefront
    assert plan(**{**fields, "hidden_size": 20, "num_layers": 74}).wavefront
    lacking = [n for n in range(1, 128) if not plan(**fields, hidden_size=n).wavefront]
    assert lacking == [*range(65, 77)] * (cell == "gru" and dtype == "float32")


def test_layers_at_once_where_that_is_faster():
    """In 16 bits, each in one multiprocessor; two go one after the other in clusters. Not where
    weights would be in shared memory.
    """
    two, three = (plan(cell="rnn", hidden_size=256, dtype="float16", num_layers=n) for n in (2, 3))
    assert (two.strategy, three.ways) == ("cluster", ("wavefront", "sm"))
    assert not three.residences[1].split  # the order in which x is multiplied
    each = two.residences[0].cycles
    assert 2 * each <= three.residences[0].cycles < 3 * each
    assert not plan(hidden_size=160, dtype="float16", num_layers=8, isa="sm_90").wavefront


@pytest.mark.parametrize("isa", ["auto", "sm_80", "sm_90", "sm_120"])
def test_sharing_columns_makes_nothing_slower(isa, monkeypatch):
    """No size on any device with up to 128 sequences, as predicted; some take half of the time."""
    wanted, faster = architectures(isa), set()
    for gates, hidden in product((1, 3, 4), range(16, 1100, 16)):
        ways = {}
        for splits in ((1,), (1, 2, 4)):
            monkeypatch.setattr(strategy, "SPLITS", splits)
            ways[splits] = strategy.choose(gates, hidden, wanted, half=True)
        for name, sequences in product(wanted, (1, 8, 32, 128)):
            count = strategy.PROCESSORS[name]
            usual, shared = (
                next((way for way in fits if strategy._has(name, way)), None)
                for fits in ways.values()
            )
            assert (usual is None) == (shared is None)
            if usual and shared:
                gain = usual.cycles_at(sequences, count) / shared.cycles_at(sequences, count)
                assert gain >= 1
                faster |= {(gates, hidden)} if gain > 2 and sequences == 1 else set()
    assert ((4, 512) in faster) == (isa in ("auto", "sm_90"))


def test_many_sequences_take_turns():
    """On 132 multiprocessors there is room for 16 clusters of 8."""
    (fit,) = strategy.choose(4, 256, ("sm_90",))
    assert (fit.blocks, fit.many) == (8, 4)
    assert fit.cycles_at(16, 132) == fit.cycles
    assert fit.cycles_at(17, 132) == fit.cycles_at(64, 132) == fit.cycles_of_many < 2 * fit.cycles
    assert fit.cycles_at(65, 132) == 2 * fit.cycles_of_many


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("gates", "hidden"), [(4, 768), (4, 1024), (3, 1024), (1, 2048)])
def test_sets_hide_each_other_s_waiting(gates, hidden, dtype):
    """A grid's sets that take turns in each step: predicted, they take less time than one after the
    other, the less for each the more there are, down to their work alone.
    """
    (fit,) = strategy.choose(gates, hidden, ("sm_90",), half=dtype == "float16")
    room = 132 // fit.blocks
    _, alone = fit.loads[-1]
    turns = [fit.cycles_at(n * room * fit.turning, 132) for n in (2, 3, 4, 8, 16, 32)]
    assert fit.cycles_at(room * fit.together, 132) == alone
    assert fit.cycles_at(room * fit.turning + 1, 132) == turns[0]
    assert turns[0] < 2 * alone * fit.turning // fit.together
    each = [cycles / n for cycles, n in zip(turns, (2, 3, 4, 8, 16, 32), strict=True)]
    assert each == sorted(each, reverse=True)
    assert each[-1] == fit.turn
