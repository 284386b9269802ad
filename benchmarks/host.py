"""This machine, in words and measured numbers, without its name or a path."""

from __future__ import annotations

import datetime
import os
import platform
import re
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from rnngen import doctor

PACKAGES = ("rnngen", "numpy", "torch", "onnx", "onnxruntime", "openvino", "MNN", "flashrnn")
UNITS = {"K": 1024, "M": 1024**2}


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def describe(core: int) -> dict[str, Any]:
    """Processor, caches, system and compiler; None for what this machine does not tell."""
    found = {finding.name: finding for finding in doctor.examine()}
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or None,
        "family": _cpuinfo("cpu family"),
        "model": _cpuinfo("model"),
        "cores": os.cpu_count(),
        "core": core,
        "mhz": _cpuinfo("cpu MHz"),
        "caches": _caches(core),
        "vectors": found["vectors"].detail,
        "compiler": found["compiler"].detail.split(": ", 1)[-1],
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """What is installed of all that is compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def limits() -> Any:
    """A rnngen.machine.Machine of this core; None where rnngen cannot measure one."""
    try:
        return import_module("rnngen.machine").measure()
    except ImportError:
        return None


def _cpuinfo(field: str) -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    found = re.search(rf"^{field}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else None


def _caches(core: int) -> dict[str, int]:
    """Bytes of each cache that the core reaches: L1d, L1i, L2, L3."""
    sizes = {}
    for folder in sorted(Path(f"/sys/devices/system/cpu/cpu{core}/cache").glob("index*")):
        level, kind, size = ((folder / f).read_text().strip() for f in ("level", "type", "size"))
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        sizes[f"L{level}{suffix}"] = int(size[:-1]) * UNITS[size[-1]]
    return sizes
