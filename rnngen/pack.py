"""Torch's parameters -> packed weights, in the order that the C reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen.cells import Sum
from rnngen.parts import Part, blocks
from rnngen.plan import Plan, Step

Array = npt.NDArray[Any]


def pack(plan: Plan, params: Mapping[str, Array]) -> Array:
    """Torch's parameters -> all packed weights in one array, in the C struct's order."""
    return np.concatenate([_pack(step, params) for step in plan.steps])


def _pack(step: Step, params: Mapping[str, Array]) -> Array:
    """One pass: the panels of gates, then W_hr."""
    k = step.kernel
    panels = [_part(part, step.field, params) for part in k.parts]
    if k.projection:
        panels.append(_panel(params[f"weight_hr_{step.field}"].T, k.block))
    return np.concatenate(panels)


def _part(part: Part, field: str, params: Mapping[str, Array]) -> Array:
    """Whole blocks, or the rest: biases, W_ih, W_hh."""

    def gate(kind: str, s: Sum) -> Array:
        """Rows of a sum's gate, as columns over units: [K, units]."""
        at = part.cell.gates.index(s.gate) * part.hidden
        return np.atleast_2d(params[f"{kind}_{field}"].T)[:, at + part.first : at + part.end]

    def bias(s: Sum) -> Array:
        """Biases that a sum starts from."""
        kinds = {"x": ["bias_ih"], "h": ["bias_hh"], "xh": ["bias_ih", "bias_hh"]}[s.reads]
        terms = [gate(kind, s) for kind in kinds]
        return sum(terms[1:], terms[0])

    def lines(places: Sequence[Sum | None], numbers: Callable[[Sum], Array]) -> Array:
        """Those of each place, zeros where it has no sum: [K * places, units]."""
        empty = np.zeros_like(next(numbers(s) for s in places if s))
        return np.stack([numbers(s) if s else empty for s in places], 1).reshape(-1, part.count)

    grid, rows = part.grid, []
    if part.bias:
        rows.append(lines([s if grid.index(s) == n else None for n, s in enumerate(grid)], bias))
    for product, kind in zip(part.products, ("weight_ih", "weight_hh"), strict=True):
        places = grid[product.first * part.side :][: product.rows * part.side]
        rows.append(lines(places, partial(gate, kind)))
    return _panel(np.concatenate(rows), part.units)


def _panel(rows: Array, block: int) -> Array:
    """[R, units] -> [blocks][R][block], flat; units beyond the last are zero."""
    count = blocks(rows.shape[1], block)
    padded = np.pad(rows, [(0, 0), (0, count * block - rows.shape[1])])
    return padded.reshape(-1, count, block).transpose(1, 0, 2).ravel()
