"""rnngen: a layer spec becomes specialised C or CUDA for recurrent networks.

    spec.load -> model.resolve -> cuda.decide -> render.files -> build.library -> run.Network

`load_spec`, `generate` and `compile` are the whole public surface; importing this loads neither
torch nor jinja2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnngen.run import AnyNetwork
    from rnngen.spec import Spec

__version__ = "0.1.0"
__all__ = ["compile", "generate", "load_spec"]


def load_spec(source: Spec | str | Path | Mapping[str, Any]) -> Spec:
    """A spec from a file, YAML text (a str with a line end or `: ` in it) or a dict.

    Raises SpecError, a ValueError, which lists every broken rule, one per line.
    """
    from rnngen import spec

    return spec.load(source)


def generate(
    spec: Spec | str | Path | Mapping[str, Any],
    weights: str | Path | Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """{file name: text} of the C. Needs no compiler; the same spec gives the same bytes.

    With `weights`, a file or state_dict, two more files hold them as a constant.
    Raises SpecError, WeightsError.
    """
    from rnngen import cuda, model, pack, render
    from rnngen import weights as weights_
    from rnngen.errors import WeightsError

    decided = cuda.decide(model.resolve(load_spec(spec)))
    files = render.files(decided)
    if weights is not None:
        if isinstance(decided, cuda.CudaPlan):
            raise WeightsError("weights: as source for target c; got target cuda")
        packed = pack.pack(decided, weights_.load(weights, decided.model))
        files |= render.baked(decided, packed)
    return files


def compile(
    spec: Spec | str | Path | Mapping[str, Any] | Any,
    weights: str | Path | Mapping[str, Any] | None = None,
    threads: int = 1,
) -> AnyNetwork:
    """A network for this machine or, of target cuda, for its device, called as torch.nn's are.

    `spec` is anything that `load_spec` takes, or a torch.nn.LSTM, GRU or RNN, which brings its
    weights along. `weights` is a .safetensors or .pt file or a state_dict; without, those that the
    spec names. `threads` may share a call, if it does not say otherwise: sequences of a batch, and
    the directions of a layer, run side by side. Raises SpecError, WeightsError, BuildError, and
    ValueError for threads.
    """
    from rnngen import run, tensors

    if tensors.is_recurrent(spec):
        from rnngen.importers import torch

        fields, state = torch.read(spec)
        return run.network(load_spec(fields), state if weights is None else weights, threads)
    return run.network(load_spec(spec), weights, threads)
