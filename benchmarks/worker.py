"""An implementation in a process of its own: no library's threads or settings reach another.

The process takes orders as lines of JSON and answers each with one.
"""

from __future__ import annotations

import gc
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import peers
from cases import Array, Case

PATIENCE = 180.0  # seconds that one order may take
SHORT = 0.2  # seconds: runs up to here are tried more than once
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Loaded:
    """How an implementation took a case."""

    status: str  # "ok", "unsupported" or "failed"
    why: str = ""
    error: float = float("nan")  # from the truth, relative to its largest where that is above 1
    build: float = 0.0  # seconds until the first answer was there
    once: float = 0.0  # seconds a run, roughly


class Local:
    """An implementation in this process."""

    def __init__(self, name: str) -> None:
        self.kind = peers.PEERS[name]
        self.peer: peers.Peer | None = None

    def load(self, case: Case, truth: Path) -> Loaded:
        """Make it ready for a case, and compare its answers with those in a .npz file."""
        self.peer = None
        gc.collect()
        start = time.perf_counter()
        try:
            peer = self.kind(case)
            with peer.mode():
                peer.run()
                build = time.perf_counter() - start
                with np.load(truth) as right:
                    error = distance(peer.result(), list(right.values()))
                once = self._once(peer)
        except peers.UnsupportedError as reason:
            return Loaded("unsupported", str(reason))
        except Exception as failure:  # libraries fail in their own ways; the results say how
            return Loaded("failed", told(failure))
        self.peer = peer
        return Loaded("ok", "", error, build, once)

    def sample(self, warm: int, count: int) -> float:
        """Seconds a run over `count` runs, after `warm` that bring the caches back."""
        assert self.peer is not None
        run, clock = self.peer.run, time.perf_counter_ns
        gc.disable()
        with self.peer.mode():
            for _ in range(warm):
                run()
            start = clock()
            for _ in range(count):
                run()
            spent = clock() - start
        gc.enable()
        return spent / count / 1e9

    def close(self) -> None:
        """Nothing to end."""

    @staticmethod
    def _once(peer: peers.Peer) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            peer.run()
            best = min(best, time.perf_counter() - start)
            if best > SHORT:
                break
        return best


class Remote:
    """An implementation in a process of its own; a new one after it died."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = os.environ | dict.fromkeys(THREADS, "1") | dict(environment)
        self.process: subprocess.Popen[str] | None = None

    def load(self, case: Case, truth: Path) -> Loaded:
        """As `Local.load`."""
        try:
            return Loaded(**self._ask({"load": asdict(case), "truth": str(truth)}))
        except OSError as failure:
            return Loaded("failed", str(failure))

    def sample(self, warm: int, count: int) -> float:
        """As `Local.sample`. Raises OSError if the process died or took too long."""
        return float(self._ask({"warm": warm, "count": count})["seconds"])

    def close(self) -> None:
        """End the process."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        process = self.process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self.close()
            raise TimeoutError(f"no answer in {PATIENCE:.0f} s")
        line = process.stdout.readline()
        if not line:
            self.close()
            raise ChildProcessError("the process died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__, self.name],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def distance(got: list[Array], right: list[Array]) -> float:
    """Largest difference, relative to the largest right number where that is above 1."""
    if [a.shape for a in got] != [a.shape for a in right]:
        return float("inf")
    scale = max(1.0, *(float(abs(a).max()) for a in right))
    worst = [abs(g - r).max() for g, r in zip(got, right, strict=True)]
    return float(np.max(worst)) / scale  # NaN if there is one


def told(failure: Exception) -> str:
    """A failure in one line, without paths of this machine."""
    text = re.sub(r"(/[\w.+-]+){2,}", "...", f"{type(failure).__name__}: {failure}")
    return " ".join(text.split())[:200]


def serve(name: str) -> None:
    """Take orders until there are no more; whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    local = Local(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "load" in order:
            answer = asdict(local.load(Case(**order["load"]), Path(order["truth"])))
        else:
            answer = {"seconds": local.sample(**order)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve(sys.argv[1])
