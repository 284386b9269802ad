"""Results -> tables on stdout for people, JSON for programs; progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnngen.bench import Row
from rnngen.doctor import Finding
from rnngen.jobs import Built
from rnngen.machine import PINNED
from rnngen.validate import Line, Report

LABELS = {
    "code_bytes": "machine code",
    "weight_bytes": "packed weights",
    "workspace_bytes": "workspace",
    "workspace_bytes_per_sequence": "more per sequence",
    "workspace_bytes_per_step": "more per step",
    "state_bytes": "state",
}


def note(text: str) -> None:
    """A message for people, as it is: no colour, no wrapping, on stderr."""
    print(text, file=sys.stderr)


def data(value: Any) -> None:
    """A result for programs."""
    print(json.dumps(value, indent=2))


@contextmanager
def progress(what: str, quiet: bool) -> Iterator[None]:
    """Say what takes a while; a spinner on a terminal, a line elsewhere."""
    console = Console(stderr=True)
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(what):
            yield
    else:
        note(f"{what} ...")
        yield


def paths(files: Sequence[Path], as_json: bool, quiet: bool) -> None:
    """What was written."""
    if as_json:
        data({"files": [str(path) for path in files]})
    elif not quiet:
        print(*files, sep="\n")


def built(result: Built, as_json: bool, quiet: bool) -> None:
    """What `build` made, how large and how exact it is, and what to type next."""
    if as_json:
        _built_as_json(result)
    elif not quiet:
        net = result.net
        rows = [["files", "\n".join(str(path) for path in result.files)]]
        rows += [[LABELS[name], f"{size:,} bytes"] for name, size in result.sizes.items()]
        rows += [["largest error", _errors(result)]]
        _table(f"{net.spec.name}: {net.plan.model.summary}, {net.spec.dtype}", rows)
        _next(result)


def _built_as_json(result: Built) -> None:
    report, files = result.report, [str(path) for path in result.files]
    errors = (report.error, report.torch_error, report.ok) if report else (None, None, None)
    named = dict(zip(("error", "torch_error", "ok"), errors, strict=True))
    data({"files": files, **result.sizes, **named})


def _next(result: Built) -> None:
    """What to type now."""
    name, folder = result.net.spec.name, result.files[0].parent
    weights = "" if result.net.arrays() else '"weights.safetensors"'
    code = f"import {name}; net = {name}.load({weights})"
    place = quote(str(folder) if folder.is_absolute() else f"./{folder}")
    print(f"\nNext:  PYTHONPATH={quote(str(folder.parent))} python -c '{code}'")
    if result.net.spec.target == "c":
        print(f"       pip install {place}")


def _errors(result: Built) -> str:
    report = result.report
    if report is None:
        lacking = "torch is" if result.net.spec.target == "c" else "torch or a CUDA device is"
        return f"not measured: {lacking} not installed"
    verdict = "" if report.ok else "  FAILED"
    return f"{report.error:.1e} from torch float64 (torch's own {report.torch_error:.1e}){verdict}"


def validated(report: Report, as_json: bool, quiet: bool) -> None:
    """Every call of the grid, then the verdict."""
    if as_json:
        lines = [
            vars(line.case)
            | {"error": line.error, "torch_error": line.torch_error, "ok": report.holds(line)}
            for line in report.lines
        ]
        data({"ok": report.ok, "limit": report.limit, "lines": lines})
        return
    if not quiet:
        names = ["T", "B", "layout", "lengths", "states", "error", "torch's own", ""]
        _table(None, [_cells(line, report.holds(line)) for line in report.lines], names)
    print(report)


def _cells(line: Line, ok: bool) -> list[str]:
    case = line.case
    return [
        str(case.steps),
        str(case.batch),
        "batch first" if case.batch_first else "time first",
        "ragged" if case.ragged else "equal",
        "given" if case.states else "zero",
        *(f"{number:.1e}" for number in (line.error, line.torch_error)),
        "ok" if ok else "FAILED",
    ]


def timed(rows: Sequence[Row], as_json: bool) -> None:
    """Times beside those of torch and others, with how many times longer they took."""
    if as_json:
        data([{**vars(row), "ratio": row.ratio} for row in rows])
        return
    others = {"torch": "", **dict.fromkeys(rows[0].peers, "")}
    names = ["T", "B", "rnngen", *(word for pair in others.items() for word in pair)]
    floor = [] if rows[0].floor is None else ["floor"]
    title = f"median of interleaved repeats, 1 thread, {'' if PINNED else 'not '}pinned"
    _table(title, [_times(row) for row in rows], names + floor)
    for name in rows[0].peers:
        said = dict.fromkeys(t for row in rows if isinstance(t := row.peers[name], str))
        print(*(f"{name}: {text}" for text in said), sep="\n", end="\n" if said else "")


def _times(row: Row) -> list[str]:
    cells = [str(row.steps), str(row.batch), _time(row.own)]
    for time in (row.torch, *row.peers.values()):
        if isinstance(time, str):
            cells += [time.split(":")[0], ""]
        else:
            cells += [_time(time), f"{time / row.own:.1f}x"]
    return cells if row.floor is None else [*cells, _time(row.floor)]


def _time(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:,.{1 if us >= 1 else 3}f} us"


def examined(findings: Sequence[Finding], as_json: bool) -> None:
    """What the machine has."""
    if as_json:
        data([vars(finding) for finding in findings])
        return
    marks = {(True, True): "ok", (True, False): "ok", (False, True): "missing"}
    _table(None, [[f.name, marks.get((f.ok, f.needed), "none"), f.detail] for f in findings])


def _table(title: str | None, rows: Sequence[Sequence[str]], names: Sequence[str] = ()) -> None:
    """Print a title and a plain table; where columns have names, they go to the right.

    Where no terminal would wrap it, it is as wide as it needs to be.
    """
    table = Table(box=None, show_header=bool(names), pad_edge=False)
    for name in names or rows[0]:
        table.add_column(name, justify="right" if names else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: no markup in a path
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    print(*([title] if title else []), *map(str.rstrip, captured.get().splitlines()), sep="\n")
