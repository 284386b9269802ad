"""Draws what cpu.py measured: speed-ups, GFLOP/s under the roofline, time a step over its floor.

python benchmarks/plot.py [FILE] [--out DIR]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import results

RESULTS = Path(__file__).parent / "results"
WIDTH = 9.0  # inches; a README shows it about 90 pixels an inch
Value = Callable[[dict[str, Any], float], float]  # of a cell and its seconds a call
CELLS = ("lstm", "gru")
COMPARED = ("torch", "onnxruntime", "openvino", "MNN")
LIMIT = "limit of the core"
SHOWN = {2**15: "32 KiB", 2**19: "512 KiB", 2**22: "4 MiB", 2**25: "32 MiB"}  # of bandwidths
SPAN = 3  # of the colours: to 2**3 times as fast or slow
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "figure.facecolor": "white",
    "svg.hashsalt": "rnngen",  # the same numbers give the same bytes
}


@dataclass(frozen=True)
class Look:
    """How an implementation appears in every picture."""

    label: str
    short: str
    color: str
    marker: str


@dataclass(frozen=True)
class Words:
    """What stands above a picture."""

    title: str
    note: str
    legend: bool = False  # whether there is room for one


LOOKS = {
    "rnngen": Look("rnngen", "rnngen", "#c1272d", "o"),
    "torch": Look("torch", "torch", "#e69f00", "s"),
    "torch-compile": Look("torch.compile", "compile", "#8c6d31", "D"),
    "onnxruntime": Look("ONNX Runtime", "ORT", "#0072b2", "^"),
    "openvino": Look("OpenVINO", "OV", "#7b4ea3", "v"),
    "mnn": Look("MNN", "MNN", "#009e73", "P"),
}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS / "cpu.json")
    parser.add_argument("--out", type=Path, help="folder of the pictures; the file's by default")
    options = parser.parse_args(arguments)
    draw(json.loads(options.file.read_text()), options.out or options.file.parent)


def draw(document: dict[str, Any], folder: Path) -> None:
    """Write every picture as SVG and PNG."""
    pictures = {"speedup": speedup, "roofline": roofline, "steps": steps}
    with matplotlib.rc_context(STYLE):
        for name, picture in pictures.items():
            figure = picture(document)
            for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                path = folder / f"cpu-{name}.{suffix}"
                figure.savefig(path, dpi=200, metadata=metadata)


def speedup(document: dict[str, Any]) -> Figure:
    """Heat maps, one a cell and T: B over H, how many times as fast as the best peer."""
    cells = results.plain(document["cells"])
    lengths = values(cells, "steps")
    shorts = [f"{p.short} = {p.label}" for p in LOOKS.values() if p.short != p.label]
    title = "Speed of rnngen beside the fastest other runtime (2.00 = half the time)"
    note = f"below each number the fastest other: {', '.join(shorts)}"
    figure, grid = panels(document, CELLS, lengths, 5.8, Words(title, note))
    for (cell, length), axes in grid.items():
        shown = results.plain(cells, cell=cell, steps=length)
        image = heat(axes, shown, values(cells, "hidden_size"), values(cells, "batch"))
        axes.set_title(f"{cell.upper()}, {length} step{'s' if length > 1 else ''} a call")
    scale(figure, image, list(grid.values()))
    return figure


def scale(figure: Figure, image: Any, axes: list[Axes]) -> None:
    """What the colours of a heat map mean, beside it."""
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=40, extend="both")
    powers = range(1, SPAN + 1)
    ends = [f"{2**n}x slower" for n in reversed(powers)], [f"{2**n}x faster" for n in powers]
    bar.set_ticks(range(-SPAN, SPAN + 1), labels=[*ends[0], "equal", *ends[1]])


def heat(axes: Axes, cells: list[dict[str, Any]], sizes: list[int], batches: list[int]) -> Any:
    """One panel [B][H]: colour and text of every cell."""
    colors = np.full((len(batches), len(sizes)), np.nan)
    for cell in cells:
        row, column = batches.index(cell["batch"]), sizes.index(cell["hidden_size"])
        ratio, best = results.speedup(cell), results.best_peer(cell)
        label = cell["results"][results.OWN]["status"]
        if ratio:
            colors[row, column] = log2(ratio)
            label = f"{ratio:.{1 if ratio >= 9.95 else 2}f}"
        other = LOOKS[best[0]].short if best else ""
        ink = "white" if abs(colors[row, column]) > 0.55 * SPAN else "black"
        place: dict[str, Any] = {"ha": "center", "color": ink}
        axes.text(column, row - 0.05, label, va="bottom", weight="bold", **place)
        axes.text(column, row + 0.05, other, va="top", fontsize=7.5, **place)
    axes.set_xticks(range(len(sizes)), labels=map(str, sizes))
    axes.set_yticks(range(len(batches)), labels=map(str, batches))
    axes.set(xlabel="units H (= inputs I)", ylabel="sequences B")
    axes.grid(visible=False)
    map_ = matplotlib.colormaps["RdBu"].with_extremes(bad="#dddddd")
    return axes.imshow(colors, cmap=map_, vmin=-SPAN, vmax=SPAN, aspect="auto")


def roofline(document: dict[str, Any]) -> Figure:
    """GFLOP/s over H, one panel a cell and B, under what the core can do."""
    cells = results.plain(document["cells"], steps=100)
    batches = values(cells, "batch")
    words = Words("GFLOP/s of the matrix products, 100 steps a call", reach(document), True)
    figure, grid = panels(document, CELLS, batches, 5.4, words, share=True)
    for (cell, batch), axes in grid.items():
        chosen = results.plain(cells, cell=cell, batch=batch)
        lines(axes, chosen, lambda c, seconds: c["flops"] / seconds / 1e9, ceiling=True)
        axes.set_title(f"{cell.upper()}, B = {batch}")
    for row in CELLS:
        grid[row, batches[0]].set_ylabel("GFLOP/s")
    for batch in batches:
        grid[CELLS[-1], batch].set_xlabel("units H (= inputs I)")
    legend(figure, grid)
    return figure


def steps(document: dict[str, Any]) -> Figure:
    """Nanoseconds a step over H, one sequence of 100 steps, above what the core can do."""
    cells = results.plain(document["cells"], steps=100, batch=1)
    title = "Time a step takes: one sequence (B = 1), 100 steps a call"
    note = "grey: below multiply-adds and weights read in a circle at the core's rates; "
    note += "with few units the wait for the step before counts more"
    figure, grid = panels(document, ("",), CELLS, 4.4, Words(title, note, True), share=True)
    for (_, cell), axes in grid.items():
        chosen = results.plain(cells, cell=cell)
        lines(axes, chosen, lambda c, seconds: seconds / c["steps"] * 1e9, ceiling=False)
        axes.set_title(cell.upper())
        axes.set_xlabel("units H (= inputs I)")
    grid["", CELLS[0]].set_ylabel("nanoseconds a step")
    legend(figure, grid)
    return figure


def lines(axes: Axes, cells: list[dict[str, Any]], value: Value, ceiling: bool) -> None:
    """One line an implementation, rnngen's on top; beyond the core's limit all is grey."""
    for name, look in reversed(LOOKS.items()):
        times = [(c, results.median(c, name)) for c in cells]
        points = [(c["hidden_size"], value(c, seconds)) for c, seconds in times if seconds]
        style: dict[str, Any] = {"color": look.color, "marker": look.marker, "label": look.label}
        width, size = (2.4, 5) if name == results.OWN else (1.2, 4)
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=width, markersize=size, **style)
    limit = [(c["hidden_size"], value(c, c["floor_s"])) for c in cells if c["floor_s"]]
    if limit:
        sizes, ends = zip(*limit, strict=True)
        axes.plot(sizes, ends, color="black", linestyle="--", linewidth=1, label=LIMIT)
        beyond = max(ends) * 1.6 if ceiling else min(ends) / 1.6
        axes.fill_between(sizes, ends, beyond, color="#eeeeee", zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda number, _: f"{number:,.10g}")
    axes.set_xticks(values(cells, "hidden_size"), labels=map(str, values(cells, "hidden_size")))
    axes.tick_params(axis="x", labelsize=7)
    axes.minorticks_off()


def panels(
    document: dict[str, Any],
    rows: Sequence[Any],
    columns: Sequence[Any],
    height: float,
    words: Words,
    share: bool = False,
) -> tuple[Figure, dict[tuple[Any, Any], Axes]]:
    """A figure with empty axes by row and column; above what it shows, below what was measured."""
    figure = Figure(figsize=(WIDTH, height))
    head, foot = (0.75 if words.legend else 0.5) / height, 0.38 / height
    figure.set_layout_engine("constrained", rect=(0, foot, 1, 1 - head - foot))
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=share, sharey=share)
    gray: dict[str, Any] = {"fontsize": 7.5, "color": "#555555"}
    figure.text(0.01, 1 - 0.07 / height, words.title, va="top", fontsize=11, weight="bold")
    figure.text(0.01, 1 - 0.3 / height, words.note, va="top", **gray)
    figure.text(0.01, 0.05 / height, caption(document), va="bottom", **gray)
    keys = itertools.product(rows, columns)
    return figure, dict(zip(keys, axes.flat, strict=True))


def legend(figure: Figure, grid: dict[tuple[Any, Any], Axes]) -> None:
    """One for all panels, above them."""
    found: dict[str, Any] = {}
    for axes in grid.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    order = [label for label in (*(look.label for look in LOOKS.values()), LIMIT) if label in found]
    handles, height = [found[label] for label in order], figure.get_figheight()
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1 - 0.43 / height), "borderpad": 0.4}
    figure.legend(handles, order, ncols=len(order), frameon=False, columnspacing=1.3, **place)


def caption(document: dict[str, Any]) -> str:
    """Machine, versions and date in two lines."""
    machine, versions = document["machine"], document["versions"]
    known = [f"{name} {versions[name]}" for name in COMPARED if name in versions]
    family = f" (family {machine['family']})" if machine["family"] else ""
    where = f"{machine['cpu']}{family}, {machine['vectors']}, one thread on one core, float32"
    known.append(f"rnngen by {machine['compiler']}")
    return f"{where}, medians, {document['date']}\n{', '.join(known)}"


def reach(document: dict[str, Any]) -> str:
    """What the core's limits are made of."""
    machine = document["machine"]
    if not machine["flops"]:
        return ""
    rates = {int(size): rate for size, rate in machine["bandwidth"].items()}
    reads = [f"{rates[k] / 1e9:.0f} from {t}" for k, t in SHOWN.items() if k in rates]
    peak = f"{machine['flops'] / 1e9:.0f} GFLOP/s of multiply-adds"
    circle = "weights read in a circle"
    return f"grey: out of reach with {peak} and, in GB/s, {circle} at {', '.join(reads)}"


def values(cells: list[dict[str, Any]], field: str) -> list[Any]:
    """What a field takes, in order."""
    return sorted({cell[field] for cell in cells})


if __name__ == "__main__":
    main()
