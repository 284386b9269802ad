"""The micro-measurements without a device: what nvcc says, what is written, what is refused."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import torch

from rnngen import compiler, residence
from rnngen.errors import BuildError
from rnngen.targets import TARGETS

FOLDER = Path(__file__).parents[1] / "benchmarks"
STRICT = ("-Werror", "all-warnings", "-Xptxas", "-warn-spills,-Werror")


@pytest.fixture
def micro(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("micro")


@pytest.fixture
def device(micro, monkeypatch):
    """One that is an H200 as far as the script asks; nvcc's program prints what it is given."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(micro.gpu_systems, "device", lambda: {"architecture": "sm_90"})
    monkeypatch.setattr(micro.gpu_systems, "versions", dict)
    monkeypatch.setattr(micro, "launch", lambda: 0.64)


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"])
def test_compiles(nvcc, tmp_path, architecture):
    """nvcc has nothing to say, and no register is spilled."""
    command = [*nvcc, *TARGETS["cuda"].flags, *STRICT, f"-arch={architecture}", "-cubin"]
    compiler.run([*command, "-o", "micro.cubin", str(FOLDER / "micro.cu")], tmp_path)
    assert (tmp_path / "micro.cubin").stat().st_size


def test_says_what_is_replaced(micro, device, monkeypatch, tmp_path):
    """Each number that is printed has a unit, and stands beside the constant as it is."""
    names = re.findall(r'printf\("(\w+?)(?:_%d)? %', (FOLDER / "micro.cu").read_text())
    assert {*names, "launch_in_graph"} == set(micro.MEANINGS)
    monkeypatch.setattr(micro, "cycles", lambda architecture: {"async_trip_8": 468.0})
    micro.main(tmp_path)
    parts = json.loads((tmp_path / "micro.json").read_text())["parts"]
    trip, launch = parts
    assert (trip["name"], trip["value"], trip["now"]) == ("async_trip_8", 468, 450)
    assert trip["now"] == 2 * residence.SENDING
    assert trip["unit"] == "cycles there and back"
    assert (launch["value"], launch["unit"], launch["constant"]) == (0.64, "us", None)


def test_runs_the_program(micro, nvcc):
    """It is compiled and started; here it says that there is no device."""
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(BuildError, match=r"driver|no CUDA-capable"):
        micro.cycles("sm_90")


@pytest.mark.parametrize("end", ["exit 1", "exec sleep 60"])
def test_keeps_what_there_is(micro, monkeypatch, tmp_path, capfd, end):
    """If a launch is refused, or a packet never comes."""
    monkeypatch.setattr(micro, "LIMIT", 2)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho look 850\necho no room >&2\n{end}\n")
    program.chmod(0o755)
    assert micro.printed(program) == "look 850\n"
    said = "no room" if end == "exit 1" else "no more within 2 s"
    assert capfd.readouterr().err == f"benchmarks/micro.py: {said}\n"


def test_without_a_device(micro, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        micro.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "benchmarks/micro.py: a CUDA device of compute capability 9.0 or later; there is none\n"
    )
