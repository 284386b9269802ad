"""Torch's parameters -> packed weights, in the order that the C reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnngen.cells import Sum
from rnngen.kernel import blocks
from rnngen.plan import Plan, Step

Array = npt.NDArray[Any]


def pack(plan: Plan, params: Mapping[str, Array]) -> Array:
    """Torch's parameters -> all packed weights in one array, in the C struct's order."""
    return np.concatenate([_pack(step, params) for step in plan.steps])


def _pack(step: Step, params: Mapping[str, Array]) -> Array:
    """One pass: the panel of gates, then W_hr."""
    k, field = step.kernel, step.field
    w_ih, w_hh = params[f"weight_ih_{field}"], params[f"weight_hh_{field}"]

    def gate(matrix: Array, name: str) -> Array:
        """Rows of one gate, as columns over units: [K, H]."""
        at = k.cell.gates.index(name) * k.hidden
        return np.atleast_2d(matrix.T)[:, at : at + k.hidden]

    def bias(s: Sum) -> Array:
        """Biases that a sum starts from."""
        kinds = {"x": ["bias_ih"], "h": ["bias_hh"], "xh": ["bias_ih", "bias_hh"]}[s.reads]
        terms = [gate(params[f"{kind}_{field}"], s.gate) for kind in kinds]
        return sum(terms[1:], terms[0])

    rows = [bias(s) for s in k.cell.sums] if k.bias else []
    for product, matrix in zip(k.products, (w_ih, w_hh), strict=True):
        sums = k.cell.sums[product.first :][: product.rows]
        columns = np.stack([gate(matrix, s.gate) for s in sums], axis=1)  # [K, S, H]
        rows.append(columns.reshape(-1, k.hidden))
    panels = [_panel(np.concatenate(rows), k.block)]
    if k.projection:
        panels.append(_panel(params[f"weight_hr_{field}"].T, k.block))
    return np.concatenate(panels)


def _panel(rows: Array, block: int) -> Array:
    """[R, units] -> [blocks][R][block], flat; units beyond the last are zero."""
    count = blocks(rows.shape[1], block)
    padded = np.pad(rows, [(0, 0), (0, count * block - rows.shape[1])])
    return padded.reshape(-1, count, block).transpose(1, 0, 2).ravel()
