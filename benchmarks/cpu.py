"""Times rnngen beside other runtimes on one pinned core; writes cpu.json and draws it.

python benchmarks/cpu.py [--quick] [--out DIR] [--peers torch,onnxruntime]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np

import cases
import host
import peers
import results
from cases import Case
from rnngen import model, plan, spec
from rnngen.dtypes import DTYPES
from worker import Loaded, Local, Remote, distance

RESULTS = Path(__file__).parent / "results"
PEER_LIMIT = 1e-4  # largest error of a peer that counts
SLOW = 4.0  # seconds a run: one more is enough


@dataclass(frozen=True)
class Effort:
    """How long an implementation is timed on a case."""

    rounds: int  # repeats, odd: the median is one of them
    sample: float  # seconds that a repeat lasts at least
    budget: float  # seconds in all, after which rounds are fewer, but three


FULL = Effort(25, 0.005, 2.0)
QUICK = Effort(7, 0.002, 0.4)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write after every case, draw at the end."""
    options = parsed(arguments)
    names = ["rnngen", *options.peers]
    here = [name for name in names if peers.installed(name)]
    core = pin()
    machine = host.limits()
    effort = QUICK if options.quick else FULL
    document: dict[str, Any] = {
        "date": host.today(),
        "machine": host.describe(core) | limits(machine),
        "versions": host.versions(),
        "absent": [name for name in names if name not in here],
        "effort": asdict(effort) | {"quick": options.quick},
        "cells": [],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for cell in measured(cases.quick() if options.quick else cases.grid(), here, effort):
        print(line(cell), flush=True)
        document["cells"].append(cell | {"floor_s": floor(machine, cell)})
        document["compile"] = compile_times(document["cells"])
        document["ragged"] = results.ragged(document["cells"])
        (options.out / "cpu.json").write_text(text(document))
    absent, noisy = document["absent"], sum(map(results.noisy, document["cells"]))
    print(f"in {options.out}; without {', '.join(absent) or 'nothing'}; {noisy} cases noisy")
    if find_spec("matplotlib"):
        import plot

        plot.draw(document, options.out)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, peers by name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, shorter repeats")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of cpu.json, pictures")
    parser.add_argument("--peers", help="some only, comma-separated; default: all")
    options = parser.parse_args(arguments)
    others = [name for name in peers.PEERS if name != "rnngen"]
    options.peers = options.peers.split(",") if options.peers else others
    if unknown := set(options.peers) - set(others):
        parser.error(f"--peers: of {', '.join(others)}; got {', '.join(sorted(unknown))}")
    return options


def pin() -> int:
    """This process and its children to one core, the last: interrupts favour the first."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def measured(grid: list[Case], names: list[str], effort: Effort) -> Iterator[dict[str, Any]]:
    """Each case with what every implementation took for it."""
    with tempfile.TemporaryDirectory() as folder:
        cold = {"XDG_CACHE_HOME": folder}  # so that rnngen compiles, and the time is known
        benches = {name: Remote(name, cold) for name in names}
        try:
            for case in grid:
                yield measure(case, benches, effort, Path(folder, "truth.npz"))
        finally:
            for bench in benches.values():
                bench.close()


def measure(
    case: Case, benches: Mapping[str, Local | Remote], effort: Effort, path: Path
) -> dict[str, Any]:
    """Check every implementation, then time those that are right, in turn."""
    torch_error = truth(case, path)
    taken: dict[str, dict[str, Any]] = {}
    plans = {}
    for name, bench in benches.items():
        loaded = bench.load(case, path)
        own = DTYPES["float32"].limit(torch_error)
        taken[name] = verdict(loaded, own if name == "rnngen" else PEER_LIMIT)
        if taken[name]["status"] == "ok":
            plans[name] = Repeats.of(loaded.once, effort)
    for name, samples in interleaved(plans, benches).items():
        if len(samples) < plans[name].rounds:
            taken[name] = {"status": "failed", "why": "died, or took too long, while timed"}
            continue
        times = {"median_s": statistics.median(samples), "min_s": min(samples)}
        taken[name] |= {k: digits(v) for k, v in times.items()} | {"repeats": len(samples)}
    return asdict(case) | {
        "flops": case.flops,
        "torch_error": digits(torch_error),
        "results": taken,
    }


@dataclass(frozen=True)
class Repeats:
    """How one implementation is timed on one case."""

    rounds: int
    warm: int  # runs before the clock starts
    count: int  # runs a repeat

    @classmethod
    def of(cls, once: float, effort: Effort) -> Repeats:
        """For runs of `once` seconds."""
        if once > SLOW:
            return cls(1, 0, 1)
        count = max(1, ceil(effort.sample / once))
        warm = 1 + count // 4
        rounds = int(effort.budget / (once * (count + warm)))
        return cls(min(max(rounds, 3), effort.rounds) | 1, warm, count)


def interleaved(
    plans: Mapping[str, Repeats], benches: Mapping[str, Local | Remote]
) -> dict[str, list[float]]:
    """Seconds a run, repeats of all taking turns; fewer than planned from one that broke."""
    samples: dict[str, list[float]] = {name: [] for name in plans}
    for turn in range(max((planned.rounds for planned in plans.values()), default=0)):
        for name, planned in plans.items():
            if len(samples[name]) == turn < planned.rounds:
                with suppress(OSError):
                    samples[name].append(benches[name].sample(planned.warm, planned.count))
    return samples


def truth(case: Case, path: Path) -> float:
    """Write torch.nn's answers in float64; returns the error of torch's in float32."""
    asked = replace(case, form="packed") if case.form == "lengths" else case
    answers = []
    for dtype in ("float64", "float32"):
        module = peers.Torch(asked, dtype)
        with module.mode():
            module.run()
            answers.append(module.result())
    np.savez(path, *answers[0])
    return distance(answers[1], answers[0])


def verdict(loaded: Loaded, limit: float) -> dict[str, Any]:
    """How an implementation took a case; "wrong" if its error is above the limit, or NaN."""
    if loaded.status != "ok":
        return {"status": loaded.status, "why": loaded.why}
    status = "ok" if loaded.error <= limit else "wrong"
    error = digits(loaded.error) if isfinite(loaded.error) else None
    numbers = {"limit": digits(limit), "build_s": digits(loaded.build)}
    return {"status": status, "error": error} | numbers


def compile_times(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds until rnngen's first answer of each network: the first shape of call compiles."""
    network = ("cell", "hidden_size", "num_layers", "bidirectional")
    first: dict[tuple[Any, ...], float] = {}
    for cell in cells:
        seconds = cell["results"]["rnngen"].get("build_s")
        if seconds is not None:
            first.setdefault(tuple(cell[k] for k in network), seconds)
    return [dict(zip(network, key, strict=True)) | {"seconds": s} for key, s in first.items()]


def limits(machine: Any) -> dict[str, Any]:
    """FLOP/s of one core, and bytes/s by the size of what is read over and over."""
    if machine is None:
        return {"flops": None, "bandwidth": None}
    rates = {str(size): digits(rate) for size, rate in machine.bandwidth.items()}
    return {"flops": digits(machine.flops), "bandwidth": rates}


def floor(machine: Any, cell: dict[str, Any]) -> float | None:
    """Seconds below which no call comes, as far as this is known."""
    case = of(cell)
    if machine is None or case.form != "full":
        return None
    decided = plan.decide(model.resolve(spec.load(case.fields)))
    return digits(machine.floor(decided, case.steps, case.batch))


def of(cell: dict[str, Any]) -> Case:
    """The case that was measured."""
    return Case(**{field.name: cell[field.name] for field in fields(Case)})


def line(cell: dict[str, Any]) -> str:
    """A case in one line: microseconds a call, median, and how much faster than the best peer."""
    parts = []
    for name, result in cell["results"].items():
        time = results.median(cell, name)
        parts.append(f"{name} {f'{time * 1e6:.5g}' if time else result['status'].upper()}")
    ratio = results.speedup(cell)
    return f"{of(cell)}: {', '.join(parts)} us" + (f"; {ratio:.2f} x" if ratio else "")


def text(document: dict[str, Any]) -> str:
    """JSON with a line for each field, and for each object of a list."""
    lines = []
    for name, value in document.items():
        listed = isinstance(value, list) and value and isinstance(value[0], dict)
        rows = [json.dumps(v, allow_nan=False) for v in (value if listed else [value])]
        body = "[\n  " + ",\n  ".join(rows) + "\n ]" if listed else rows[0]
        lines.append(f" {json.dumps(name)}: {body}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def digits(number: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{number:.4g}")


if __name__ == "__main__":
    main()
