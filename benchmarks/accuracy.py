"""The README's accuracy table: largest errors against torch.nn in float64, rnngen beside torch.

python benchmarks/accuracy.py
"""

from __future__ import annotations

import torch

import rnngen
from rnngen import validate

CELLS: dict[str, dict[str, object]] = {
    "LSTM": {"cell": "lstm"},
    "LSTM, projected": {"cell": "lstm", "proj_size": 8},
    "GRU": {"cell": "gru"},
    "RNN tanh": {"cell": "rnn"},
    "RNN relu": {"cell": "rnn", "nonlinearity": "relu"},
}
SIZES = ((1, 16), (40, 64), (64, 256))  # I, H
STEPS = (1, 10, 100, 1000)  # T


def main() -> None:
    """One row a cell and dtype: the worst of all sizes, lengths, ragged and not, states or none."""
    print("| network | dtype | rnngen | torch |")
    print("|---|---|---|---|")
    for dtype in ("float32", "float64"):
        for name, fields in CELLS.items():
            own, theirs = worst(fields | {"dtype": dtype})
            exact = "the reference" if dtype == "float64" else f"{theirs:.1e}"
            print(f"| {name}, 2 layers, bidirectional | {dtype} | {own:.1e} | {exact} |")


def worst(fields: dict[str, object]) -> tuple[float, float]:
    """Largest errors of rnngen and torch, relative to the largest output where that is above 1."""
    own = theirs = 0.0
    for inputs, hidden in SIZES:
        sizes = {"input_size": inputs, "hidden_size": hidden, "num_layers": 2}
        spec = rnngen.load_spec({"name": "net", "bidirectional": True, **sizes, **fields})
        torch.manual_seed(0)
        net = rnngen.compile(spec, weights=validate.blank(spec).state_dict())
        single, double = (
            validate.reference(spec, net.arrays(), d) for d in (spec.dtype, "float64")
        )
        for case in cases():
            line = validate.measure(net, single, double, case)
            own, theirs = max(own, line.error), max(theirs, line.torch_error)
    return own, theirs


def cases() -> list[validate.Case]:
    """Every length, equal and ragged, with states and without."""
    return [
        validate.Case(steps, 4, ragged, states, batch_first=False)
        for steps in STEPS
        for ragged in (False, True)
        for states in (False, True)
    ]


if __name__ == "__main__":
    main()
