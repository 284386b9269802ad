"""The processor of this machine: what it is, and which levels of instructions it has."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from rnngen.errors import BuildError
from rnngen.targets import LEVELS, Level

_CPUINFO = Path("/proc/cpuinfo")
_CARDS = Path("/proc/driver/nvidia/gpus")
_NAMES = {level.name: level for level in LEVELS}


def identity() -> str:
    """What -march=native depends on: a cache may be shared between machines."""
    keys = ("model name", "flags", "Features", "CPU part")
    found = sorted({line for line in _cpuinfo() if line.startswith(keys)})
    return json.dumps(found) if found else platform.processor()


def cards() -> tuple[str, ...]:
    """NVIDIA's cards in this machine, which code for `native` CUDA depends on; none elsewhere."""
    texts = (path.read_text() for path in _CARDS.glob("*/information"))
    models = (line for text in texts for line in text.splitlines() if line.startswith("Model:"))
    return tuple(sorted(line.removeprefix("Model:").strip() for line in models))


def best() -> str:
    """The level that a library of all of them picks here."""
    return next((level.name for level in LEVELS if not _lacks(level)), "portable")


def suffix(isa: str) -> str:
    """Of the C functions to call, for a spec's isa: none where C is to choose, or has no choice.

    RNNGEN_ISA names a level for libraries that hold them all. Raises BuildError if there is no
    such level, or this processor lacks it.
    """
    wish = os.environ.get("RNNGEN_ISA", "")
    if wish not in ("", "portable", *_NAMES):
        raise BuildError(f"RNNGEN_ISA: portable, avx2 or avx512; got {wish!r}")
    _require("isa", isa)
    if isa != "auto" or not wish:
        return ""
    _require("RNNGEN_ISA", wish)
    return f"_{wish}"


def _require(place: str, name: str) -> None:
    level = _NAMES.get(name)
    if level and (lacking := _lacks(level)):
        rule = f"{place}: {name} needs a processor with {level.title}"
        raise BuildError(f"{rule}; this one lacks {', '.join(lacking)}")


def _lacks(level: Level) -> tuple[str, ...]:
    """Its features that this processor has not; where the system does not say, none of x86-64."""
    lines = _cpuinfo()
    if not lines and platform.machine() in ("x86_64", "AMD64"):
        return ()
    has = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return tuple(feature for feature in level.features if feature not in has)


def _cpuinfo() -> list[str]:
    """Lines about the processor, where there is Linux."""
    return _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
