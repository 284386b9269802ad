"""Networks for tests: specs by keyword, many of them compiled at once, torch's weights in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from unittest import mock

import numpy as np
import torch

import rnngen
from rnngen import build, tensors, validate
from rnngen.model import resolve
from rnngen.plan import decide
from rnngen.run import Network
from rnngen.spec import Spec

SIZES = {"input_size": 3, "hidden_size": 5}
OPTIONS = ["-O1"]  # of the compiler, for many networks at once


def spec(**fields) -> Spec:
    """A small LSTM unless said otherwise, for this machine alone, which is quick to compile."""
    defaults = {"name": "net", "cell": "lstm", "isa": "native"}
    return rnngen.load_spec({**defaults, **SIZES, **fields})


def module(s: Spec, seed: int = 0, scale: float = 1.0) -> torch.nn.RNNBase:
    """torch's own network of a spec, in its dtype; weights times `scale`."""
    torch.manual_seed(seed)
    out = validate.blank(s).eval().requires_grad_(False)
    for weight in out.parameters():
        weight.mul_(scale)
    return out


def net(s: Spec | None = None, seed: int = 0, scale: float = 1.0, **fields) -> Network:
    """A compiled network with torch's weights."""
    s = s or spec(**fields)
    return rnngen.compile(s, weights(s, seed, scale))


def weights(s: Spec, seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    """torch's weights of a spec as arrays."""
    params = module(s, seed, scale).state_dict()
    return {name: tensors.to_array(value, name) for name, value in params.items()}


def nets(
    specs: Sequence[Spec], lanes: Sequence[int] | None = None, options: Sequence[str] = OPTIONS
) -> list[Network]:
    """Many networks by one call of the compiler, each with a vector width of its own if given.

    Weights are scaled so that sums stay around 1 where inputs outnumber units: at torch's first
    weights they reach 10 there, and what float32 rounds off is a matter of luck.
    """
    plans = [decide(resolve(s)) for s in specs]
    widths = zip(plans, lanes or (), strict=False)
    flags = [f"-D{p.name.upper()}_LANES={min(n, p.block)}" for p, n in widths]
    with mock.patch.dict(os.environ, CFLAGS=" ".join([*options, *flags])):
        library = build.library(plans)
    out = [Network(plan, library) for plan in plans]
    for seed, network in enumerate(out):
        units, inputs = network.spec.hidden_size, network.spec.input_size
        scale = min(1.0, (units / inputs) ** 0.5)
        network.load_state_dict(weights(network.spec, seed, scale))
    return out


def errors(network: Network, *cases: validate.Case) -> validate.Report:
    """Calls beside torch in float64."""
    return validate.over(network, network.arrays(), cases)


def data(s: Spec, steps: int = 4, batch: int = 2, seed: int = 0) -> tuple[np.ndarray, ...]:
    """x in the spec's layout, h_0 and c_0, as arrays in its dtype."""
    rng = np.random.default_rng(seed)
    shape = (batch, steps) if s.batch_first else (steps, batch)
    passes = s.num_layers * s.num_directions
    shapes = [(*shape, s.input_size), (passes, batch, s.state_size), (passes, batch, s.hidden_size)]
    return tuple(rng.standard_normal(n).astype(s.dtype) for n in shapes)


def state(s: Spec, h, c):
    """hx of a call: a pair for an LSTM, h alone for the others."""
    return (h, c) if s.cell == "lstm" else h


def flat(answer) -> list[np.ndarray]:
    """Output and states of a call as arrays."""
    output, states = answer
    states = states if isinstance(states, tuple) else (states,)
    return [np.asarray(a.data if isinstance(a, tuple) else a) for a in (output, *states)]


def same(a, b) -> bool:
    """Whether two calls gave the same bits."""
    pairs = list(zip(flat(a), flat(b), strict=True))
    return all(x.tobytes() == y.tobytes() and x.shape == y.shape for x, y in pairs)


# Every cell; the second half of the test matrix.
CELLS = {
    "lstm": {"cell": "lstm"},
    "lstm_proj": {"cell": "lstm", "proj_size": 2},
    "gru": {"cell": "gru"},
    "rnn_tanh": {"cell": "rnn"},
    "rnn_relu": {"cell": "rnn", "nonlinearity": "relu"},
}

# What a network can be. Sizes straddle the lanes: one, fewer, as many, one more, twice and one.
FACTORS = {
    "cell": tuple(CELLS),
    "num_layers": (1, 2, 3),
    "bidirectional": (False, True),
    "bias": (True, False),
    "batch_first": (False, True),
    "dtype": ("float32", "float64"),
    "lanes": (1, 2, 4, 8, 16),  # 2: float64 in 16 bytes
    "input_size": (1, 3, 8, 17, 33),
    "hidden_size": (1, 3, 8, 17, 33),
}


def possible(row: dict) -> bool:
    """Not a projection of a single unit."""
    return row.get("cell") != "lstm_proj" or row.get("hidden_size", 3) > 1


def from_row(name: str, row: dict, isa: str = "native") -> Spec:
    """The spec of one combination of factors."""
    fields = {**row, **CELLS[row["cell"]], "name": name, "isa": isa}
    if "proj_size" in fields:
        fields["proj_size"] = max(1, row["hidden_size"] // 2)
    del fields["lanes"]
    return rnngen.load_spec(fields)


def pairs(rows) -> set:
    """Every pair of values of two factors that some row has."""
    out = set()
    for row in rows:
        items = sorted(row.items())
        out |= {(a, b) for n, a in enumerate(items) for b in items[n + 1 :]}
    return out


def all_pairs() -> set:
    """Every pair of values that is possible at all."""
    names = sorted(FACTORS)
    out = set()
    for n, first in enumerate(names):
        for second in names[n + 1 :]:
            for a, b in product(FACTORS[first], FACTORS[second]):
                if possible({first: a, second: b}):
                    out.add(((first, a), (second, b)))
    return out


def covering() -> list[dict]:
    """Rows in which every possible pair of values meets: greedy, the same each time."""
    rng = np.random.default_rng(0)
    left, rows = all_pairs(), []
    while left:
        candidates = [_row(rng, left) for _ in range(50)]
        best = max(candidates, key=lambda row: len(pairs([row]) & left))
        left -= pairs([best])
        rows.append(best)
    return rows


def _row(rng, left) -> dict:
    """A random row around one pair that is still missing."""
    while True:
        row = {name: values[rng.integers(len(values))] for name, values in FACTORS.items()}
        row |= dict(sorted(left, key=str)[rng.integers(len(left))])
        if possible(row):
            return row


ROWS = covering()
