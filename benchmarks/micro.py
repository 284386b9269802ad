"""Times what the cost model's constants stand for, on the current CUDA device; writes micro.json.

python benchmarks/micro.py [DIR]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import gpu_systems
import host
from cpu import digits, text
from gpu import RESULTS, stop
from rnngen import compiler, grid, interleaved, residence, tensors, wavefront
from rnngen.errors import BuildError
from rnngen.targets import TARGETS

NODES = 500  # of a CUDA graph
LIMIT = 60  # seconds
TRIP, WAIT, RATE = "cycles there and back", "cycles", "multiply-adds a cycle"
# What a name before its size is: unit, the constant that it replaces, and what that is now.
MEANINGS: dict[str, tuple[str, str | None, float | str | None]] = {
    "packet_trip": (TRIP, "2 * grid.TALKING", 2 * grid.TALKING),
    "exchange": (WAIT, "grid.TALKING", grid.TALKING),
    "told": (WAIT, "interleaved.TELLING + SEEING", interleaved.TELLING + interleaved.SEEING),
    "telling": (WAIT, "interleaved.TELLING", interleaved.TELLING),
    "fetching": (WAIT, "interleaved.FETCHING", interleaved.FETCHING),
    "fed": ("bytes a cycle", "interleaved.FED", interleaved.FED),
    "look": (WAIT, "grid.ASKING", grid.ASKING),
    "async_trip": (TRIP, "2 * residence.SENDING", 2 * residence.SENDING),
    "cluster_barrier": (WAIT, None, None),  # there is none between steps
    "clusters": ("at once", "residence.Residence.cycles_at", "processors // blocks"),
    "barrier": (WAIT, "residence.MEETING", residence.MEETING),
    "following": (WAIT, "wavefront.FOLLOWING", wavefront.FOLLOWING),
    "multiply_add": (RATE, "quads.Quads: products", residence.SCHEDULERS * residence.WARP),
    "shared_same": ("loads of a warp a cycle", None, None),  # h, taken to cost nothing
    "shared_own": ("bytes a cycle", "quads.Quads, tiles.Tiles: shared", 128),
    "tensor": (WAIT, None, None),  # other gates are taken to hide it
    "tensor_rate": (RATE, "tiles.Tiles: products", 1024),
    "launch_in_graph": ("us", None, None),  # of strategy step, which is not predicted
}


def main(folder: Path = RESULTS) -> None:
    """Measure, print, write."""
    cuda = tensors.torch("benchmarking").cuda
    if not cuda.is_available() or cuda.get_device_capability() < (9, 0):
        stop("a CUDA device of compute capability 9.0 or later; there is none", "micro")
    device = gpu_systems.device()
    try:
        versions, found = gpu_systems.versions(), cycles(device["architecture"])
    except BuildError as error:
        stop(str(error), "micro")
    parts = []
    for name, value in (found | {"launch_in_graph": launch()}).items():
        unit, constant, now = MEANINGS[name.rstrip("0123456789").rstrip("_")]
        parts.append({"name": name, "value": value, "unit": unit, "constant": constant, "now": now})
        print(f"{name}: {value} {unit}" + (f"; {constant} is {now}" if constant else ""))
    folder.mkdir(parents=True, exist_ok=True)
    document = {"date": host.today(), "device": device, "versions": versions, "parts": parts}
    (folder / "micro.json").write_text(text(document))


def cycles(architecture: str) -> dict[str, float]:
    """What micro.cu prints. Raises BuildError for what nvcc or the device says."""
    target, source = TARGETS["cuda"], Path(__file__).with_suffix(".cu")
    with tempfile.TemporaryDirectory() as folder:
        nvcc = compiler.find(target)
        flags = (*target.flags, *nvcc.flags, f"-arch={architecture}", "-o", "micro")
        nvcc.run(*flags, str(source), folder=Path(folder))
        out = printed(Path(folder) / "micro")
    return {name: float(value) for name, value in map(str.split, out.splitlines())}


def printed(program: Path) -> str:
    """What it prints, be it less than all: a packet may never come. Raises BuildError if none."""
    try:
        out = subprocess.run([program], capture_output=True, text=True, timeout=LIMIT, check=False)
        lines, said = out.stdout, out.stderr
    except subprocess.TimeoutExpired as late:
        lines, said = (late.stdout or b"").decode(), f"no more within {LIMIT} s"
    if not lines:
        raise BuildError(said.strip())
    if said:
        print(f"benchmarks/micro.py: {said.strip()}", file=sys.stderr)
    return lines


def launch() -> float:
    """Microseconds of a CUDA graph to a kernel that does next to nothing."""
    torch = tensors.torch("benchmarking")
    one, graph = torch.zeros(1, device=gpu_systems.DEVICE), torch.cuda.CUDAGraph()
    one.add_(1)
    with torch.cuda.graph(graph):
        for _ in range(NODES):
            one.add_(1)
    graph.replay()
    return digits(gpu_systems.clock(graph.replay, 20) / NODES * 1e6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
