"""CUDA networks that run without a device: their .cu files as they are, compiled by g++.

cuda/include/cuda_runtime_api.h takes the place of CUDA's own header and says how.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from nets import weights

import rnngen
from rnngen import build, render
from rnngen.cuda import CudaPlan, decide
from rnngen.device import DeviceNetwork
from rnngen.model import resolve
from rnngen.spec import Spec

ROOT = Path(__file__).parents[1]
SHIM = ROOT / "tests" / "cuda" / "include"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wno-unknown-pragmas")
LANGUAGE = ("-std=c++17", "-O1")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


class Emulated(DeviceNetwork):
    """A network whose device is the processor; it takes CPU tensors."""

    device = "cpu"

    captured = False  # whether torch's current stream is
    loaded = False  # whether kernels are, by a run: a capture is no time for it

    @contextmanager
    def current(self, device):
        yield 0

    def capturing(self):
        return self.captured

    def function(self, suffix):
        """What is launched on a stream that a graph captures is kept, and does not run."""
        function = super().function(suffix)
        if suffix != "_forward":
            return function
        ffi, name = self.library.ffi, self.spec.name

        def forward(device, weights, batch, *rest):
            if rest[-1] != ffi.cast("cudaStream_t", Side.cuda_stream):
                self.loaded = True
                return function(device, weights, batch, *rest)
            assert self.loaded
            given = {"device": device, "weights": weights, "batch": batch}
            structs = [ffi.new(f"{name}_{kind} *", value[0]) for kind, value in given.items()]
            Graph.captured.launches.append(partial(function, *structs, *rest))
            return 0

        return forward


class Graph:
    """In place of torch.cuda.CUDAGraph: launches with what they were given, by value."""

    captured: Graph | None = None  # that is captured now

    def __init__(self) -> None:
        self.launches: list[partial[int]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        assert [launch() for launch in self.launches] == [0]


class Side:
    """In place of the torch.cuda.Stream that a graph is captured on."""

    cuda_stream = 7

    def __init__(self, device) -> None:
        self.device = device


@contextmanager
def capture(graph: Graph, *, stream: Side, capture_error_mode: str):
    """In place of torch.cuda.graph."""
    assert capture_error_mode == "thread_local"
    Graph.captured = graph
    yield
    Graph.captured = None


def with_graphs(patch: pytest.MonkeyPatch) -> None:
    """torch.cuda has the stand-ins."""
    for name, ours in (("CUDAGraph", Graph), ("Stream", Side), ("graph", capture)):
        patch.setattr(torch.cuda, name, ours)


def spec(**fields) -> Spec:
    """A small LSTM of target cuda unless said otherwise."""
    defaults = {"name": "net", "cell": "lstm", "target": "cuda"}
    return rnngen.load_spec({**defaults, "input_size": 3, "hidden_size": 5, **fields})


def both(kind: dict, **more) -> dict:
    """A kind in both directions, but for what it says itself: a wavefront has but one."""
    return {"bidirectional": True, **more, **kind}


def plan(**fields) -> CudaPlan:
    return decide(resolve(spec(**fields)))


def net(**fields) -> Emulated:
    """An emulated network with torch's weights, scaled so that sums stay around 1."""
    return with_weights(plan(**fields))


def with_weights(p: CudaPlan, change: Callable[[str], str] = str, *flags: str) -> Emulated:
    """The same of a plan; `change` edits the text of the .cu file, `flags` are the compiler's."""
    out = Emulated(p, build.opened(p, compiled(p, change, flags)))
    s = p.model.spec
    out.load_state_dict(weights(s, 0, min(1.0, (s.hidden_size / s.input_size) ** 0.5)))
    return out


def compiled(p: CudaPlan, change: Callable[[str], str] = str, flags: tuple[str, ...] = ()) -> Path:
    """A shared library of the network and the shim; tests of one run share it."""
    files = render.files(p)
    files |= {name: change(text) for name, text in files.items() if name.endswith(".cu")}
    shim = "".join(path.read_text() for path in sorted(SHIM.iterdir()))
    digest = hashlib.sha256("\0".join([*files.values(), *flags, shim]).encode()).hexdigest()[:16]
    folder = ROOT / ".pytest_cache" / "emulated" / digest
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "net.so"
    with FileLock(folder / "lock"):
        if not library.exists():
            for name, text in files.items():
                (folder / name).write_text(text)
            gxx(folder, p, *flags, "-shared", "-fPIC", "-o", "new.so", f"{p.name}.cu")
            (folder / "new.so").rename(library)
    return library


def too_many(text: str) -> str:
    """Of a grid's .cu file: as many sets of sequences at once as there are, room or not.

    That is what MPS or a green context comes to, where a device says that it has more than it has.
    """
    changed, count = re.subn("const int room = .*;", "const int room = 1000;", text)
    assert count
    return changed


@contextmanager
def poisoned():
    """Memory that torch gives without a word of what is in it holds NaN; bytes are 255."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(9).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def standard() -> Path:
    """The headers of C++ that the shim asks for, read by g++ once and for all."""
    found = re.findall(r"#include <(?!cuda)[\w./]+>", "".join(map(Path.read_text, SHIM.iterdir())))
    text = "\n".join(sorted(set(found))) + "\n"
    folder = ROOT / ".pytest_cache" / "emulated" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / "standard.h"
    with FileLock(folder / "lock"):
        if not header.exists():
            (folder / "new.h").write_text(text)
            command = ["g++", "-x", "c++-header", *LANGUAGE, "-fPIC", "new.h", "-o"]
            subprocess.run([*command, "standard.h.gch"], cwd=folder, check=True)
            (folder / "new.h").rename(header)
    return header


def gxx(folder: Path, p: CudaPlan, *args: str) -> None:
    """g++ over .cu files of a plan, warnings being errors."""
    command = ["g++", "-x", "c++", *LANGUAGE, *WARNINGS, "-Werror", f"-I{SHIM}"]
    command += ["-include", str(standard())]
    command += [f"-DSHIM_NUMBER={p.dtype.c}"] * p.half
    command += [f"-DSHIM_NAME={p.name}", *args]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if out.returncode:
        pytest.fail(out.stdout + out.stderr)


def example(p: CudaPlan, folder: Path) -> str:
    """What the call in the header's comment says, compiled and run with parameters of 1 / 4."""
    files = render.files(p)
    (comment,) = re.findall(r"/\* For example.*?\*/", files[f"{p.name}.h"], re.DOTALL)
    code = "".join(line + "\n" for line in re.findall(r"(?m)^ \*(?:     (.*))?$", comment))
    s, number = p.model.spec, p.dtype.c
    sizes = {name: prod(shape) for name, shape in p.model.params.items()}
    sizes |= {"x": 3200 * s.input_size, "y": 3200 * p.output}
    sizes |= {f"{n}_n": 32 * len(p.model.passes) * w for n, w in p.state_sizes.items()}
    arrays = "".join(
        f"    std::vector<{number}> {name}_memory({size}, {number}(0.25f));\n"
        f"    {number} *const {name} = {name}_memory.data();\n"
        for name, size in sizes.items()
    )
    checks = "    return error || !((float)y[0] > 0.1f);\n"
    for name, text in files.items():
        (folder / name).write_text(text)
    head = f'#include "{p.name}.cu"\n#include <cstdio>\n#include <vector>\n'
    body = f"int main()\n{{\n    const cudaStream_t stream = nullptr;\n{arrays}{code}{checks}}}\n"
    (folder / "main.cc").write_text(head + body)
    gxx(folder, p, "main.cc", "-o", "main")
    out = subprocess.run([folder / "main"], capture_output=True, text=True, check=False)
    return out.stderr if out.returncode else ""


def sanitized(p: CudaPlan, folder: Path) -> None:
    """Run cuda/main.cc with the network under sanitizers; fails with what they say."""
    for name, text in render.files(p).items():
        (folder / name).write_text(text)
    main = (ROOT / "tests" / "cuda" / "main.cc").read_text()
    (folder / "main.cc").write_text(f'#include "{p.name}.cu"\n{main}')
    s = p.model.spec
    sizes = {"INPUT_SIZE": s.input_size, "HIDDEN_SIZE": s.hidden_size, "STATE_SIZE": s.state_size}
    sizes |= {"OUTPUT_SIZE": s.output_size, "NUM_LAYERS": s.num_layers}
    words = {"NET": p.name, "NUM_DIRECTIONS": s.num_directions} | sizes
    words["PARAMS"] = ",".join(str(prod(shape)) for shape in p.model.params.values())
    defines = [f"-D{name}={value}" for name, value in words.items()]
    defines += ["-DHAS_C"] if s.cell == "lstm" else []
    gxx(folder, p, *SANITIZERS, *defines, "main.cc", "-o", "main")
    out = subprocess.run([folder / "main"], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
