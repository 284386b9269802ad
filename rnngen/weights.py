"""A state_dict or a file of weights -> torch's parameters as arrays, all checked at once."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen import tensors
from rnngen.errors import WeightsError
from rnngen.model import Model

Array = npt.NDArray[Any]
# safetensors' names, and NumPy's of what they are read as; BF16 is the upper half of a float32.
FORMATS = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
MAX_HEADER = 10_000_000  # bytes of a safetensors header: a hundred thousand tensors
_TORCH_SAFE = (2, 10)  # before, loading weights_only could run code: CVE-2026-24747


def load(source: str | Path | Mapping[str, Any], model: Model) -> dict[str, Array]:
    """Parameters under torch's names, in torch's order, in the model's dtype, copied.

    `source` is a .safetensors or .pt file, or a state_dict of tensors or arrays. A narrower dtype
    is widened; a wider one is refused. Raises WeightsError, which lists all that is wrong.
    """
    if isinstance(source, Mapping):
        return _checked(source, model, "")
    if not isinstance(source, str | Path):
        raise WeightsError(f"weights: a path or a state_dict; got {type(source).__name__}")
    path = Path(source)
    readers = {".safetensors": _safetensors, ".pt": _torch_file, ".pth": _torch_file}
    try:
        if not path.is_file():
            got = "a folder" if path.is_dir() else "none"
            raise WeightsError(f"{path}: a weights file; got {got}")
        if path.suffix not in readers:
            raise WeightsError(f"{path}: a .safetensors or .pt file; got '{path.suffix}'")
        state = readers[path.suffix](path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(f"{path}: a file that can be read; got {reason}") from None
    return _checked(state, model, f"{path}: ")


def save(params: Mapping[str, Array], path: Path) -> None:
    """Write a safetensors file. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({name: np.ascontiguousarray(a) for name, a in params.items()}, path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from None
    path.chmod(0o644)  # the library makes it private


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, deserialize

    try:
        _check_header(path)
        views = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
        return {name: _array(view) for name, view in views}
    except SafetensorError as error:
        raise WeightsError(f"{path}: a safetensors file; got {error}") from None


def _array(view: Mapping[str, Any]) -> Array:
    """A tensor of a file."""
    bits = np.frombuffer(view["data"], FORMATS[view["dtype"]]).reshape(view["shape"])
    if view["dtype"] == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits


def _check_header(path: Path) -> None:
    """What the library lets through: a name given twice, and number formats NumPy lacks."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise WeightsError(f"{path}: a safetensors file; got a header of {length} bytes")
        text = file.read(length)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]:
            raise WeightsError(f"{path}: each name once; got {', '.join(sorted(twice))} twice")
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=unique)
        formats = {k: v["dtype"] for k, v in header.items() if k != "__metadata__"}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        raise WeightsError(f"{path}: a safetensors file; got a header that is none") from None
    if foreign := {k: f for k, f in formats.items() if f not in FORMATS}:
        listed = ", ".join(f"{name} {kind}" for name, kind in sorted(foreign.items()))
        raise WeightsError(f"{path}: tensors of {', '.join(FORMATS)}; got {listed}")


def _torch_file(path: Path) -> Mapping[str, Any]:
    """A torch.save file, read without running what it holds; there is no other way in."""
    torch = tensors.torch("reading a .pt file")
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _TORCH_SAFE:
        wanted = ".".join(map(str, _TORCH_SAFE))
        raise WeightsError(f"{path}: torch {wanted} or later to read it; got {torch.__version__}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: a state_dict that torch.save wrote; got {reason}") from None
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: a state_dict; got {type(state).__name__}")
    return state


def _checked(state: Mapping[str, Any], model: Model, place: str) -> dict[str, Array]:
    """The right names, shapes, dtypes and numbers, or one message with all that is wrong."""
    wanted, wrong = model.params, []
    missing = [name for name in wanted if name not in state]
    unknown = [str(name) for name in state if name not in wanted]
    if missing:
        wrong.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    if unknown:
        wrong.append(f"Unexpected key(s) in state_dict: {_quoted(unknown)}. ")
    out: dict[str, Array] = {}
    for name, shape in wanted.items():
        if name in state:
            array, complaint = _parameter(name, state[name], shape, model)
            wrong += [complaint] if complaint else []
            out[name] = array
    if wrong:
        title = f"{place}Error(s) in loading state_dict for {model.cell.torch}:"
        raise WeightsError("\n\t".join([title, *wrong]))
    return out


def _parameter(
    name: str, value: Any, shape: tuple[int, ...], model: Model
) -> tuple[Array, str | None]:
    """One parameter as an array of its own, and what is wrong with it."""
    try:
        array = tensors.to_array(tensors.brought(value), name)
    except (TypeError, ValueError, RuntimeError) as error:
        return np.empty(0), str(error)
    if array.shape != shape:
        return array, (
            f"size mismatch for {name}: copying a param with shape {_size(array.shape)} from "
            f"checkpoint, the shape in current model is {_size(shape)}."
        )
    dtype = model.dtype
    if array.dtype.kind != "f" or not np.can_cast(array.dtype, dtype.array, "safe"):
        return array, f"dtype mismatch for {name}: {dtype.name} or narrower; got {array.dtype}."
    array = array.astype(dtype.array)
    if dtype.name == "bfloat16" and (lost := array.view(np.uint32) & 0xFFFF).any():
        at = tuple(int(n) for n in np.argwhere(lost)[0])
        return array, f"dtype mismatch for {name}: bfloat16; got {array[at]}, which is none."
    if not np.isfinite(array).all():
        at = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0])
        return array, f"not finite: {name}{list(at)} is {array[at]}."
    return array, None


def _size(shape: Iterable[int]) -> str:
    return f"torch.Size({list(shape)})"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
