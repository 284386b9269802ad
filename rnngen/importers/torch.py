"""torch.nn.LSTM, GRU and RNN -> the fields of a spec and the module's own weights."""

from __future__ import annotations

from typing import Any

from rnngen.errors import SpecError

_SAME = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")


def read(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recurrent module's fields, named after its class, and its state_dict on the CPU.

    The target is that of the device where its weights are.

    Raises SpecError for a class of one's own, or weights that are not there.
    """
    kind = type(module).__name__
    if kind not in ("LSTM", "GRU", "RNN") or not type(module).__module__.startswith("torch.nn."):
        raise SpecError(f"spec: a torch.nn.LSTM, GRU or RNN; got {type(module).__qualname__}")
    fields = {name: getattr(module, name) for name in _SAME}
    fields |= {"name": kind.lower(), "cell": kind.lower(), "bidirectional": module.bidirectional}
    fields["dtype"] = str(module.weight_ih_l0.dtype).removeprefix("torch.")
    if kind == "RNN":
        fields["nonlinearity"] = module.nonlinearity
    if kind == "LSTM":
        fields["proj_size"] = module.proj_size
    if module.weight_ih_l0.is_cuda:
        fields["target"] = "cuda"
    if any(value.is_meta for value in module.parameters()):
        raise SpecError(f"spec: a torch.nn.{kind} with weights; got one on the meta device")
    return fields, {name: value.detach().cpu() for name, value in module.state_dict().items()}
