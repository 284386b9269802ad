"""Compiled modules on disk, and figures measured: a folder each, locked while it is made.

Whatever is in it is checked before it is used.

<user cache>/rnngen/<key>/<file> and digest.json
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
    """One file."""

    path: Path
    code_bytes: int  # of a module: machine code of the networks, without the Python glue


def entry(key: str, file: str, make: Callable[[Path], int], again: bool = False) -> Entry:
    """The file of that name under the key; made by `make(folder) -> code_bytes` if need be.

    `again` makes it in any case, in the place of what was there. However many processes ask at
    once, one makes it. Raises BuildError if the folder cannot be used, or whatever `make` raises;
    then nothing is left behind.
    """
    root = folder()
    try:
        if not again and (found := _valid(root / key, file)):
            return found
        with FileLock(root / f"{key}.lock"):
            found = None if again else _valid(root / key, file)
            return found or _made(root, key, file, make)
    except OSError as error:
        raise BuildError(f"cache: a folder that can be written; {_reason(root, error)}") from None


def read(key: str, file: str) -> str | None:
    """The text of the file under the key, if it is there and sound. Raises BuildError."""
    found = _valid(folder() / key, file)
    try:
        return found.path.read_text() if found else None
    except OSError:  # another process is renewing it
        return None


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


def _made(root: Path, key: str, file: str, make: Callable[[Path], int]) -> Entry:
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
        record = {"sha256": _sha256(private / file), "code_bytes": code_bytes}
        (private / "digest.json").write_text(json.dumps(record))
        os.replace(private, place)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return Entry(place / file, code_bytes)


def _valid(place: Path, file: str) -> Entry | None:
    """The entry if its bytes are those that were written."""
    path = place / file
    try:
        record = json.loads((place / "digest.json").read_text())
        if record["sha256"] == _sha256(path):
            return Entry(path, int(record["code_bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
