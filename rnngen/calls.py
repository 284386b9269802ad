"""Arguments of a call -> arrays that the C can run on, or torch's refusal in torch's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnngen import tensors
from rnngen.outline import Outline
from rnngen.plan import Plan
from rnngen.spec import Spec

Array = npt.NDArray[Any]
Read = Callable[[Any, str, str], Any]  # what was given, its name for messages, the dtype it has


class Input(NamedTuple):
    """What a network reads: rows in its own layout, or packed; contiguous."""

    x: Any  # [T, B, I], [B, T, I], or packed [N, I]
    steps: int  # T
    batch: int  # B
    lengths: Array | None = None  # [B] of size_t; packed always, and never rising
    starts: Array | None = None  # [T] of size_t, the row of each step's first sequence; if packed

    @property
    def packed(self) -> bool:
        """Whether rows lie step by step without padding, the longest sequence first."""
        return self.starts is not None

    @property
    def rows(self) -> int:
        """Steps of all sequences, padding included."""
        return len(self.x) if self.packed else self.steps * self.batch

    @property
    def batched(self) -> bool:
        """Whether states have a dimension for the batch."""
        return self.x.ndim == 3 or self.packed


def dense(spec: Spec, value: Any, lengths: Any, read: Read = tensors.to_array) -> Input:
    """A tensor or array, 3-D or 2-D without batch; `read` says what there is to be made of it.

    Raises ValueError, RuntimeError, TypeError.
    """
    x = read(value, "input", spec.dtype)
    if x.ndim not in (2, 3):
        kind = spec.cell.upper()
        raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {x.ndim}D instead")
    check_width(spec, x)
    steps, batch = (x.shape[1], x.shape[0]) if spec.batch_first else x.shape[:2]
    if x.ndim == 2:
        steps, batch = x.shape[0], 1
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    if lengths is None:
        return Input(contiguous(x), steps, batch)
    if x.ndim == 2:
        raise ValueError("lengths: for batched 3-D input; got it with unbatched 2-D input")
    return Input(contiguous(x), steps, batch, _lengths(lengths, steps, batch))


def contiguous(x: Any) -> Any:
    """The array itself where C can read it, else a copy; an offset of odd bytes needs one too."""
    if tensors.is_tensor(x):
        return x.contiguous()
    return x if x.flags.c_contiguous and x.flags.aligned else np.array(x, order="C")


def check_in_place(what: str, x: Any) -> None:
    """Raises ValueError if a tensor or array cannot be read where it lies."""
    if tensors.is_tensor(x):
        there, strides = x.is_contiguous(), tuple(n * x.element_size() for n in x.stride())
    else:
        there, strides = x.flags.c_contiguous and x.flags.aligned, x.strides
    if not there:
        got = f"{tuple(x.shape)} in strides of {strides} bytes"
        raise ValueError(f"bind: {what} contiguous in memory, to be read in place; got {got}")


def check_width(spec: Spec, x: Any) -> None:
    """Raises RuntimeError unless the last dimension of x is I."""
    if x.shape[-1] != spec.input_size:
        raise RuntimeError(
            "input.size(-1) must be equal to input_size. "
            f"Expected {spec.input_size}, got {x.shape[-1]}"
        )


def _lengths(value: Any, steps: int, batch: int) -> Array:
    lengths = tensors.to_array(value, "lengths") if tensors.is_tensor(value) else np.asarray(value)
    whole = lengths.dtype.kind in "iu" or not lengths.size
    if not whole or lengths.shape != (batch,):
        got = f"{lengths.dtype} of shape {lengths.shape}"
        raise ValueError(f"lengths: {batch} whole numbers, one a sequence; got {got}")
    if (lengths <= 0).any():
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if (lengths > steps).any():
        raise RuntimeError(f"lengths: at most T = {steps}; got {lengths.max()}")
    return lengths.astype(np.uintp)


def packed(spec: Spec, value: Any, read: Read = tensors.to_array) -> Input:
    """A PackedSequence as it lies; states of its sequences are to be `in_order`.

    Raises ValueError, RuntimeError.
    """
    data = read(value.data, "input", spec.dtype)
    if data.ndim != 2:
        raise RuntimeError(f"input must have 2 dimensions, got {data.ndim}")
    check_width(spec, data)
    sizes = value.batch_sizes.numpy()
    if not len(sizes) or sizes[-1] < 1 or (np.diff(sizes) > 0).any() or sizes.sum() != len(data):
        raise RuntimeError("batch_sizes: positive, never rising, adding up to the rows of data")
    batch = int(sizes[0])
    lengths = np.searchsorted(-sizes, -np.arange(batch))  # steps of more sequences than b
    starts = np.cumsum(sizes) - sizes
    whole = (numbers.astype(np.uintp) for numbers in (lengths, starts))
    return Input(contiguous(data), len(sizes), batch, *whole)


def in_order(states: Sequence[Any], order: Any) -> list[Any]:
    """States [L*D, B, ...] of sequences in another order, a tensor [B], if there is one."""
    if order is None:
        return list(states)
    return [s[:, order if tensors.is_tensor(s) else order.numpy()] for s in states]


def state_views(plan: Plan, memory: Array) -> tuple[Array, ...]:
    """The C states [B] in `memory` [B, S], seen as torch's h [L*D, B, P] and c [L*D, B, H]."""
    views, at, passes = [], 0, len(plan.steps)
    for width in plan.state_sizes.values():
        part = memory[:, at : at + passes * width]
        views.append(part.reshape(len(memory), passes, width).transpose(1, 0, 2))
        at += passes * width
    return tuple(views)


def state_size(plan: Plan) -> int:
    """S, numbers in one sequence's C state."""
    return len(plan.steps) * sum(plan.state_sizes.values())


def state(plan: Plan, hx: Any, batch: int, dims: int, given: str) -> Array:
    """Memory [B, S] of the C states, filled with hx, or zero where that is None."""
    memory = np.zeros((batch, state_size(plan)), plan.dtype.name)
    arrays = states(plan, hx, batch, dims, given)
    for view, array in zip(state_views(plan, memory), arrays, strict=False):
        view[...] = array[:, None] if dims == 2 else array
    return memory


def states(
    plan: Outline, hx: Any, batch: int, dims: int, given: str, read: Read = tensors.to_array
) -> tuple[Any, ...]:
    """hx as arrays h_0 [L*D, B, P] and, of an LSTM, c_0 [L*D, B, H]; none where it is None.

    hx has `dims` dimensions, 3 or without batch 2; `given` names the input in a message. Raises
    RuntimeError, TypeError.
    """
    if hx is None:
        return ()
    values = _members(plan, hx)
    try:
        arrays = tuple(read(value, "hx", plan.dtype.name) for value in values)
    except ValueError as error:  # torch's type for a state; for an input it is ValueError
        raise RuntimeError(str(error)) from None
    if any(a.ndim != dims for a in arrays):
        names = "hx and cx" if len(arrays) == 2 else "hx"
        got = ", ".join(f"{a.ndim}-D" for a in arrays)
        tail = f"({got}) tensors" if len(arrays) == 2 else f"{got} tensor"
        raise RuntimeError(f"For {given} input, {names} should also be {dims}-D but got {tail}")
    for n, (width, array) in enumerate(zip(plan.state_sizes.values(), arrays, strict=True)):
        shape = array.shape if dims == 3 else (len(array), 1, *array.shape[1:])
        if shape != (expected := (len(plan.model.passes), batch, width)):
            name = f"hidden[{n}]" if len(arrays) == 2 else "hidden"
            raise RuntimeError(f"Expected {name} size {expected}, got {list(shape)}")
    return arrays


def _members(plan: Outline, hx: Any) -> Sequence[Any]:
    """h_0 and, for an LSTM, c_0."""
    if len(plan.state_sizes) == 1:
        return (hx,)
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise TypeError(f"LSTM: hx is a pair (h_0, c_0); got {type(hx).__name__}")
    return hx
