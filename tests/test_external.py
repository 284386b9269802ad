"""Numbers that others made: RTNeural's vectors, NAM's amplifiers. Skipped where they are absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import flat

import rnngen
from rnngen import validate

DATA = Path(__file__).parents[2] / "shared" / "data" / "external"

pytestmark = pytest.mark.usefixtures("cc")


def external(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    return path if path.exists() else pytest.skip(f"no {'/'.join(parts)} here")


def part(state: dict, prefix: str) -> dict[str, np.ndarray]:
    """One module of a nested state_dict."""
    return {
        name.removeprefix(prefix): np.array(value, np.float32)
        for name, value in state.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_rtneural(cell):
    """1 -> 8, then three layers of 8, then a dense layer; 1,000 samples, to 3e-7."""
    state = json.loads(external("rtneural", f"{cell}_torch.json").read_text())
    x = np.loadtxt(external("rtneural", f"{cell}_torch_x.csv"), dtype=np.float32)
    y = np.loadtxt(external("rtneural", f"{cell}_torch_y.csv"))
    sizes = {"cell": cell, "hidden_size": 8, "isa": "native"}
    first = {"name": "first", "input_size": 1, **sizes}
    second = {"name": "second", "input_size": 8, "num_layers": 3, **sizes}
    lower = rnngen.compile(first, weights=part(state, f"{cell}."))
    upper = rnngen.compile(second, weights=part(state, f"{cell}2."))
    dense = part(state, "dense.")
    hidden = upper(lower(x[:, None])[0])[0].astype(np.float64)
    ours = hidden @ dense["weight"].T + dense["bias"]
    np.testing.assert_allclose(ours[:, 0], y, atol=3e-7)


@pytest.mark.parametrize("name", ["BossLSTM-1x16", "BossLSTM-2x8"])
def test_nam(name):
    """A guitar amplifier over a second of sound, against torch in float64, step by step too.

    Its cell state runs up to 190, where float32 drifts; the drift is measured every 2,000 samples.
    """
    capture = json.loads(external("nam", f"{name}.nam").read_text())
    spec = rnngen.load_spec({"name": "amp", "cell": "lstm", "isa": "native", **capture["config"]})
    params, h_0, c_0 = amplifier(np.array(capture["weights"]), **capture["config"])
    network = rnngen.compile(spec, weights=params)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((48_000, 1)) * 0.3).astype(np.float32)
    runs = [(network, (h_0, c_0))]
    for dtype in ("float32", "float64"):
        hx = tuple(torch.from_numpy(a).to(getattr(torch, dtype)) for a in (h_0, c_0))
        runs.append((validate.reference(spec, params, dtype).requires_grad_(False), hx))
    ours, torchs, truth = (trace(call, hx, x) for call, hx in runs)
    for mine, theirs, right in zip(ours, torchs, truth, strict=True):
        scale = max(1.0, np.abs(right).max())
        error, torch_error = (np.abs(got - right).max() / scale for got in (mine, theirs))
        assert error <= network.plan.dtype.limit(torch_error)
    output, _ = network(x, (h_0, c_0))
    current = h_0, c_0
    for t in range(1000):
        y, current = network.step(x[t], current)
        assert y.tobytes() == output[t].tobytes()


def trace(call, hx, x: np.ndarray) -> list[np.ndarray]:
    """All outputs, and the states after each 2,000 steps."""
    parts = []
    for start in range(0, len(x), 2000):
        part = x[start : start + 2000]
        arrays = isinstance(hx[0], np.ndarray)
        answer = call(part if arrays else torch.from_numpy(part).to(hx[0].dtype), hx)
        hx = answer[1]
        parts.append(flat(answer))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def amplifier(numbers: np.ndarray, input_size: int, hidden_size: int, num_layers: int):
    """NAM's flat list: for each layer [4H, I + H], bias, h_0, c_0; then the head."""
    params, h_0, c_0, at = {}, [], [], 0
    for layer in range(num_layers):
        width = (input_size if layer == 0 else hidden_size) + hidden_size
        sizes = [4 * hidden_size * width, 4 * hidden_size, hidden_size, hidden_size]
        matrix, bias, h, c = np.split(numbers[at : at + sum(sizes)], np.cumsum(sizes)[:-1])
        matrix = matrix.reshape(4 * hidden_size, width)
        params[f"weight_ih_l{layer}"] = matrix[:, :-hidden_size]
        params[f"weight_hh_l{layer}"] = matrix[:, -hidden_size:]
        params[f"bias_ih_l{layer}"], params[f"bias_hh_l{layer}"] = bias, np.zeros_like(bias)
        h_0.append(h)
        c_0.append(c)
        at += sum(sizes)
    params = {name: value.astype(np.float32) for name, value in params.items()}
    return params, np.array(h_0, np.float32), np.array(c_0, np.float32)
