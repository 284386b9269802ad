"""What is made of the CUDA benchmark's numbers: verdicts and pictures, of made-up results."""

from __future__ import annotations

import importlib
import itertools
import re
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from emulated import plan

import rnngen
from rnngen import render
from rnngen.cuda import decide
from rnngen.model import resolve

ROOT = Path(__file__).parents[1]
WAYS = {"float32": "cluster16", "float16": "cluster8", "bfloat16": "cluster8"}


@pytest.fixture
def scripts(monkeypatch):
    """What makes something of gpu.json."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("gpu", "gpu_floor", "gpu_systems", "gpu_targets")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def measured(scripts, case, ratios=(3, 3, 3), way=None):
    """A cell of gpu.json: torch takes 1 ms, rnngen less by the ratios; None: a wrong answer."""
    found = {}
    for (dtype, system), ratio in zip(scripts.systems.OURS.items(), ratios, strict=True):
        torch = "torch" if dtype == "float32" else f"torch-{dtype}"
        found[torch] = {"status": "ok", "median_s": 1e-3, "min_s": 1e-3}
        right = {"status": "ok", "median_s": 1e-3 / ratio, "min_s": 0} if ratio else {}
        known = {"planned": WAYS[dtype], "way": way}
        found[system.name] = {"status": "wrong"} | right | known
    found["torch-tf32"] = found["torch"]
    return asdict(case) | {"flops": case.flops, "results": found, "kernels": {}}


@pytest.fixture
def verdicts(scripts):
    """Cells -> (cases, met, worst) by the first words of a class."""
    scripts.systems = scripts.gpu_systems

    def judged(*cells):
        found = scripts.gpu_targets.verdicts(list(cells))
        return {row["class"]: (row["cases"], row["met"], row.get("worst")) for row in found}

    return judged


def test_targets(scripts, verdicts):
    """A ratio counts in each class that the case is one of, and the lowest is named."""
    case = scripts.gpu.Case
    good = measured(scripts, case("lstm", 256, 8, 1024), (5.1, 1.4, 5.1))
    bad = measured(scripts, case("lstm", 256, 8, 128), (4.9, 1.2, 0.9))
    found = verdicts(good, bad)
    assert found["float32, H 129 to 512"] == (2, 1, 4.9)
    assert found["float16 where cuDNN keeps weights on the chip"] == (2, 1, 1.2)
    assert found["bfloat16"] == (2, 1, 0.9)
    assert found["all that stays on the chip"] == (6, 5, 0.9)
    assert found["all that falls back to step"] == (0, 0, None)
    assert found["one layer, H <= 128"] == (0, 0, None)
    lines = list(scripts.gpu_targets.table(scripts.gpu_targets.verdicts([good, bad])))
    (line,) = [" ".join(line.split()) for line in lines if line.startswith("bfloat16")]
    assert line == "bfloat16 5 1 of 2 0.90 lstm H=256 B=8 T=128 bfloat16 (cluster8)"


def test_fallback_has_its_own_target(scripts, verdicts):
    """The way that the device took says so, not the one that was planned."""
    case = scripts.gpu.Case("lstm", 1024, 8, 1024)
    found = verdicts(measured(scripts, case, (0.95, 0.95, 0.85), way="step"))
    assert found["all that falls back to step"] == (3, 2, 0.85)
    assert found["all that stays on the chip"][0] == found["bfloat16"][0] == 0
    assert found["float16 where cuDNN keeps weights on the chip"] == (1, 0, 0.95)
    assert verdicts(measured(scripts, case))["all that stays on the chip"][0] == 3


def test_one_step_is_no_sequence(scripts, verdicts):
    """Targets of steps are for many; nothing may be slower in any case."""
    found = verdicts(measured(scripts, scripts.gpu.Case("gru", 64, 1, 1), (1.1, 1.1, 0.9)))
    assert found["one layer, H <= 128"] == (0, 0, None)
    assert found["all that stays on the chip"] == (3, 2, 0.9)


def test_wrong_answers_miss_their_target(scripts, verdicts):
    """And what torch did not do is left out."""
    cell = measured(scripts, scripts.gpu.Case("gru", 64, 1, 128), (None, 3, 3))
    cell["results"]["torch-float16"]["status"] = "failed"
    assert verdicts(cell)["one layer, H <= 128"] == (2, 1, 0.0)


def test_quick_has_every_target(scripts, verdicts):
    """Each class has cases, by the ways that are planned."""
    cells = []
    for case in scripts.gpu.quick():
        cell = measured(scripts, case)
        for dtype, system in scripts.systems.OURS.items():
            spec = rnngen.load_spec(scripts.systems.fields(case, dtype))
            cell["results"][system.name]["planned"] = decide(resolve(spec)).ways[0]
        cells.append(cell)
    found = verdicts(*cells)
    assert len(found) == len(scripts.gpu_targets.CLASSES)
    assert all(cases for cases, _, _ in found.values()), found


def test_the_way_taken(scripts):
    """Kernels tell it by their names; those of others tell nothing."""
    way = scripts.gpu_systems.way
    known = ["net_input<8>(net_stretch, net_layers)", "net_cluster16<1>(net_stretch)"]
    assert way(["void " + name for name in known]) == "cluster16"
    assert way(["net_input<1>(net_stretch)", "net_step<8>(net_stretch)"]) == "step"
    assert way(["void net_wavefront(net_stretch)"]) == "wavefront"
    assert way(["void net_grid<4>(net_stretch)"]) == "grid"
    assert way(["net_grid_interleaved(net_stretch, net_layer)"]) == "grid"
    assert way(["RNN_blockPersist_step", "gemm_sm90_net_grids"]) is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("hidden", "layers"), [(64, 4), (256, 1), (1024, 1)])
def test_every_way_has_its_kernel(scripts, dtype, hidden, layers):
    """By the name that a profiler will show."""
    p = plan(hidden_size=hidden, num_layers=layers, dtype=dtype)
    kernels = re.findall(r"__global__ void [^{;]*?(net_\w+)\(", render.files(p)["net.cu"])
    assert {scripts.gpu_systems.way([name]) for name in kernels} - {None} == set(p.ways)


DEVICE = {"name": "a device", "architecture": "sm_90", "multiprocessors": 132, "driver": None}
SIZES, BATCHES = (64, 256, 2048), (1, 8)


@pytest.fixture
def document(scripts):
    """A gpu.json: every system takes H, B and its own number of nanoseconds a step."""
    pytest.importorskip("matplotlib")
    cells = []
    single = [
        scripts.gpu.Case(*c, 1024) for c in itertools.product(("lstm", "gru"), SIZES, BATCHES)
    ]
    for case in [*single, *scripts.gpu.more(SIZES, (8,))]:
        found = {}
        for number, system in enumerate(scripts.gpu_systems.SYSTEMS, 10):
            step = 1e-9 * (number + case.hidden_size + case.batch) * case.lengths.max()
            found[system.name] = {"status": "ok", "median_s": step, "min_s": step}
        cell = asdict(case) | {"flops": case.flops, "results": found}
        cells.append(cell | scripts.gpu.ratios(cell))
    versions = dict.fromkeys(("torch", "cuda", "cudnn", "rnngen", "nvcc"), "1.0")
    return {"date": "today", "device": DEVICE, "versions": versions, "cells": cells}


def test_pictures(scripts, document, tmp_path):
    """Each is written twice, and says what its axes, panels and lines are."""
    pictures = importlib.import_module("gpu_plot")
    pictures.draw(document, tmp_path)
    names = ("kinds", "speedup", "speedup-half", "steps")
    wanted = [f"gpu-{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(wanted)
    text = {name: (tmp_path / f"gpu-{name}.svg").read_text() for name in names}
    words = {name: set(re.findall(r"<!-- (.*) -->", svg)) for name, svg in text.items()}
    lines = {look.label for look in pictures.LOOKS.values()} | set(pictures.FLOORS.values())
    lines |= {"microseconds a step", "units H (= inputs I)"}
    panels = {f"{cell}, B = {batch}" for cell in ("LSTM", "GRU") for batch in BATCHES}
    assert words["steps"] >= lines | panels | {"predicted, float32"}
    kinds = ("4 layers", "both directions", "packed sequences")
    assert words["kinds"] >= lines | {f"{cell}, {k}" for cell in ("LSTM", "GRU") for k in kinds}
    assert "predicted, float32" not in words["kinds"]
    for name in ("speedup", "speedup-half"):
        assert words[name] >= {"sequences B", "units H (= inputs I)", "LSTM, 1,024 steps a call"}


def test_lines(scripts, document):
    """A panel has one for each system, through its times, and a floor at every size."""
    pictures = importlib.import_module("gpu_plot")
    single = [c for c in document["cells"] if c["steps"] == 1024]
    others = [c for c in document["cells"] if c["steps"] == 128]
    for draw, cells, batch, more in (
        (pictures.steps, single, 1, 1),
        (pictures.kinds, others, 8, 0),
    ):
        for axes in draw(document, cells).axes[::2]:  # of two columns the first
            shown = {line.get_label(): line.get_xydata().T.tolist() for line in axes.get_lines()}
            assert len(shown) == len(axes.get_lines()) == len(pictures.LOOKS) + 2 + more
            for number, system in enumerate(scripts.gpu_systems.SYSTEMS, 10):
                sizes, times = shown[pictures.LOOKS[system.name].label]
                assert tuple(sizes) == SIZES
                assert times == pytest.approx([1e-3 * (number + h + batch) for h in SIZES])
            for floor in pictures.FLOORS.values():
                sizes, times = shown[floor]
                assert tuple(sizes) == SIZES
                assert 0.17 < times[0] < times[1] < times[2]


def test_floor(scripts):
    """Latencies of the way that is quickest, and multiply-adds at the device's rate."""
    floor = scripts.gpu_floor

    def cycles(*args, **more):
        return floor.seconds(*args, DEVICE, **more) * 1980e6

    assert cycles(4, 32, 1, False) == pytest.approx(30 + 75 + 170 + 60 + 4 * 32 * 32 / 128)
    many = 4 * 512 * 512 / 128 / 16  # in sixteen multiprocessors, the most of a cluster
    assert cycles(4, 512, 1, False) == pytest.approx(50 + 75 + 170 + 235 + many)
    eight = 4 * 1024 * 1024 * 8 / 2048 / 132  # tensor cores take eight sequences, be there one
    assert cycles(4, 1024, 1, True) == cycles(4, 1024, 8, True) == pytest.approx(1210 + eight)
    over = 4 * 2048 * 2048 * 4 - 132 * 390 * 1024  # bytes that come from L2 at each step
    whole = 4 * 2048 * 2048 / 128 / 132
    assert cycles(4, 2048, 1, False) == pytest.approx(1210 + whole + over / 2800)
    deep = cycles(4, 64, 1, False, passes=4)
    assert deep == cycles(4, 64, 1, False)  # each layer in a multiprocessor of its own
    assert floor.seconds(4, 64, 1, False, DEVICE | {"architecture": "sm_80"}) is None
    for gates, half, batch in itertools.product((3, 4), (False, True), scripts.gpu.BATCHES):
        found = [cycles(gates, hidden, batch, half) for hidden in scripts.gpu.SIZES]
        assert found == sorted(found)
