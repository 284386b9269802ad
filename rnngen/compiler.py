"""A C compiler: which one, and one call of it under a time limit. The only user of subprocess."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from rnngen.errors import BuildError
from rnngen.targets import Target

TIMEOUT = 300.0  # seconds; the largest net allowed compiles in a tenth of it
_KEPT = 64 * 1024  # bytes of output; a compiler that babbles on is read and dropped
_SHOWN = 20  # lines of it in a message


@dataclass(frozen=True)
class Compiler:
    """A command that is there, with the user's own flags."""

    command: tuple[str, ...]  # may carry a wrapper: ccache gcc
    flags: tuple[str, ...]  # CFLAGS
    identity: str  # changes when a program in the command does

    def run(self, *args: str, folder: Path) -> str:
        """Call it in `folder`; returns what it printed, up to 64 KiB.

        Raises BuildError with the command and its own words.
        """
        return run([*self.command, *args], folder)


def find(target: Target) -> Compiler:
    """The compiler that CC names (NVCC for CUDA), else the first of the target's on PATH.

    Raises BuildError if there is none.
    """
    variable, flags_variable = target.variables
    wish = os.environ.get(variable, "").strip()
    known = [*((name,) for name in target.compilers), *_wheels(target)]
    candidates = [tuple(_split(variable, wish))] if wish else known
    flags = tuple(_split(flags_variable, os.environ.get(flags_variable, "")))
    for command in candidates:
        if path := shutil.which(command[0]):
            return Compiler((os.path.abspath(path), *command[1:]), flags, _identity(command))
    looked = f"{variable}={wish}" if wish else ", ".join(target.compilers)
    raise BuildError(
        f"compiler: {target.title} on PATH; found none ({looked}). {target.cure} "
        "`rnngen generate` needs none."
    )


def _wheels(target: Target) -> list[tuple[str, ...]]:
    """The target's compilers inside Python packages, where PyPI's nvidia-cuda-nvcc puts one.

    What Python imports first comes first. It does not know where the libraries beside it are.
    """
    package = importlib.util.find_spec("nvidia")
    places = (package and package.submodule_search_locations) or ()
    patterns = [(place, f"*/bin/{name}") for place in places for name in target.compilers]
    paths = [path for place, pattern in patterns for path in sorted(Path(place).glob(pattern))]
    return [(str(path), f"-L{path.parents[1] / 'lib'}") for path in paths]


def _identity(command: tuple[str, ...]) -> str:
    """What the programs in a command are: a compiler and what wraps it."""
    found = [os.path.realpath(path) for word in command if (path := shutil.which(word))]
    stats = [os.stat(path) for path in found]
    return json.dumps([found, [(s.st_size, s.st_mtime_ns) for s in stats]])


def _split(variable: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BuildError(
            f"{variable}: words as a shell reads them; got {text!r} ({error})"
        ) from None


def run(command: list[str], folder: Path) -> str:
    """Run one command to its end, in a group of its own that dies with the time limit."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"compiler: {command[0]} cannot be started: {error.strerror}") from None
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(TIMEOUT, stop)
    timer.start()
    try:
        output = _read(process)
        code = process.wait()
    except BaseException:  # Ctrl-C too leaves no compiler behind
        _kill(process)
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise BuildError(f"compiler: an answer within {TIMEOUT:g} s; stopped {shlex.join(command)}")
    if code:
        raise BuildError(f"compiler: exit code {code} from {shlex.join(command)}\n{_head(output)}")
    return output.decode(errors="replace")


def _read(process: subprocess.Popen[bytes]) -> bytes:
    """The first part of the output; the rest is read so that the process can go on."""
    assert process.stdout is not None
    kept = b""
    with process.stdout as pipe:
        while chunk := os.read(pipe.fileno(), _KEPT):
            kept += chunk[: _KEPT - len(kept)]
    return kept


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _head(output: bytes) -> str:
    lines = output.decode(errors="replace").splitlines()
    more = [f"... and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else []
    return "\n".join([*(line[:300] for line in lines[:_SHOWN]), *more])
