"""Passes and parameters are torch's: names, shapes, order, number."""

from __future__ import annotations

import re

import pytest
from nets import ROWS, from_row, module, spec

import rnngen
from rnngen.model import resolve


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_parameters_are_torchs(row):
    """Names in torch's order, with torch's shapes."""
    s = from_row("net", row)
    ours = resolve(s)
    theirs = {name: tuple(value.shape) for name, value in module(s).state_dict().items()}
    assert list(ours.params.items()) == list(theirs.items())
    assert ours.num_weights == sum(value.numel() for value in module(s).parameters())


@pytest.mark.parametrize("row", ROWS[:10], ids=lambda row: "-".join(map(str, row.values())))
def test_the_bound_on_weights_counts_all_of_them(row, monkeypatch):
    """The spec's own count is the model's, biases or not."""
    from rnngen import conflicts

    s = from_row("net", row | {"bias": True})
    monkeypatch.setattr(conflicts, "MAX_WEIGHTS", 0)
    with pytest.raises(rnngen.errors.SpecError) as caught:
        rnngen.load_spec(s.public())
    counted = re.search(r"2\^28 weights in all; got (\d+)", str(caught.value))
    assert counted is not None
    assert int(counted[1]) == resolve(s).num_weights


def test_passes_run_layer_by_layer_forward_first():
    passes = resolve(spec(num_layers=2, bidirectional=True)).passes
    assert [p.field for p in passes] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert [p.input for p in passes] == [3, 3, 10, 10]


def test_summary():
    many = spec(proj_size=2, num_layers=3, bidirectional=True, bias=False)
    wanted = "LSTM 3 -> 5, projected to 2, 3 layers, bidirectional, no bias"
    assert resolve(many).summary == wanted
    relu = spec(cell="rnn", nonlinearity="relu")
    assert resolve(relu).summary == "RNN (relu) 3 -> 5"
