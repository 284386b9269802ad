"""Arguments of a call -> arrays that the C can run on, or torch's refusal in torch's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnngen import tensors
from rnngen.plan import Plan
from rnngen.spec import Spec

Array = npt.NDArray[Any]


class Input(NamedTuple):
    """What a network reads: rows of x in its own layout, [T, B, I] or [B, T, I], contiguous."""

    x: Array
    steps: int  # T
    batch: int  # B
    lengths: Array | None  # [B] of size_t


def dense(spec: Spec, value: Any, lengths: Any) -> Input:
    """A tensor or array, 3-D or 2-D without batch. Raises ValueError, RuntimeError, TypeError."""
    x = tensors.to_array(value, "input", spec.dtype)
    if x.ndim not in (2, 3):
        kind = spec.cell.upper()
        raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {x.ndim}D instead")
    check_width(spec, x)
    steps, batch = (x.shape[1], x.shape[0]) if spec.batch_first else x.shape[:2]
    if x.ndim == 2:
        steps, batch = x.shape[0], 1
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    if lengths is not None and x.ndim == 2:
        raise ValueError("lengths: for batched 3-D input; got it with unbatched 2-D input")
    return Input(
        np.ascontiguousarray(x),
        steps,
        batch,
        None if lengths is None else _lengths(lengths, steps, batch),
    )


def check_width(spec: Spec, x: Array) -> None:
    """Raises RuntimeError unless the last dimension of x is I."""
    if x.shape[-1] != spec.input_size:
        raise RuntimeError(
            "input.size(-1) must be equal to input_size. "
            f"Expected {spec.input_size}, got {x.shape[-1]}"
        )


def _lengths(value: Any, steps: int, batch: int) -> Array:
    lengths = np.asarray(value)
    if lengths.dtype.kind not in "iu" or lengths.shape != (batch,):
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


class Packed(NamedTuple):
    """Where the rows of a PackedSequence lie in the network's layout."""

    input: Input
    rows: Array  # [N], place of packed row n


def packed(spec: Spec, value: Any) -> Packed:
    """A PackedSequence, sorted or not, its valid rows copied into the network's layout.

    Sequences keep their original order, so states need no permutation.
    """
    data = tensors.to_array(value.data, "input", spec.dtype)
    if data.ndim != 2:
        raise RuntimeError(f"input must have 2 dimensions, got {data.ndim}")
    check_width(spec, data)
    sizes = value.batch_sizes.numpy()
    if not len(sizes) or sizes[-1] < 1 or (np.diff(sizes) > 0).any() or sizes.sum() != len(data):
        raise RuntimeError("batch_sizes: positive, never rising, adding up to the rows of data")
    steps, batch = len(sizes), int(sizes[0])
    t = np.repeat(np.arange(steps), sizes)
    rank = np.arange(len(data)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.arange(batch) if value.sorted_indices is None else value.sorted_indices.numpy()
    b = order[rank]
    lengths = np.bincount(b, minlength=batch).astype(np.uintp)
    places = b * steps + t if spec.batch_first else t * batch + b
    x = np.empty((steps * batch, spec.input_size), data.dtype)
    x[places] = data
    return Packed(Input(x, steps, batch, lengths), places)


def state_views(plan: Plan, memory: Array) -> tuple[Array, ...]:
    """The C states [B] in `memory` [B, S], seen as torch's h [L*D, B, P] and c [L*D, B, H]."""
    views, at, passes = [], 0, len(plan.steps)
    for width in plan.state_sizes.values():
        part = memory[:, at : at + passes * width]
        views.append(part.reshape(len(memory), passes, width).transpose(1, 0, 2))
        at += passes * width
    return tuple(views)


def state(plan: Plan, hx: Any, batch: int, dims: int, given: str) -> Array:
    """Memory [B, S] of the C states, filled with hx, or zero where that is None.

    `dims` is 3, or 2 for an unbatched call that is `given` so. Raises RuntimeError, TypeError.
    """
    dtype, passes = plan.dtype.name, len(plan.steps)
    memory = np.zeros((batch, passes * sum(plan.state_sizes.values())), dtype)
    if hx is None:
        return memory
    values = _members(plan, hx)
    arrays = [tensors.to_array(value, "hx", dtype) for value in values]
    if any(a.ndim != dims for a in arrays):
        names = "hx and cx" if len(arrays) == 2 else "hx"
        got = ", ".join(f"{a.ndim}-D" for a in arrays)
        tail = f"({got}) tensors" if len(arrays) == 2 else f"{got} tensor"
        raise RuntimeError(f"For {given} input, {names} should also be {dims}-D but got {tail}")
    views = state_views(plan, memory)
    for n, (view, array) in enumerate(zip(views, arrays, strict=True)):
        whole = array[:, None] if dims == 2 else array
        if whole.shape != view.shape:
            name = f"hidden[{n}]" if len(arrays) == 2 else "hidden"
            raise RuntimeError(f"Expected {name} size {view.shape}, got {list(whole.shape)}")
        view[...] = whole
    return memory


def _members(plan: Plan, hx: Any) -> Sequence[Any]:
    """h_0 and, for an LSTM, c_0."""
    if len(plan.state_sizes) == 1:
        return (hx,)
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise TypeError(f"LSTM: hx is a pair (h_0, c_0); got {type(hx).__name__}")
    return hx
