"""The notebook that rnngen starts from: every number that it prints, at its four decimals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnngen

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "notebook"
PRINTED = json.loads((NOTEBOOK / "notebook.json").read_text())

pytestmark = pytest.mark.usefixtures("cc")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_printed_number(cell):
    printed = {k: np.array(v, np.float32) for k, v in PRINTED[cell].items()}
    network = rnngen.compile(NOTEBOOK / f"{cell}.yaml")
    hx = (printed["h0"], printed["c0"]) if cell == "lstm" else printed["h0"]
    output, states = network(printed["input"], hx)
    h_n, c_n = states if cell == "lstm" else (states, None)
    for name, ours in {"output": output, "h_n": h_n, "c_n": c_n}.items():
        if name in printed:
            assert np.array_equal(np.round(ours.astype(float), 4), np.array(PRINTED[cell][name]))
    assert np.array_equal(output[0][:, 2:4], h_n[3])
    assert np.array_equal(output[1][:, 0:2], h_n[2])


def test_demo(cc):
    """`make demo` builds both, shows all and says that they are equal."""
    command = [sys.executable, str(NOTEBOOK / "demo.py")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.count("equal") == 16
    assert out.count("bit for bit") == 4
    assert "DIFFERENT" not in out
