"""The CUDA benchmark without a device: its whole flow over emulated networks, on torch's CPU."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import standin
import torch
from emulated import Emulated, compiled

import rnngen
from rnngen import build
from rnngen.cuda import decide
from rnngen.launches import DeviceCall
from rnngen.model import resolve

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("gxx", "nvcc")


@pytest.fixture
def scripts(monkeypatch):
    """benchmarks/gpu.py and what it runs on, which here is the processor."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    systems, gpu = (importlib.import_module(name) for name in ("gpu_systems", "gpu"))

    def emulate(fields, weights=None):
        p = decide(resolve(rnngen.load_spec(fields)))
        net = Emulated(p, build.opened(p, compiled(p)))
        if weights:
            net.load_state_dict(weights)
        return net

    def clock(run, count):
        start = time.perf_counter()
        for _ in range(count):
            run()
        return (time.perf_counter() - start) / count

    facts = {"name": "a processor", "architecture": "x86", "multiprocessors": 1, "driver": None}
    systems.networks.cache_clear()
    systems.arguments.cache_clear()
    monkeypatch.setattr(systems, "rnngen", SimpleNamespace(compile=emulate))
    monkeypatch.setattr(systems, "DEVICE", "cpu")
    monkeypatch.setattr(systems.flash, "installed", lambda: False)
    monkeypatch.setattr(systems, "clock", clock)
    monkeypatch.setattr(systems, "device", lambda: facts)
    monkeypatch.setattr(systems, "kernels", lambda bench: {"void net_sm<1>(net_stretch)": 1})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(gpu, "FULL", gpu.Effort(3, 0.0, 0.0))
    return SimpleNamespace(gpu=gpu, systems=systems)


def test_flow(scripts, monkeypatch, tmp_path, capsys):
    """Right answers are timed, a wrong one is not; a second run keeps what is there."""
    gpu = scripts.gpu
    cases = [gpu.Case("gru", 8, 2, 3), gpu.Case("lstm", 8, 3, 4, form="packed")]
    monkeypatch.setattr(gpu, "grid", lambda: cases)
    gpu.main(["--out", str(tmp_path)])
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["absent"] == [system.name for system in scripts.systems.FLASH]
    assert not set(document["absent"]) & set(document["cells"][0]["results"])
    for cell in document["cells"]:
        for system in scripts.systems.OURS.values():
            assert cell["results"][system.name]["status"] == "ok"
        assert all(cell[key] > 0 for key in gpu.ratios(cell))
        assert all(cell["results"][s.name]["way"] == "sm" for s in scripts.systems.OURS.values())
    assert document["cells"][0]["kernels"]["rnngen"] == {"void net_sm<1>(net_stretch)": 1}
    assert document["targets"][0]["cases"] == 6
    out = capsys.readouterr().out
    assert out.startswith("compiling 6 networks on ")
    assert "\none layer, H <= 128 " in out

    cases.append(gpu.Case("gru", 9, 2, 3))
    monkeypatch.setattr(DeviceCall, "answer", wrong(DeviceCall.answer))
    gpu.main(["--out", str(tmp_path), "--resume"])
    cells = json.loads((tmp_path / "gpu.json").read_text())["cells"]
    assert cells[:2] == document["cells"]
    assert cells[2]["results"]["rnngen"]["status"] == "wrong"
    assert cells[2]["speedup"] is None
    gpu.main(["--out", str(tmp_path), "--resume"])  # nothing is left to do
    assert json.loads((tmp_path / "gpu.json").read_text())["cells"] == cells


def test_a_case_that_does_not_end(scripts, monkeypatch, tmp_path, capsys):
    """It ends the run; the next one goes on behind it."""
    gpu, measure = scripts.gpu, scripts.gpu.measure
    cases = [gpu.Case("lstm", 8, 2, 3), gpu.Case("gru", 8, 2, 3), gpu.Case("gru", 9, 2, 3)]
    monkeypatch.setattr(gpu, "grid", lambda: cases)
    monkeypatch.setattr(gpu, "HANGS", 60)

    def hangs(case, effort):
        assert signal.alarm(60) > 0  # somebody would have ended it
        signal.alarm(0)
        if case == cases[1]:
            raise SystemExit
        return measure(case, effort)

    monkeypatch.setattr(gpu, "measure", hangs)
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path)])
    capsys.readouterr()
    gpu.main(["--out", str(tmp_path), "--resume"])
    assert f"left out, as it did not end before: {cases[1]}\n" in capsys.readouterr().out
    found = json.loads((tmp_path / "gpu.json").read_text())["cells"]
    assert [gpu.of(cell) for cell in found] == [cases[0], cases[2]]


@pytest.mark.parametrize(
    ("said", "code", "known"),
    [("1980", 0, "1980"), ("[N/A]", 0, None), ("1980", 9, None), ("", 0, None)],
)
def test_what_nvidia_smi_does_not_know(scripts, monkeypatch, tmp_path, said, code, known):
    """It may print words instead of a number, or fail."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert scripts.systems.asked("clocks.max.sm") == known


def test_calls_are_bound(scripts):
    """rnngen's, but for packed sequences; torch has none."""
    systems, case = scripts.systems, scripts.gpu.Case("gru", 8, 2, 3)
    packed = replace(case, form="packed")
    for asked, system, bound in (
        (case, systems.OWN, True),
        (packed, systems.OWN, False),
        (case, systems.EXACT, False),
    ):
        assert isinstance(systems.Bound(system, asked).call, DeviceCall) == bound


def test_flashrnn(scripts, monkeypatch, tmp_path):
    """Where it is installed it is checked and timed; what it does not have is unsupported."""
    gpu, names = scripts.gpu, [system.name for system in scripts.systems.FLASH]
    deep = gpu.Case("lstm", 8, 2, 3, num_layers=2)
    cases = [gpu.Case("gru", 8, 2, 3), gpu.Case("lstm", 8, 2, 3), deep]  # LSTMs come first
    monkeypatch.setitem(sys.modules, "flashrnn", standin)
    monkeypatch.setattr(scripts.systems.flash, "installed", lambda: True)
    monkeypatch.setattr(gpu, "grid", lambda: cases)
    lstm = standin.lstm
    monkeypatch.setattr(standin, "lstm", lambda w, r, b, h, c: lstm(w[::-1], r[::-1], b, h, c))
    gpu.main(["--out", str(tmp_path)])
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["absent"] == []
    for cell, status in zip(document["cells"], ("wrong", "unsupported", "ok"), strict=True):
        assert [cell["results"][name]["status"] for name in names] == [status] * 3
    assert document["cells"][2]["results"]["flashrnn-tf32"]["median_s"] > 0


def wrong(call):
    def off(self, *args):
        output, states = call(self, *args)
        return output + 1e-4, states

    return off


def test_grid(scripts):
    """Every size, batch and length once, then deeper and packed ones; --quick has some of them."""
    cases = scripts.gpu.grid()
    assert len(cases) == len(set(cases)) == 2 * 12 * 6 * 3 + 3 * 2 * 12 * 4
    few = scripts.gpu.quick()
    assert len(few) == len(set(few)) == 70
    assert set(few) < set(cases)


def test_without_a_device(scripts, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        scripts.gpu.main([])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "benchmarks/gpu.py: a CUDA device; there is none\n"
