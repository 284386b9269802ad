"""What is made of the CUDA benchmark's numbers: verdicts and pictures, of made-up results."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

import rnngen
from rnngen.cuda import decide
from rnngen.model import resolve

ROOT = Path(__file__).parents[1]
WAYS = {"float32": "cluster16", "float16": "cluster8", "bfloat16": "cluster8"}


@pytest.fixture
def scripts(monkeypatch):
    """What makes something of gpu.json."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("gpu", "gpu_systems", "gpu_targets")
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
    assert way(["RNN_blockPersist_step", "gemm_sm90_net_grids"]) is None
