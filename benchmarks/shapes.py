"""Times what the grid lacks: other sizes, kinds and levels, and threads; writes shapes.json.

python benchmarks/shapes.py [--out DIR]

Each line is a ratio of two calls that took turns on one pinned core: the network's time over that
of the one beside it, by the weights of both; of threads, on all cores, the time of one over two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import host
import rnngen
from rnngen import bench, machine, validate
from rnngen.validate import Case

SHAPES = ((1, 1), (100, 1), (100, 8), (100, 32))  # T, B
SIZES = (8, 32, 64, 128, 256, 512)  # I = H, of two compilers


@dataclass(frozen=True)
class Pair:
    """A network beside another; `own`, `other` differ from an LSTM in these fields."""

    series: str
    own: dict[str, Any]
    other: dict[str, Any]


def sized(inputs: int, hidden: int, **more: Any) -> dict[str, Any]:
    """Fields of a network I -> H."""
    return {"input_size": inputs, "hidden_size": hidden} | more


def pairs() -> Iterator[Pair]:
    """Every line but those of threads."""
    for inputs, hidden in ((1, 16), (40, 64), (257, 128)):
        yield Pair("I != H, beside I = H", sized(inputs, hidden), sized(hidden, hidden))
    for odd, whole in ((5, 8), (20, 32), (100, 112), (200, 208)):
        yield Pair("odd H, beside whole vectors", sized(odd, odd), sized(whole, whole))
    for h in (64, 256):
        single = sized(h, h)
        yield Pair("projection to half, beside none", single | {"proj_size": h // 2}, single)
        yield Pair("RNN, beside LSTM", single | {"cell": "rnn"}, single)
        yield Pair("GRU, beside LSTM", single | {"cell": "gru"}, single)
        yield Pair("float64, beside float32", single | {"dtype": "float64"}, single)
        yield Pair("AVX2, beside AVX-512", single | {"isa": "avx2"}, single | {"isa": "avx512"})


def network(fields: dict[str, Any]) -> Any:
    """A compiled network with torch's first weights."""
    spec = rnngen.load_spec({"name": "net", "cell": "lstm"} | fields)
    torch.manual_seed(0)
    return rnngen.compile(spec, weights=validate.blank(spec).state_dict())


def bound(net: Any, steps: int, batch: int, threads: int = 1) -> Any:
    """A call of the network whose buffers are fixed."""
    case = Case(steps, batch, ragged=False, states=True, batch_first=False)
    x, hx = validate.arguments(net.spec, case)
    return net.bind(x, hx, threads=threads).run


def compared(pair: Pair) -> Iterator[dict[str, Any]]:
    """Seconds of both calls, and how many times longer the first takes."""
    own, other = network(pair.own), network(pair.other)
    work = own.plan.model.num_weights / other.plan.model.num_weights
    for steps, batch in SHAPES:
        calls = {"own": bound(own, steps, batch), "other": bound(other, steps, batch)}
        taken = bench.medians(calls)
        ratio = taken["own"] / taken["other"] / work
        yield line(pair.series, pair.own, steps, batch, taken, ratio)


def compilers() -> Iterator[dict[str, Any]]:
    """What clang makes of a network, beside what gcc makes; nothing where one is missing."""
    if not (shutil.which("gcc") and shutil.which("clang")):
        return
    for cell, h in itertools.product(("lstm", "gru"), SIZES):
        fields = sized(h, h, cell=cell)
        nets = {}
        for key, name in (("other", "gcc"), ("own", "clang")):
            with mock.patch.dict(os.environ, CC=name):
                nets[key] = network(fields)
        for steps, batch in SHAPES:
            taken = bench.medians({key: bound(net, steps, batch) for key, net in nets.items()})
            ratio = taken["own"] / taken["other"]
            yield line("clang, beside gcc", fields, steps, batch, taken, ratio)


def plain() -> Iterator[dict[str, Any]]:
    """Calls that allocate their answers, beside bound ones: one step of one sequence."""
    fields = sized(8, 8)
    net = network(fields)
    x, hx = validate.arguments(net.spec, Case(1, 1, ragged=False, states=True, batch_first=False))
    arrays = x.numpy(), tuple(state.numpy() for state in hx)
    for kind, (given, states) in {"arrays": arrays, "tensors": (x, hx)}.items():
        for name, args in {"": (given,), " and states": (given, states)}.items():
            calls = {"own": partial(net, *args), "other": net.bind(*args).run}
            taken = bench.medians(calls)
            series = f"plain call with {kind}{name}, beside bound"
            yield line(series, fields, 1, 1, taken, taken["own"] / taken["other"])


def shared() -> Iterator[dict[str, Any]]:
    """One thread beside two: how many times faster two are."""
    layers = [(sized(h, h), b) for h in (64, 128, 256, 512) for b in (8, 32, 128)]
    both = [(sized(h, h, bidirectional=True), b) for h in (128, 256) for b in (1, 32)]
    for fields, batch in layers + both:
        net = network(fields)
        calls = {"own": bound(net, 100, batch), "other": bound(net, 100, batch, threads=2)}
        taken = bench.medians(calls)
        yield line("two threads", fields, 100, batch, taken, taken["own"] / taken["other"])


def line(
    series: str, fields: dict[str, Any], steps: int, batch: int, taken: Any, ratio: float
) -> dict[str, Any]:
    """One result, as it is written and shown."""
    print(f"{series}: {fields} T={steps} B={batch}: {ratio:.2f}", flush=True)
    times = {f"{name}_s": float(f"{seconds:.4g}") for name, seconds in taken.items()}
    shape = {"steps": steps, "batch": batch, "ratio": round(ratio, 3)}
    return {"series": series, "network": fields} | shape | times


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    cores = os.sched_getaffinity(0)
    with machine.pinned():
        lines = [found for pair in pairs() for found in compared(pair)]
        lines += compilers()
        lines += plain()
    if len(cores) > 1:
        lines += shared()
    document = {
        "date": host.today(),
        "machine": host.describe(min(cores)),
        "versions": host.versions(),
        "lines": lines,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "shapes.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
