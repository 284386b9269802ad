"""Rules that no field of a spec can check alone: names taken, fields of another cell, sizes in all.

Works on the fields that are valid by themselves, so that one run reports everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rnngen.dtypes import DTYPES
from rnngen.resources import text
from rnngen.targets import TARGETS

MAX_WEIGHTS = 2**28  # 1 GiB of float32
MAX_PASSES = 256  # layers x directions; each adds lines of C
NAME = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)


class Conflict(NamedTuple):
    field: str
    code: str
    message: str  # rule; got value


def find(given: Mapping[str, Any], folder: Path | None = None) -> list[Conflict]:
    """All conflicts among the fields `given`; with `folder`, where the spec lies, links as well."""
    return [
        *_name(given),
        *_foreign(given),
        *_instructions(given),
        *_numbers(given),
        *_projection(given),
        *_size(given),
        *_path(given, folder),
    ]


def show(value: Any) -> str:
    """A value in a message: short, printable, on one line."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an int too long for Python to print; a nested dict
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _name(given: Mapping[str, Any]) -> list[Conflict]:
    name = given.get("name", "")
    if name in reserved_names():
        return [Conflict("name", "RNN106", f"a name that means nothing else yet; got {show(name)}")]
    return []


def _foreign(given: Mapping[str, Any]) -> list[Conflict]:
    """Fields of another cell. proj_size 0 is torch's default and says nothing."""
    cell = given.get("cell")
    return [
        Conflict(field, "RNN107", f"for cell {owner}; got {show(given[field])} with cell {cell}")
        for field, owner in (("nonlinearity", "rnn"), ("proj_size", "lstm"))
        if given.get(field) and cell not in (None, owner)
    ]


def _instructions(given: Mapping[str, Any]) -> list[Conflict]:
    """Instructions of another target."""
    isa, target = given.get("isa", "auto"), TARGETS[given.get("target", "c")]
    if all(name in target.isas for name in ([isa] if isinstance(isa, str) else isa)):
        return []
    *some, last = target.isas
    message = f"{', '.join(some)} or {last} for target {target.name}; got {show(isa)}"
    return [Conflict("isa", "RNN109", message)]


def _numbers(given: Mapping[str, Any]) -> list[Conflict]:
    """16-bit numbers, which C has no type for."""
    dtype, target = given.get("dtype", "float32"), given.get("target", "c")
    if target == "cuda" or not DTYPES[dtype].half:
        return []
    return [Conflict("dtype", "RNN113", f"for target cuda; got {show(dtype)} with target c")]


def _projection(given: Mapping[str, Any]) -> list[Conflict]:
    proj, hidden = given.get("proj_size", 0), given.get("hidden_size")
    if hidden is not None and proj >= hidden:
        message = f"smaller than hidden_size ({hidden}); got {proj}"
        return [Conflict("proj_size", "RNN108", message)]
    return []


def _size(given: Mapping[str, Any]) -> list[Conflict]:
    """The two bounds that keep a typing mistake from becoming a gigabyte."""
    if not {"cell", "input_size", "hidden_size"} <= set(given):
        return []
    layers, directions = given.get("num_layers", 1), 1 + given.get("bidirectional", False)
    if layers * directions > MAX_PASSES:
        message = f"at most {MAX_PASSES} passes (layers x directions); got {layers} x {directions}"
        return [Conflict("num_layers", "RNN112", message)]
    hidden, proj = given["hidden_size"], given.get("proj_size", 0)
    state, biases = proj or hidden, 2 if given.get("bias", True) else 0
    rows = {"lstm": 4, "gru": 3, "rnn": 1}[given["cell"]] * hidden
    columns = given["input_size"] + (layers - 1) * directions * state  # of weight_ih, all layers
    total = directions * (rows * (columns + layers * (state + biases)) + layers * proj * hidden)
    if total > MAX_WEIGHTS:
        return [Conflict("hidden_size", "RNN111", f"at most 2^28 weights in all; got {total}")]
    return []


def _path(given: Mapping[str, Any], folder: Path | None) -> list[Conflict]:
    path = given.get("weights")
    reason = None if path is None else _path_problem(path, folder)
    return [Conflict("weights", "RNN110", f"{reason}; got {show(path)}")] if reason else []


def _path_problem(path: str, folder: Path | None) -> str | None:
    parts = PurePosixPath(path).parts
    if not path.isprintable() or "\\" in path:
        return "a path of printable characters, with / between folders"
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or ":" in parts[0]:
        return "a relative path without .."
    if not path.endswith(".safetensors"):
        return "a .safetensors file"
    if folder is not None and not _inside(folder, path):
        return "a file below the spec's folder, also behind links"
    return None


def _inside(folder: Path, path: str) -> bool:
    try:
        return (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


@cache
def reserved_names() -> frozenset[str]:
    """Names that mean something to C, C++, Python, POSIX or Windows; see reserved.txt."""
    lines = (line for line in text("reserved.txt").splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())
