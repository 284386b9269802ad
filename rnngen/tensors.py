"""Torch tensors and NumPy arrays -> NumPy arrays over the same memory, and back in kind.

The only module that imports torch, and only when somebody has a tensor or asks for torch itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
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


def to_array(value: Any, what: str, dtype: str | None = None) -> Array:
    """A tensor or array as an array over the same memory; `what` it is, for messages.

    Raises TypeError for other kinds, RuntimeError for a tensor that is not dense on the CPU or
    whose gradient is asked for, ValueError, in torch's words, if it does not have `dtype`.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        if dtype and value.dtype != dtype:
            raise ValueError(_mismatch(what, value.dtype.str, dtype, f"astype('{dtype}')"))
        return value
    if not is_tensor(value):
        raise TypeError(f"{what}: a torch tensor or a NumPy array; got {type(value).__name__}")
    _check_dtype(value, what, dtype)
    _check_tensor(value, what)
    if str(value.dtype) == "torch.bfloat16":  # which NumPy does not have
        value = value.float()
    try:
        return np.asarray(value.detach().numpy())
    except TypeError:
        raise ValueError(f"{what}: a dtype that NumPy has; got {value.dtype}") from None


def judge(dtype: str) -> Callable[[Any], bool]:
    """Whether a value of that dtype can be read where it lies, and there is nothing to refuse.

    Quick, and sparing with its yes: about what it says no to, `to_array` knows more.
    """
    number = np.dtype(dtype)
    known: list[Any] = []  # torch's type of tensor, dtype and layout, once there is a torch

    def plain(value: Any) -> bool:
        if type(value) is np.ndarray:
            return value.dtype is number and value.flags.carray
        if not known and (torch := sys.modules.get("torch")):
            known.extend((torch.Tensor, getattr(torch, dtype), torch.strided))
        return (
            bool(known)
            and type(value) is known[0]
            and value.dtype is known[1]
            and value.is_cpu
            and value.layout is known[2]
            and value.is_contiguous()
            and not (value.requires_grad or value.is_neg())
        )

    return plain


def on_device(value: Any, what: str, dtype: str | None, kind: str) -> Any:
    """The tensor itself, if it is a dense one on a device of that kind; `what` it is, for messages.

    Arrays of other libraries that speak DLPack, as CuPy's and JAX's do, become tensors over the
    same memory. Raises as `to_array` does.
    """
    if not is_tensor(value):
        if not hasattr(value, "__dlpack__"):
            raise TypeError(f"{what}: a torch tensor on {kind}; got {type(value).__name__}")
        value = torch("reading an array").from_dlpack(value)
    _check_dtype(value, what, dtype)
    _check_tensor(value, what, kind)
    return value.detach()


def brought(value: Any) -> Any:
    """A tensor without its history, from a CUDA device to the CPU; other values as they are."""
    if not is_tensor(value):
        return value
    return value.detach().cpu() if value.is_cuda else value.detach()


def integers(values: Array | None, device: Any) -> Any:
    """Numbers as a tensor of int32 on a device, or None. Raises ValueError if they do not fit."""
    if values is None:
        return None
    if values.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(f"rows: fewer than 2^31 of a packed batch; got {values.max()} and more")
    return sys.modules["torch"].from_numpy(values.astype(np.int32)).to(device)


def copied(array: Array, dtype: str, device: Any) -> Any:
    """A tensor of its own on a device, in a dtype of torch."""
    torch = sys.modules["torch"]
    return torch.from_numpy(array.copy()).to(device, getattr(torch, dtype))


def used(tensor: Any, device: Any) -> None:
    """Tell torch that the device's current stream reads the tensor, which another one made."""
    tensor.record_stream(sys.modules["torch"].cuda.current_stream(device))


def scratch(nbytes: int, device: Any) -> Any:
    """So many bytes on a device, not initialised."""
    torch = sys.modules["torch"]
    return torch.empty(nbytes, dtype=torch.uint8, device=device)


def _check_tensor(value: Any, what: str, kind: str = "cpu") -> None:
    torch = sys.modules["torch"]
    if value.device.type != kind:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found "
            f"{what} tensor at {value.device} and parameter tensor at {kind}"
        )
    if value.layout != torch.strided:
        raise RuntimeError(f"{what}: a dense tensor; got layout {value.layout}")
    if value.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            f"{what}: rnngen computes no gradients; detach() the tensor or call under "
            "torch.no_grad()"
        )


def _check_dtype(value: Any, what: str, dtype: str | None) -> None:
    wanted = f"torch.{dtype}"
    if dtype and str(value.dtype) != wanted:
        model = f", or convert model: model.to({value.dtype})"
        raise ValueError(_mismatch(what, str(value.dtype), wanted, f"to({wanted}){model}"))


def _mismatch(what: str, got: str, wanted: str, cure: str) -> str:
    return (
        f"RNN {what} dtype ({got}) does not match weight dtype ({wanted}). "
        f"Convert {what}: {what}.{cure}"
    )


def aligned(nbytes: int, boundary: int = 64) -> Array:
    """So many bytes, not initialised, at an address that vectors like."""
    memory = np.empty(nbytes + boundary, np.uint8)
    start = -memory.__array_interface__["data"][0] % boundary
    return memory[start : start + nbytes]


def in_kind(array: Array, tensor: bool, dtype: str | None = None) -> Any:
    """The array itself, or a tensor over its memory; a copy if it is to have another dtype."""
    if not tensor:
        return array
    torch = sys.modules["torch"]
    value = torch.from_numpy(array)
    return value.to(getattr(torch, dtype)) if dtype else value
