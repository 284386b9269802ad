"""What runs on the device: every system's network of a case, its call, time, kernels and errors.

torch is imported when it is needed and not before, so that help comes at once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import ceil
from typing import Any

import numpy as np

import flash
import host
import results
import rnngen
from cases import Case
from rnngen import doctor, tensors, validate
from rnngen.errors import BuildError

DEVICE = "cuda"  # the current one
SHOWN = 8  # kernels of a call, those that take longest
COMPILING = 6  # seconds that nvcc takes for a network and one architecture, about
# What is timed beside single layers of one direction over whole sequences.
KINDS: dict[str, dict[str, Any]] = {
    "4 layers": {"num_layers": 4},
    "both directions": {"bidirectional": True},
    "packed sequences": {"form": "packed"},
}


@dataclass(frozen=True)
class System:
    """What is timed."""

    name: str
    dtype: str = "float32"
    tf32: bool = False  # whether it may round what it multiplies to 10 bits


TRUTH = System("truth", "float64")
OWN, EXACT, ROUNDED = System(results.OWN), System("torch"), System("torch-tf32", tf32=True)
HALVES = ("float16", "bfloat16")
OWN_HALVES = tuple(System(f"{OWN.name}-{dtype}", dtype) for dtype in HALVES)
FLASH = (
    System(f"{flash.NAME}-tf32", tf32=True),
    *(System(f"{flash.NAME}-{d}", d) for d in HALVES),
)
SYSTEMS = (OWN, EXACT, ROUNDED, *OWN_HALVES, *(System(f"torch-{d}", d) for d in HALVES), *FLASH)
OURS = {system.dtype: system for system in (OWN, *OWN_HALVES)}


class Bound:
    """A system on one case: its call, with arguments that are on the device.

    `run` is one call, which the device may not have finished yet; rnngen's is bound, if it can be.
    Raises UnsupportedError for what a system does not have.
    """

    def __init__(self, system: System, case: Case) -> None:
        self.tf32 = system.tf32
        net = networks(shape(case))[system.name]
        x, hx = (moved(value, system.dtype) for value in arguments(case))
        self.call: Any = None
        if system in FLASH:
            self.call = flash.Call(net, x, hx)
        elif system in OURS.values() and case.form == "full":
            self.call = net.bind(x, hx)
        self.run: Callable[[], Any] = self.call.run if self.call else partial(net, x, hx)

    def answer(self) -> list[Any]:
        """Output and states, complete."""
        torch = self.prepared()
        answer = self.run()
        output, states = self.call.answer() if self.call else answer
        torch.cuda.synchronize()
        return [getattr(output, "data", output), *(states if type(states) is tuple else [states])]

    def sample(self, warm: int, count: int) -> float:
        """Seconds a run over `count` runs, after `warm`."""
        self.prepared()
        for _ in range(warm):
            self.run()
        return clock(self.run, count)

    def prepared(self) -> Any:
        """torch, its libraries allowed what this system may."""
        torch = tensors.torch("benchmarking")
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.tf32
        return torch


def here() -> tuple[System, ...]:
    """Those whose packages are installed."""
    return tuple(s for s in SYSTEMS if s not in FLASH or flash.installed())


def shape(case: Case) -> Case:
    """What the networks of a case depend on: all but the call."""
    return replace(case, batch=1, steps=1, form="full")


@lru_cache(maxsize=1)
def networks(case: Case) -> dict[str, Any]:
    """Every system's network, with the same weights; of flashrnn's it is torch's."""
    torch = tensors.torch("benchmarking")
    params = {name: torch.from_numpy(array) for name, array in case.weights().items()}
    own: dict[str, Any] = {}
    for dtype, system in OURS.items():
        given = {name: value.to(getattr(torch, dtype)) for name, value in params.items()}
        own[system.name] = rnngen.compile(fields(case, dtype), weights=given)
    with torch.inference_mode(False):
        dtypes, spec = {system.dtype for system in (TRUTH, *SYSTEMS)}, own[OWN.name].spec
        nets = {d: validate.reference(spec, params, d).to(DEVICE) for d in dtypes}
    return {s.name: nets[s.dtype] for s in (TRUTH, *SYSTEMS)} | own


def fields(case: Case, dtype: str) -> dict[str, Any]:
    """The spec of a case's network, planned as for any device and compiled for this one only."""
    return case.fields | {"target": "cuda", "dtype": dtype, "isa": "native"}


@lru_cache(maxsize=1)
def arguments(case: Case) -> tuple[Any, Any]:
    """x [T, B, I], packed where sequences have lengths of their own, and hx, in float32."""
    torch = tensors.torch("benchmarking")
    dice = torch.Generator(DEVICE).manual_seed(2)
    shapes = [(case.steps, case.batch, case.hidden_size)]
    shapes += [(len(case.suffixes), *shapes[0][1:])] * (2 if case.cell == "lstm" else 1)
    x, *states = (torch.randn(*shape, generator=dice, device=DEVICE) for shape in shapes)
    hx = tuple(state / 2 for state in states)
    if case.form == "packed":
        pack, lengths = torch.nn.utils.rnn.pack_padded_sequence, torch.from_numpy(case.lengths)
        x = pack(x, lengths, enforce_sorted=False)
    return x, hx if len(hx) == 2 else hx[0]


def moved(value: Any, dtype: str) -> Any:
    """A tensor, packed sequence or pair of tensors in another dtype."""
    to = getattr(tensors.torch("benchmarking"), dtype)
    return tuple(v.to(to) for v in value) if type(value) is tuple else value.to(to)


def build(cases: Iterable[Case]) -> None:
    """Compile every network, a process for each core; calls then find them in the cache."""
    specs = [fields(case, dtype) for case in dict.fromkeys(map(shape, cases)) for dtype in OURS]
    cores = len(os.sched_getaffinity(0))
    seconds = ceil(len(specs) / cores) * COMPILING
    print(f"compiling {len(specs)} networks on {cores} cores, about {seconds} s", flush=True)
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(rnngen.compile, specs))


def clock(run: Callable[[], Any], count: int) -> float:
    """Seconds a run, by the device's clock."""
    torch = tensors.torch("benchmarking")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count / 1e3


def kernels(bench: Bound) -> dict[str, int]:
    """What a call ran on the device, and how often: those that took longest first."""
    torch = bench.prepared()
    profiler = torch.profiler
    bench.run()
    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as seen:
        bench.run()
        torch.cuda.synchronize()
    device = torch.autograd.DeviceType.CUDA
    ran = [event for event in seen.key_averages() if event.device_type == device]
    ran.sort(key=lambda event: -event.self_device_time_total)
    return {e.key.removeprefix("void ")[:100]: e.count for e in ran[:SHOWN]}


def way(kernels: Iterable[str]) -> str | None:
    """Which of its ways a network of ours went, by the names of its kernels; None if none is."""
    names = r"\bnet_(sm|cluster\d+|grid|wavefront|step)(?:_interleaved)?\b"
    found = (re.search(names, name) for name in kernels)
    return next((match[1] for match in found if match), None)


def distance(got: list[Any], right: list[Any]) -> float:
    """Largest difference, relative to the largest right number where that is above 1."""
    scale = max(1.0, *(float(r.abs().max()) for r in right))
    worst = [float((g.double() - r).abs().max()) for g, r in zip(got, right, strict=True)]
    return float(np.max(worst)) / scale  # NaN if there is one


def device() -> dict[str, Any]:
    """The current device."""
    found = tensors.torch("benchmarking").cuda.get_device_properties(DEVICE)
    return {
        "name": found.name,
        "architecture": f"sm_{found.major}{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_bytes": found.total_memory,
        "driver": asked("driver_version"),
        "clock_mhz": asked("clocks.max.sm"),  # at most
    }


def asked(what: str) -> str | None:
    """What nvidia-smi says of a device; None where it is not there, or does not know."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    if not shutil.which(command[0]):
        return None
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    words = [] if out.returncode else out.stdout.split()
    return words[0] if words and words[0][0].isdigit() else None


def versions() -> dict[str, Any]:
    """Of all that is compared. Raises BuildError without nvcc."""
    torch = tensors.torch("benchmarking")
    (nvcc,) = [found for found in doctor.examine() if found.name == "nvcc"]
    if not nvcc.ok:
        raise BuildError(nvcc.detail)
    found = host.versions()
    names = ("python", "rnngen", "numpy", "torch", flash.NAME)
    known = {name: found[name] for name in names if name in found}
    cudnn = torch.backends.cudnn.version()
    return known | {
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
        "nvcc": nvcc.detail.split(": ", 1)[-1],
    }
