"""Torch tensors and NumPy arrays -> NumPy arrays over the same memory, and back in kind.

The only module that imports torch, and only when somebody has a tensor or asks for torch itself.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen.errors import MissingError

Array = npt.NDArray[Any]


def torch(purpose: str) -> Any:
    """The torch package. Raises MissingError, which names what it is needed for."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingError(
            f"torch: {purpose} needs it; got no such package. "
            "pip install 'rnngen[torch]' or see pytorch.org"
        ) from None


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; without loading torch, as no tensor exists without it."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(value, module.Tensor)


def is_packed(value: Any) -> bool:
    """Whether it is a torch.nn.utils.rnn.PackedSequence."""
    module = sys.modules.get("torch.nn.utils.rnn")
    return module is not None and isinstance(value, module.PackedSequence)


def is_recurrent(value: Any) -> bool:
    """Whether it is a torch.nn.LSTM, GRU or RNN."""
    module = sys.modules.get("torch.nn")
    return module is not None and isinstance(value, module.RNNBase)


def to_array(value: Any, what: str) -> Array:
    """A tensor or array as an array over the same memory; `what` it is, for messages.

    Raises TypeError for other kinds, RuntimeError for a tensor that is not dense on the CPU or
    whose gradient is asked for.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return value
    if not is_tensor(value):
        kind = type(value).__name__
        raise TypeError(f"{what}: a torch tensor or a NumPy array; got {kind}")
    if value.device.type != "cpu":
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found "
            f"{what} tensor at {value.device} and parameter tensor at cpu"
        )
    if value.layout != sys.modules["torch"].strided:
        raise RuntimeError(f"{what}: a dense tensor; got layout {value.layout}")
    if value.requires_grad and sys.modules["torch"].is_grad_enabled():
        raise RuntimeError(
            f"{what}: rnngen computes no gradients; detach() the tensor or call under "
            "torch.no_grad()"
        )
    try:
        return np.asarray(value.detach().resolve_conj().resolve_neg().numpy())
    except TypeError:  # bfloat16 and others that NumPy does not have
        raise ValueError(_mismatch(what, str(value.dtype), "float32 or torch.float64")) from None


def in_kind(array: Array, tensor: bool) -> Any:
    """The array itself, or a tensor over its memory."""
    return sys.modules["torch"].from_numpy(array) if tensor else array


def check_dtype(value: Any, array: Array, dtype: str, what: str) -> None:
    """Raises ValueError, in torch's words, unless `array`, made of `value`, has that dtype."""
    if array.dtype == dtype:
        return
    if is_tensor(value):
        raise ValueError(_mismatch(what, f"torch.{array.dtype}", f"torch.{dtype}"))
    message = f"RNN {what} dtype ({array.dtype.str[0]}{array.dtype}) does not match weight dtype"
    raise ValueError(f"{message} ({dtype}). Convert {what}: {what}.astype('{dtype}')")


def _mismatch(what: str, got: str, wanted: str) -> str:
    return (
        f"RNN {what} dtype ({got}) does not match weight dtype ({wanted}). "
        f"Convert {what}: {what}.to({wanted}), or convert model: model.to({got})"
    )
