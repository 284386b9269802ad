"""Draws what gpu.py measured: speed-ups over cuDNN in float32 and in 16 bits, time a step.

Time stands over its floor, which nothing here has measured, and beside what was predicted.

python benchmarks/gpu_plot.py [FILE] [--out DIR]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from math import log2
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gpu_floor
import results
from cpu import of
from gpu_systems import KINDS
from plot import CELLS, RESULTS, SPAN, STYLE, WIDTH, Look, Words, scale, values
from rnngen import strategy
from rnngen.targets import architectures

LOOKS = {
    "rnngen": Look("rnngen, float32", "rnngen", "#c1272d", "o"),
    "rnngen-float16": Look("rnngen, float16", "rnngen 16", "#e5706f", "P"),
    "rnngen-bfloat16": Look("rnngen, bfloat16", "rnngen b16", "#7a1418", "X"),
    "torch": Look("cuDNN, float32", "float32", "#e69f00", "s"),
    "torch-tf32": Look("cuDNN, TF32", "TF32", "#0072b2", "^"),
    "torch-float16": Look("cuDNN, float16", "float16", "#009e73", "v"),
    "torch-bfloat16": Look("cuDNN, bfloat16", "bfloat16", "#7b4ea3", "D"),
    "flashrnn-tf32": Look("flashrnn, TF32", "flash TF32", "#56b4e9", "<"),
    "flashrnn-float16": Look("flashrnn, float16", "flash 16", "#8c8c00", ">"),
    "flashrnn-bfloat16": Look("flashrnn, bfloat16", "flash b16", "#444444", "*"),
}
GATES = {"lstm": 4, "gru": 3}
BATCH = 8  # sequences of the picture of other kinds than single layers
FLOORS = {False: "floor, float32", True: "floor, 16 bits"}
Grid = dict[tuple[Any, Any], Axes]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS / "gpu.json")
    parser.add_argument("--out", type=Path, help="folder of the pictures; the file's by default")
    options = parser.parse_args(arguments)
    draw(json.loads(options.file.read_text()), options.out or options.file.parent)


def draw(document: dict[str, Any], folder: Path) -> None:
    """Write every picture that there are cases for, as SVG and PNG."""
    cells = document["cells"]
    single = results.plain(cells)
    others = [c for c in cells if c not in single and c["batch"] == BATCH]
    pictures = {"speedup": (speedup, single), "speedup-half": (half, single)}
    pictures |= {"steps": (steps, single), "kinds": (kinds, others)}
    with matplotlib.rc_context(STYLE):
        for name, (picture, shown) in pictures.items():
            if not shown:
                continue
            figure = picture(document, shown)
            for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                path = folder / f"gpu-{name}.{suffix}"
                figure.savefig(path, dpi=200, metadata=metadata)


def speedup(document: dict[str, Any], cells: list[dict[str, Any]]) -> Figure:
    """Heat maps, one a T and cell: B over H, how many times as fast as torch in float32."""
    title = "Speed of rnngen beside torch.nn on cuDNN, one layer, float32 (2.00 = half the time)"
    note = (
        "large, and the colour: cuDNN without TF32, which is as exact; small: with TF32; gray: "
        "not measured"
    )
    return maps(document, cells, ("speedup", "speedup_tf32"), Words(title, note))


def half(document: dict[str, Any], cells: list[dict[str, Any]]) -> Figure:
    """The same in 16 bits."""
    title = "Speed of rnngen beside torch.nn on cuDNN, one layer, 16 bits (2.00 = half the time)"
    note = "large, and the colour: float16; small: bfloat16; gray: not measured"
    return maps(document, cells, ("speedup_float16", "speedup_bfloat16"), Words(title, note))


def maps(
    document: dict[str, Any], cells: list[dict[str, Any]], keys: tuple[str, str], words: Words
) -> Figure:
    """Heat maps of two ratios, one a T and cell."""
    lengths, batches = values(cells, "steps"), values(cells, "batch")
    height = 1.2 + len(lengths) * (0.65 + 0.31 * len(batches))
    figure, grid = panels(document, lengths, CELLS, height, words)
    for (length, cell), axes in grid.items():
        shown = results.plain(cells, cell=cell, steps=length)
        image = heat(axes, shown, keys, values(cells, "hidden_size"), batches)
        axes.set_title(f"{cell.upper()}, {length:,} step{'s' if length > 1 else ''} a call")
    for length in lengths:
        grid[length, CELLS[0]].set_ylabel("sequences B")
    for cell in CELLS:
        grid[lengths[-1], cell].set_xlabel("units H (= inputs I)")
    scale(figure, image, list(grid.values()))
    return figure


def heat(
    axes: Axes,
    cells: list[dict[str, Any]],
    keys: tuple[str, str],
    sizes: list[int],
    batches: list[int],
) -> Any:
    """One panel [B][H]: colour and text of every cell."""
    colors = np.full((len(batches), len(sizes)), np.nan)
    for cell in cells:
        row, column = batches.index(cell["batch"]), sizes.index(cell["hidden_size"])
        large, small = (number(cell[key]) for key in keys)
        colors[row, column] = log2(cell[keys[0]]) if large else np.nan
        small = small or cell["results"][results.OWN]["status"]
        ink = "white" if abs(colors[row, column]) > 0.55 * SPAN else "black"
        place: dict[str, Any] = {"ha": "center", "color": ink}
        axes.text(column, row + 0.1, large, va="bottom", fontsize=7, weight="bold", **place)
        axes.text(column, row + 0.1, small, va="top", fontsize=5.5, **place)
    axes.set_xticks(range(len(sizes)), labels=map(str, sizes))
    axes.set_yticks(range(len(batches)), labels=map(str, batches))
    axes.tick_params(labelsize=7)
    axes.grid(visible=False)
    map_ = matplotlib.colormaps["RdBu"].with_extremes(bad="#dddddd")
    return axes.imshow(colors, cmap=map_, vmin=-SPAN, vmax=SPAN, aspect="auto")


def number(ratio: float | None) -> str:
    """A ratio in three digits; nothing for None."""
    if ratio is None:
        return ""
    return f"{ratio:.{2 if ratio < 9.95 else 1 if ratio < 99.5 else 0}f}"


def steps(document: dict[str, Any], cells: list[dict[str, Any]]) -> Figure:
    """Microseconds a step over H in the longest calls, one panel a cell and B."""
    longest = values(cells, "steps")[-1]
    shown = results.plain(cells, steps=longest)
    batches = values(shown, "batch")
    note = (
        "floor: a step's latencies and multiply-adds by this device's rates, not measured; "
        "predicted: what rnngen's plan counts to choose a way in\n"
        "float32. TF32 and 16 bits are less exact: by "
        "how much is in gpu.json"
    )
    words = Words(f"Time a step takes: one layer, {longest:,} steps a call", note, True)
    figure, grid = panels(document, CELLS, batches, 5.4, words, share=True)
    for (cell, batch), axes in grid.items():
        lines(axes, results.plain(shown, cell=cell, batch=batch), values(shown, "hidden_size"))
        floors(axes, document["device"], GATES[cell], batch, values(shown, "hidden_size"))
        forecast(axes, document["device"], cell, batch, values(shown, "hidden_size"))
        axes.set_title(f"{cell.upper()}, B = {batch}")
    label(figure, grid)
    return figure


def kinds(document: dict[str, Any], cells: list[dict[str, Any]]) -> Figure:
    """The same of several layers, both directions and packed sequences, one panel a cell."""
    rows = [name for name, kind in KINDS.items() if any(kind.items() <= c.items() for c in cells)]
    sizes, longest = values(cells, "hidden_size"), values(cells, "steps")[-1]
    note = (
        "a step of 4 layers or both directions is a step of each; packed sequences are 1 to T "
        "steps long, and a step is one of the longest.\n"
        "floor: a step's latencies and multiply-adds by this device's rates, not measured; of "
        "packed sequences that of the longest alone"
    )
    title = f"Time a step takes: B = {BATCH} sequences, T = {longest} steps a call"
    figure, grid = panels(document, rows, CELLS, 7.4, Words(title, note, True), share=True)
    for (name, cell), axes in grid.items():
        mine = [c for c in cells if KINDS[name].items() <= c.items() and c["cell"] == cell]
        lines(axes, mine, sizes)
        passes = KINDS[name].get("num_layers", 1) * (1 + KINDS[name].get("bidirectional", False))
        batch = 1 if "form" in KINDS[name] else BATCH
        floors(axes, document["device"], GATES[cell], batch, sizes, passes)
        axes.set_title(f"{cell.upper()}, {name}")
    label(figure, grid)
    return figure


def label(figure: Figure, grid: Grid) -> None:
    """Words at the left and the bottom, and above all panels what their lines are."""
    (top, left), (bottom, _) = next(iter(grid)), list(grid)[-1]
    for (row, column), axes in grid.items():
        if column == left:
            axes.set_ylabel("microseconds a step")
        if row == bottom:
            axes.set_xlabel("units H (= inputs I)")
    handles, labels = grid[top, left].get_legend_handles_labels()
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1 - 0.56 / figure.get_figheight())}
    style = {"fontsize": 7.5, "columnspacing": 1.0, "handlelength": 1.8, "frameon": False}
    figure.legend(handles, labels, ncols=(len(labels) + 1) // 2, borderpad=0.4, **style, **place)


def lines(axes: Axes, cells: list[dict[str, Any]], sizes: list[int]) -> None:
    """One line a system, rnngen's on top; what has no time is left out."""
    here = {name: look for name, look in LOOKS.items() if any(name in c["results"] for c in cells)}
    for name, look in here.items():
        times = [(c, results.median(c, name)) for c in cells]
        points = [(c["hidden_size"], s / int(of(c).lengths.max()) * 1e6) for c, s in times if s]
        style: dict[str, Any] = {"color": look.color, "marker": look.marker, "label": look.label}
        own = name.startswith(results.OWN)
        style |= {"linewidth": 2.0, "zorder": 3} if own else {"linewidth": 1.1}
        axes.plot(*zip(*sorted(points), strict=True) if points else ([], []), markersize=3, **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    ticks = [size for size in sizes if size.bit_count() == 1]
    ticks = ticks[:: 1 + len(ticks) // 6]
    axes.set_xticks(ticks, labels=map(str, ticks))
    axes.tick_params(labelsize=7)
    axes.minorticks_off()


def floors(
    axes: Axes, device: dict[str, Any], gates: int, batch: int, sizes: list[int], passes: int = 1
) -> None:
    """What no step can be shorter than: dashed in float32, dotted in 16 bits."""
    for half, name in FLOORS.items():
        times = [(h, gpu_floor.seconds(gates, h, batch, half, device, passes)) for h in sizes]
        points = [(hidden, time * 1e6) for hidden, time in times if time]
        style: dict[str, Any] = {"color": "black", "linestyle": ":" if half else "--"}
        axes.plot(*zip(*points, strict=True) if points else ([], []), label=name, lw=1.1, **style)


def forecast(axes: Axes, device: dict[str, Any], cell: str, batch: int, sizes: list[int]) -> None:
    """What the plan expected of networks that stay on the chip."""
    wanted = architectures("native")
    points = []
    for hidden in sizes:
        for fit in strategy.choose(GATES[cell], hidden, wanted)[:1]:
            cycles = fit.cycles_at(batch, device["multiprocessors"])
            points.append((hidden, cycles / float(device.get("clock_mhz") or gpu_floor.MHZ)))
    style: dict[str, Any] = {"color": "#999999", "linestyle": (0, (1, 1)), "linewidth": 2.0}
    label = "predicted, float32"
    axes.plot(*zip(*points, strict=True) if points else ([], []), label=label, **style)


def panels(
    document: dict[str, Any],
    rows: Sequence[Any],
    columns: Sequence[Any],
    height: float,
    words: Words,
    share: bool = False,
) -> tuple[Figure, Grid]:
    """A figure with empty axes by row and column; above what it shows, below what was measured."""
    figure = Figure(figsize=(WIDTH, height))
    head, foot = (1.08 if words.legend else 0.5) / height, 0.38 / height
    figure.set_layout_engine("constrained", rect=(0, foot, 1, 1 - head - foot))
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=share, sharey=share)
    gray: dict[str, Any] = {"fontsize": 7.5, "color": "#555555"}
    figure.text(0.01, 1 - 0.07 / height, words.title, va="top", fontsize=11, weight="bold")
    figure.text(0.01, 1 - 0.3 / height, words.note, va="top", **gray)
    figure.text(0.01, 0.05 / height, caption(document), va="bottom", **gray)
    return figure, dict(zip(itertools.product(rows, columns), axes.flat, strict=True))


def caption(document: dict[str, Any]) -> str:
    """Device, versions and date in two lines."""
    device, versions = document["device"], document["versions"]
    where = f"{device['name']} ({device['architecture']}), driver {device['driver'] or 'unknown'}"
    shown = [f"{name} {versions[name]}" for name in ("torch", "cuda", "cudnn", "rnngen")]
    nvcc = f"nvcc: {versions['nvcc']}"
    return f"{where}, medians, {document['date']}\n{', '.join(shown)}, {nvcc}"


if __name__ == "__main__":
    main()
