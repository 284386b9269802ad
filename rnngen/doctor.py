"""What this machine can build, and what one core of it can do."""

from __future__ import annotations

import platform
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rnngen import cache, compiler, machine, processor
from rnngen.dtypes import DTYPES
from rnngen.errors import BuildError, RnngenError
from rnngen.targets import ISAS, NATIVE, TARGETS


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    needed: bool = True  # to build and run; otherwise only to validate or to go faster
    figures: dict[str, Any] | None = None  # for programs


def examine(measure: bool = False) -> list[Finding]:
    """Look at everything; `measure` takes some seconds more. Nothing raises."""
    looked: list[tuple[str, Callable[[], str], bool]] = [
        ("python", lambda: f"{platform.python_version()} at {sys.executable}", True),
        ("compiler", lambda: _compiler("c", 0), True),
        ("Python.h", _headers, True),
        ("vectors", _vectors, False),
        ("cache", _cache, True),
        ("torch", lambda: _version("torch"), False),
        ("nvcc", lambda: _compiler("cuda", -1), False),
        ("device", _cards, False),
    ]
    return [*(_look(*entry) for entry in looked), _limits(measure)]


def _look(name: str, look: Callable[[], str], needed: bool) -> Finding:
    try:
        return Finding(name, True, look(), needed)
    except RnngenError as error:
        return Finding(name, False, str(error), needed)


def _limits(measure: bool) -> Finding:
    """What one core can do, measured now or once before."""
    try:
        found = machine.measure() if measure else machine.known()
    except RnngenError as error:
        return Finding("one core", False, str(error), measure)
    if found is None:
        return Finding("one core", False, "not measured: rnngen doctor --measure", False)
    lines = [f"{found.flops_for(d) / 1e9:,.1f} GFLOP/s {d.name}" for d in DTYPES.values() if d.exp]
    rates = found.bandwidth.items()
    lines += [f"{rate / 1e9:,.1f} GB/s reading {size >> 10:,} KiB" for size, rate in rates]
    return Finding("one core", True, "\n".join(lines), measure, asdict(found))


def _compiler(target: str, line: int) -> str:
    """The compiler of a target, and the line of what it says that has its version."""
    cc = compiler.find(TARGETS[target])
    with tempfile.TemporaryDirectory() as folder:
        lines = cc.run("--version", folder=Path(folder)).splitlines()
    return f"{' '.join(cc.command)}: {lines[line] if lines else 'no version'}"


def _cards() -> str:
    """NVIDIA's cards that the driver knows."""
    if not (found := processor.cards()):
        raise RnngenError("no CUDA device; what is generated for one can be compiled, not run")
    return ", ".join(found)


def _headers() -> str:
    path = Path(sysconfig.get_path("include"), "Python.h")
    if not path.is_file():
        raise BuildError(f"not at {path}; install python3-dev")
    return str(path)


def _vectors() -> str:
    """The widest instruction set that the compiler targets on this machine; what isa auto picks."""
    target = TARGETS["c"]
    cc = compiler.find(target)
    flags = (*target.flags, *NATIVE, *cc.flags)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.c").touch()
        macros = cc.run(*flags, "-dM", "-E", "empty.c", folder=Path(folder)).split()
    for isa in ISAS:
        if isa.macro in macros:
            widest = f"{isa.vector_bytes * 8} bits ({isa.macro.strip('_')})"
            return f"{widest}; isa auto picks {processor.best()}"
    raise RnngenError("none that rnngen knows; plain C99 is used")


def _cache() -> str:
    """The folder, in which a file could be made just now."""
    folder = cache.folder()
    try:
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError as error:
        raise BuildError(f"{folder}: {error.strerror}") from None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise RnngenError("not installed; validate and bench need it") from None
