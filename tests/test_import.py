"""torch's own modules become networks: compile(nn.LSTM(...))."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from nets import CELLS, flat, module, spec

import rnngen
from rnngen.errors import SpecError

pytestmark = pytest.mark.usefixtures("cc")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_brings_its_spec_and_weights(cell, dtype, monkeypatch):
    monkeypatch.setenv("CFLAGS", "-O1")  # all levels, sooner
    s = spec(**CELLS[cell], num_layers=2, bidirectional=True, batch_first=True, bias=False)
    theirs = module(s).to(dtype)
    ours = rnngen.compile(theirs)
    wanted = s.public() | {"name": s.cell, "dtype": str(dtype).removeprefix("torch.")}
    wanted["isa"] = "auto"
    assert ours.spec.public() == wanted
    x = torch.randn(2, 4, 3, dtype=dtype)
    warnings.filterwarnings("ignore", message="LSTM with projections")  # torch's own
    for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True):
        np.testing.assert_allclose(a, b, atol=6e-7)


def test_dropout_is_kept_and_changes_nothing():
    """It acts in training only; rnngen is what eval() gives."""
    theirs = torch.nn.GRU(3, 5, num_layers=2, dropout=0.5).requires_grad_(False)
    ours = rnngen.compile(theirs)
    assert ours.spec.dropout == 0.5
    x = torch.randn(4, 2, 3)
    np.testing.assert_allclose(ours(x)[0], theirs.eval()(x)[0], atol=6e-7)


def test_other_weights_for_a_module():
    theirs, other = torch.nn.GRU(3, 5), torch.nn.GRU(3, 5)
    ours = rnngen.compile(theirs, weights=other.state_dict())
    assert torch.equal(ours.state_dict()["bias_ih_l0"], other.bias_ih_l0)


def test_what_is_refused():
    class Mine(torch.nn.LSTM):
        """Its forward may do anything."""

    with pytest.raises(SpecError, match=r"spec: a torch.nn.LSTM, GRU or RNN; got .*Mine"):
        rnngen.compile(Mine(3, 5))
    with pytest.raises(SpecError, match="dtype: for target cuda; got 'bfloat16' with target c"):
        rnngen.compile(torch.nn.LSTM(3, 5, dtype=torch.bfloat16))
    with pytest.raises(SpecError, match="spec: a path, YAML text or a dict; got Linear"):
        rnngen.compile(torch.nn.Linear(3, 5))
    with pytest.raises(SpecError, match="spec: a path, YAML text or a dict; got LSTMCell"):
        rnngen.compile(torch.nn.LSTMCell(3, 5))


def test_in_place_of_a_layer():
    """A model whose LSTM is replaced gives what it gave."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 5, batch_first=True)
            self.head = torch.nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model, x = Model().eval().requires_grad_(False), torch.randn(2, 4, 3)
    before = model(x)
    lstm = model.lstm
    del model.lstm  # torch lets only modules take a module's place
    model.lstm = rnngen.compile(lstm)
    np.testing.assert_allclose(model(x), before, atol=6e-7)
