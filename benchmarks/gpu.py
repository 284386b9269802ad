"""Times rnngen on the current CUDA device; writes gpu.json and draws it.

Beside it are torch.nn on cuDNN and, where it is installed, flashrnn.

python benchmarks/gpu.py [--quick] [--out DIR] [--resume]

rnngen's calls are bound beforehand, but for packed sequences; torch.nn has no such calls.
Speed-ups are over torch in the same dtype; in float32 without TF32, which is as exact, and with.
At the end they are compared with what is hoped for: gpu_targets.py.

Single layers have every size, batch and length. Four layers, both directions and packed sequences
have every size, but four batches and one length: the others would take as long as all that is
there, and how time grows with batches and lengths is seen in single layers.
--quick is meant for four minutes on an H100, all for less than an hour, though no device has run
them yet: it has fewer of all, with cases of every target.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import flash
import gpu_systems
import gpu_targets
import host
import results
from cases import GATES, Case
from cpu import Effort, Repeats, digits, interleaved, of, text
from gpu_systems import EXACT, FLASH, HALVES, OURS, OWN, ROUNDED, SYSTEMS, TRUTH, Bound, here
from peers import UnsupportedError
from rnngen import tensors
from rnngen.dtypes import DTYPES
from rnngen.errors import BuildError
from worker import told

RESULTS = Path(__file__).parent / "results"
SIZES = (32, 64, 96, 128, 129, 192, 256, 384, 512, 768, 1024, 2048)  # I = H
BATCHES = (1, 8, 16, 32, 128, 256)  # B
STEPS = (1, 128, 1024)  # T
HANGS = 120  # seconds after which a case is given up, and all with it; --resume goes on behind it
SLOW = 1.0  # seconds a run: one more is enough
FULL = Effort(15, 0.01, 1.0)
QUICK = Effort(5, 0.003, 0.3)
SEEN = 128  # steps at most of a call whose kernels are listed: more steps take no other kernels


def main(given: list[str] | None = None) -> None:
    """Measure, write after every case, draw at the end."""
    options = parsed(given)
    torch = tensors.torch("benchmarking")
    if not torch.cuda.is_available():
        stop("a CUDA device; there is none")
    cases = sorted(quick() if options.quick else grid(), key=network)
    try:
        document = begun(options)
        gpu_systems.build(cases)
    except BuildError as error:
        stop(str(error))
    with torch.inference_mode():
        for _ in finished(cases, document, QUICK if options.quick else FULL):
            document["targets"] = gpu_targets.verdicts(document["cells"])
            (options.out / "gpu.json").write_text(text(document))
    print("\n".join(gpu_targets.table(document["targets"])))
    absent, noisy = document["absent"], sum(map(results.noisy, document["cells"]))
    print(f"in {options.out}; without {', '.join(absent) or 'nothing'}; {noisy} cases noisy")
    if find_spec("matplotlib"):
        import gpu_plot

        gpu_plot.draw(document, options.out)


def parsed(given: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, shorter repeats")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.json, pictures")
    parser.add_argument("--resume", action="store_true", help="keep the cases that are there")
    return parser.parse_args(given)


def stop(reason: str, script: str = "gpu") -> NoReturn:
    """End with one line."""
    print(f"benchmarks/{script}.py: {reason}", file=sys.stderr)
    raise SystemExit(2)


def begun(options: argparse.Namespace) -> dict[str, Any]:
    """The document, without cases or with those of an earlier run of the same."""
    effort = asdict(QUICK if options.quick else FULL) | {"quick": options.quick}
    fixed = {
        "device": gpu_systems.device(),
        "versions": gpu_systems.versions(),
        "absent": [system.name for system in SYSTEMS if system not in here()],
        "effort": effort,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path, cells, hung = options.out / "gpu.json", [], None
    if options.resume and path.exists():
        earlier = json.loads(path.read_text())
        if any(earlier[name] != value for name, value in fixed.items()):
            stop("--resume: results of this device, these versions and effort; there are others")
        cells, hung = earlier["cells"], earlier["begun"]
    judged = {"targets": gpu_targets.verdicts(cells), "begun": hung, "cells": cells}
    return {"date": host.today()} | fixed | judged


def grid() -> list[Case]:
    """Everything."""
    single = [Case(*shape) for shape in product(GATES, SIZES, BATCHES, STEPS)]
    return single + more(SIZES, (1, 8, 32, 128))


def quick() -> list[Case]:
    """Minutes: enough to see every picture and to judge every target."""
    sizes = (64, 128, 192, 256, 512, 1024)
    shapes = [*product(GATES, sizes, (1, 8, 128), (1024,)), *product(GATES, sizes[::2], (1,), (1,))]
    shapes += product(GATES, (2048,), (1, 8), (1024,))
    return [Case(*shape) for shape in shapes] + more((64, 128, 256, 512), (8,))


def more(sizes: Iterable[int], batches: Iterable[int]) -> list[Case]:
    """Deep, in both directions, and sequences of their own lengths."""
    shapes = product(gpu_systems.KINDS.values(), GATES, sizes, batches)
    return [Case(cell, size, batch, 128, **kind) for kind, cell, size, batch in shapes]


def network(case: Case) -> tuple[Any, ...]:
    """What puts the cases of a network beside each other, which is made once for them."""
    cell = list(GATES).index(case.cell)
    return cell, case.num_layers, case.bidirectional, case.hidden_size


def finished(
    cases: Iterable[Case], document: dict[str, Any], effort: Effort
) -> Iterator[dict[str, Any]]:
    """Each case before and after it is measured, then each again with its kernels.

    A profiler that was there once may slow launches, so it comes when all is timed.
    """
    cells = document["cells"]
    there = {of(cell) for cell in cells}
    if (hung := document["begun"]) and of(hung) not in there:
        there.add(of(hung))
        print(f"left out, as it did not end before: {of(hung)}", flush=True)
    for case in cases:
        if case not in there:
            document["begun"] = asdict(case)
            yield document["begun"]
            signal.alarm(HANGS)  # ends the process wherever it is, in a kernel that waits too
            cells.append(measure(case, effort))
            signal.alarm(0)
            print(line(cells[-1]), flush=True)
            yield cells[-1]
    for cell in cells:
        if "kernels" not in cell:
            ok = [s for s in here() if cell["results"][s.name]["status"] == "ok"]
            case = replace(of(cell), steps=min(cell["steps"], SEEN))
            cell["kernels"] = {s.name: gpu_systems.kernels(Bound(s, case)) for s in ok}
            for name in {s.name for s in ok} & {s.name for s in OURS.values()}:
                cell["results"][name]["way"] = gpu_systems.way(cell["kernels"][name])
            yield cell


def measure(case: Case, effort: Effort) -> dict[str, Any]:
    """Check every system, then time those that are right, in turn."""
    taken, plans = checked(case), {}
    benches: dict[str, Any] = {}
    for system in here():
        if taken[system.name]["status"] == "ok":
            bench = benches[system.name] = Bound(system, case)
            once = bench.sample(0, 1)
            once = once if once > SLOW else min(once, bench.sample(0, 3))
            plans[system.name] = Repeats(1, 0, 1) if once > SLOW else Repeats.of(once, effort)
    for name, samples in interleaved(plans, benches).items():
        times = {"median_s": statistics.median(samples), "min_s": min(samples)}
        taken[name] |= {k: digits(v) for k, v in times.items()} | {"repeats": len(samples)}
    nets = gpu_systems.networks(gpu_systems.shape(case))
    for system in OURS.values():
        taken[system.name]["planned"] = nets[system.name].plan.ways[0]
    known: dict[str, Any] = {"flops": case.flops, "results": taken}
    return asdict(case) | known | ratios(known)


def checked(case: Case) -> dict[str, dict[str, Any]]:
    """How each system took the case, by its distance from torch in float64.

    rnngen's is held to torch's in the same dtype, flashrnn's to a limit of its own; the others'
    are for information.
    """
    torch = tensors.torch("benchmarking")
    found: dict[str, float | str | UnsupportedError] = {}
    right: list[Any] = []
    for system in (TRUTH, *here()):
        try:
            answer = Bound(system, case).answer()
            right = right or answer
            found[system.name] = gpu_systems.distance(answer, right)
        except UnsupportedError as reason:
            found[system.name] = reason
        except Exception as failure:  # whatever a library may raise; the results say what
            torch.cuda.synchronize()  # raises again if the device is not to be used any more
            found[system.name] = told(failure)
            if not right:
                return {s.name: verdict(f"no truth: {told(failure)}", 0) for s in here()}
    limits = {system.name: flash.LIMITS[system.dtype] for system in FLASH}
    for dtype, system in OURS.items():
        theirs = found[EXACT.name if system is OWN else f"{EXACT.name}-{dtype}"]
        limits[system.name] = DTYPES[dtype].limit(theirs if isinstance(theirs, float) else 0.0)
    return {s.name: verdict(found[s.name], limits.get(s.name)) for s in here()}


def verdict(error: float | str | UnsupportedError, limit: float | None) -> dict[str, Any]:
    """A result without its times; "wrong" if its error is above the limit, or NaN."""
    if isinstance(error, UnsupportedError):
        return {"status": "unsupported", "why": str(error)}
    if isinstance(error, str):
        return {"status": "failed", "why": error}
    wrong = not isfinite(error) or (limit is not None and error > limit)
    bound = {} if limit is None else {"limit": digits(limit)}
    shown = digits(error) if isfinite(error) else None
    return {"status": "wrong" if wrong else "ok", "error": shown} | bound


def ratios(cell: dict[str, Any]) -> dict[str, float | None]:
    """How many times faster than torch without TF32, and with; in 16 bits than torch in 16."""
    pairs = {"speedup": (OWN.name, EXACT.name), "speedup_tf32": (OWN.name, ROUNDED.name)}
    pairs |= {f"speedup_{d}": (OURS[d].name, f"{EXACT.name}-{d}") for d in HALVES}
    found = {}
    for key, names in pairs.items():
        own, other = (results.median(cell, name) for name in names)
        found[key] = digits(other / own) if other and own else None
    return found


def line(cell: dict[str, Any]) -> str:
    """A case in one line: microseconds a call, and how many times faster than torch."""
    parts = []
    for name, result in cell["results"].items():
        time = results.median(cell, name)
        parts.append(f"{name} {f'{time * 1e6:.5g}' if time else result['status'].upper()}")
    by = [f"{cell[key]} x ({key})" for key in ratios(cell) if cell[key]]
    return f"{of(cell)}: {', '.join(parts)} us; {', '.join(by)}"


if __name__ == "__main__":
    main()
