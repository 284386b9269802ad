"""Results -> tables on stdout for people, JSON for programs; progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnngen.bench import Row
from rnngen.doctor import Finding
from rnngen.jobs import Built
from rnngen.validate import Report


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
    report, net = result.report, result.net
    folder = result.files[0].parent
    if as_json:
        errors = (report.error, report.torch_error, report.ok) if report else (None,) * 3
        keys = ("error", "torch_error", "ok")
        files = [str(path) for path in result.files]
        data({"files": files, **result.sizes, **dict(zip(keys, errors, strict=True))})
        return
    if quiet:
        return
    table = _table(f"{net.spec.name}: {net.plan.model.summary}, {net.spec.dtype}")
    table.add_row("files", "\n".join(str(path) for path in result.files))
    for name, size in result.sizes.items():
        table.add_row(name.replace("_bytes", "").replace("_", " "), f"{size:,} bytes")
    table.add_row("largest error", _errors(report))
    _show(table)
    weights = "" if net.arrays() else '"weights.safetensors"'
    code = f"import {net.spec.name}; net = {net.spec.name}.load({weights})"
    print(f"\nNext:  PYTHONPATH={folder.parent} python -c '{code}'")
    print(
        f"       pip install ./{folder}"
        if not folder.is_absolute()
        else f"       pip install {folder}"
    )


def _errors(report: Report | None) -> str:
    if report is None:
        return "not measured: torch is not installed"
    verdict = "" if report.ok else "  FAILED"
    return f"{report.error:.1e} from torch float64 (torch's own {report.torch_error:.1e}){verdict}"


def validated(report: Report, as_json: bool, quiet: bool) -> None:
    """Every call of the grid, then the verdict."""
    if as_json:
        rows = [
            {
                **vars(line.case),
                "error": line.error,
                "torch_error": line.torch_error,
                "limit": line.limit,
                "ok": line.ok,
            }
            for line in report.lines
        ]
        data({"ok": report.ok, "lines": rows})
        return
    if not quiet:
        names = ("T", "B", "layout", "lengths", "states", "error", "torch's own", "limit", "")
        table = _table(None, *names)
        for line in report.lines:
            case = line.case
            table.add_row(
                str(case.steps),
                str(case.batch),
                "batch first" if case.batch_first else "time first",
                "ragged" if case.ragged else "equal",
                "given" if case.states else "zero",
                *(f"{number:.1e}" for number in (line.error, line.torch_error, line.limit)),
                "ok" if line.ok else "FAILED",
            )
        _show(table)
    print(report)


def timed(rows: Sequence[Row], as_json: bool) -> None:
    """Times beside torch's."""
    if as_json:
        data([{**vars(row), "ratio": row.ratio} for row in rows])
        return
    table = _table(
        "median of interleaved repeats, 1 thread, pinned", "T", "B", "rnngen", "torch", ""
    )
    for row in rows:
        own, theirs = (f"{seconds * 1e6:,.1f} us" for seconds in (row.own, row.torch))
        table.add_row(str(row.steps), str(row.batch), own, theirs, f"{row.ratio:.1f}x")
    _show(table)


def examined(findings: Sequence[Finding], as_json: bool) -> None:
    """What the machine has."""
    if as_json:
        data([vars(finding) for finding in findings])
        return
    table = _table(None)
    for finding in findings:
        mark = "ok" if finding.ok else ("missing" if finding.needed else "none")
        table.add_row(finding.name, mark, finding.detail)
    _show(table)


def _table(title: str | None, *columns: str) -> Table:
    """A plain table under a printed title; where it has columns, these go to the right."""
    if title:
        print(title)
    table = Table(box=None, show_header=bool(columns), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _show(table: Table) -> None:
    """Print it; as wide as it needs to be where nobody's terminal would wrap it."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=200)
    for column in table.columns:
        column._cells = [Text(str(cell)) for cell in column._cells]  # no markup in paths
    console.print(table)
