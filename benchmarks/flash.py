"""flashrnn of NX-AI, where it is installed: torch's LSTM or GRU and arguments -> a call of it.

Its function begins where W x is known, so torch multiplies that within the call. All else that it
is given lies as its kernels read it: gates turned and states stacked beforehand. It compiles
kernels of its own for each size and batch when it is first called.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

from peers import UnsupportedError
from rnngen import tensors

NAME = "flashrnn"
# Largest error that counts: its products round to 10 bits, TF32 in float32, or to 7, and so do
# states in 16 bits. A gate in another's place is further off.
LIMITS = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 8e-2}


class Kernels(NamedTuple):
    """Of the backends that have a cell the quickest, by its authors, and what layouts it reads."""

    backend: str
    rows: str  # T steps, B sequences, H heads (one), G gates, D units
    recurrent: str  # P units of the step before
    bias: str


KERNELS = {
    "lstm": Kernels("cuda_fused", "TBHDG", "HDGP", "HDG"),
    "gru": Kernels("cuda", "TBHGD", "HPGD", "HGD"),
}


def installed() -> bool:
    """Whether there is such a package."""
    return find_spec(NAME) is not None


class Call:
    """A torch.nn.LSTM or GRU over x [T, B, H]. Raises UnsupportedError for what is not there."""

    def __init__(self, module: Any, x: Any, hx: Any) -> None:
        import flashrnn

        if module.num_layers > 1 or module.bidirectional:
            raise UnsupportedError("flashrnn has single layers of one direction")
        if tensors.is_packed(x):
            raise UnsupportedError("flashrnn has no packed sequences")
        cell, dtype = module.mode.lower(), str(x.dtype).removeprefix("torch.")
        kernels = KERNELS[cell]
        weight, recurrent, bias = parameters(module)
        weight = weight.permute(*("GD".index(d) for d in kernels.rows[3:]), 2)
        self.x, self.weight, self.sizes = x, weight.flatten(0, 1).T, (1, *weight.shape[:2])
        self.order = [kernels.rows.index(d) for d in "BTGHD"]  # in which it is given W x
        states = tensors.torch("benchmarking").cat(hx if type(hx) is tuple else (hx,))
        states = states[:, :, None, None]  # [S, B, 1, 1, D]
        self.rest = laid(recurrent, kernels.recurrent), laid(bias, kernels.bias), states
        self.how = {"function": cell, "backend": kernels.backend, "dtype": dtype}
        self.function = flashrnn.flashrnn

    def run(self) -> None:
        """One call, which the device may not have finished yet."""
        sums = (self.x @ self.weight).unflatten(-1, self.sizes)
        self.states = self.function(sums.permute(self.order), *self.rest, **self.how)

    def answer(self) -> tuple[Any, Any]:
        """Output and states of the last run, as torch gives them."""
        every, last = self.states  # [S, B, T, 1, D], [S, B, 1, 1, D]
        h_n, *c_n = last[:, :, 0, 0].split(1)
        return every[0, :, :, 0].transpose(0, 1), (h_n, *c_n) if c_n else h_n


def parameters(module: Any) -> tuple[Any, Any, Any]:
    """W [G, D, H], and R [G, 1, D, P] and b [G, 1, D] with the gates in its order.

    An LSTM's gates are torch's, each with both biases. Of a GRU, R has n before r and z, and b has
    n twice: first the one that r multiplies, last the one of W x.
    """
    ih, hh, b_ih, b_hh = (
        getattr(module, f"{name}_l0").detach().unflatten(0, (-1, module.hidden_size))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    if module.mode == "LSTM":
        return ih, hh[:, None], (b_ih + b_hh)[:, None]
    torch = tensors.torch("benchmarking")
    bias = torch.cat((b_hh[2:], (b_ih + b_hh)[:2], b_ih[2:]))
    return ih, hh.roll(1, 0)[:, None], bias[:, None]


def laid(value: Any, stored: str) -> Any:
    """The same [G, H, D, ...], in memory in another order."""
    seen = "GHDP"[: value.dim()]
    there = value.permute([seen.index(d) for d in stored]).contiguous()
    return there.permute([stored.index(d) for d in seen])
