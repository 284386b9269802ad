"""Compiled modules on disk: one folder a build, locked while it is made, checked before it is used.

<user cache>/rnngen/<key>/<module>.abi3.so and digest.json
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from rnngen.errors import BuildError


@dataclass(frozen=True)
class Entry:
    """One compiled module."""

    path: Path
    code_bytes: int  # machine code of the networks, without the Python glue


def entry(key: str, name: str, make: Callable[[Path], int]) -> Entry:
    """The module `name` of the build `key`; made by `make(folder) -> code_bytes` if need be.

    However many processes ask at once, one makes it. Raises BuildError if the folder cannot be
    used, or whatever `make` raises; then nothing is left behind.
    """
    root = folder()
    try:
        if found := _valid(root / key, name):
            return found
        with FileLock(root / f"{key}.lock"):
            return _valid(root / key, name) or _made(root, key, name, make)
    except OSError as error:
        raise BuildError(f"cache: a folder that can be written; {_reason(root, error)}") from None


def folder() -> Path:
    """The cache folder, made if need be. Loading from it runs code, so only its owner may write.

    Raises BuildError.
    """
    root = user_cache_path("rnngen", appauthor=False)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise BuildError(f"cache: a folder that can be written; {_reason(root, error)}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise BuildError(f"cache: a folder; got something else at {root}")
    if found.st_uid != os.getuid():
        raise BuildError(f"cache: a folder of your own; {root} belongs to user {found.st_uid}")
    if found.st_mode & 0o022:
        mode = stat.S_IMODE(found.st_mode)
        raise BuildError(f"cache: a folder that only you can write; {root} has mode {mode:04o}")
    return root


def _reason(root: Path, error: OSError) -> str:
    where = error.filename or root
    return f"got {error.strerror} at {where}. XDG_CACHE_HOME names another place"


def _made(root: Path, key: str, name: str, make: Callable[[Path], int]) -> Entry:
    """Build beside, then rename: whoever looks sees all of it or nothing."""
    place = root / key
    for ruin in (place, *root.glob(f"{key}.*")):  # damaged, or begun by a process that was killed
        if ruin.is_dir() and not ruin.is_symlink():
            shutil.rmtree(ruin, ignore_errors=True)
        elif ruin.suffix != ".lock":
            ruin.unlink(missing_ok=True)
    private = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=root))
    try:
        code_bytes = make(private)
        path = private / f"{name}.abi3.so"
        record = {"sha256": _sha256(path), "code_bytes": code_bytes}
        (private / "digest.json").write_text(json.dumps(record))
        os.replace(private, place)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return Entry(place / path.name, code_bytes)


def _valid(place: Path, name: str) -> Entry | None:
    """The entry if its bytes are those that were written."""
    path = place / f"{name}.abi3.so"
    try:
        record = json.loads((place / "digest.json").read_text())
        if record["sha256"] == _sha256(path):
            return Entry(path, int(record["code_bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
