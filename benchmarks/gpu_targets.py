"""What gpu.py measured beside what is hoped for: classes of cases, and how many of them are met.

A ratio is torch's time on cuDNN over rnngen's in the same dtype, in float32 without TF32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import results
from cpu import of
from gpu_systems import EXACT, OURS, OWN

FALLBACK = "step"  # the way that has a target of its own


@dataclass(frozen=True)
class Ratio:
    """One dtype of a case."""

    cell: dict[str, Any]
    dtype: str

    @property
    def ours(self) -> str:
        """rnngen's name in the results."""
        return OURS[self.dtype].name

    @property
    def theirs(self) -> float | None:
        """Seconds of torch; None if it has no such network, or did not run."""
        exact = self.ours == OWN.name
        return results.median(self.cell, EXACT.name if exact else f"{EXACT.name}-{self.dtype}")

    @property
    def value(self) -> float:
        """How many times as fast; 0 where rnngen's answer is wrong or none."""
        own = results.median(self.cell, self.ours)
        return self.theirs / own if own and self.theirs else 0.0

    @property
    def way(self) -> str:
        """The one that the device took; before kernels are known the one that is planned."""
        result = self.cell["results"][self.ours]
        return str(result.get("way") or result["planned"])

    @property
    def hidden(self) -> int:
        return int(self.cell["hidden_size"])

    @property
    def persistent(self) -> bool:
        """Whether cuDNN keeps the weights of such networks in 16 bits on the chip, H above 192."""
        c = self.cell
        single = c["cell"] == "lstm" and c["num_layers"] == 1 and c["form"] == "full"
        whole = self.hidden % 128 == 0 and c["batch"] % 8 == 0
        fits = 192 < self.hidden <= 1024 and c["batch"] <= 128
        return self.dtype == "float16" and single and not c["bidirectional"] and whole and fits

    @property
    def general(self) -> bool:
        """Whether cuDNN takes its way for everything else, whatever the dtype."""
        c = self.cell
        kind = c["cell"] == "gru" or c["bidirectional"] or c["batch"] % 8
        return c["form"] == "packed" or bool(self.hidden > 192 and kind)


@dataclass(frozen=True)
class Class:
    """Cases with a common target: of many steps or, if `short`, also of one; by any way, or not."""

    name: str
    target: float
    has: Callable[[Ratio], bool]
    fallback: bool | None = None  # whether by step
    short: bool = False

    def holds(self, ratio: Ratio) -> bool:
        """Whether the case is one of them."""
        way = self.fallback is None or self.fallback == (ratio.way == FALLBACK)
        return way and (self.short or ratio.cell["steps"] > 1) and self.has(ratio)


CLASSES = (
    Class("one layer, H <= 128", 2, lambda r: r.cell["num_layers"] == 1 and r.hidden <= 128),
    Class("four layers, H <= 128", 5, lambda r: r.cell["num_layers"] == 4 and r.hidden <= 128),
    Class("H 129 to 192", 5, lambda r: 129 <= r.hidden <= 192),
    Class("float32, H 129 to 512", 5, lambda r: r.dtype == "float32" and 129 <= r.hidden <= 512),
    Class(
        "float32, H 513 to 1024, B <= 8",
        4,
        lambda r: r.dtype == "float32" and 513 <= r.hidden <= 1024 and r.cell["batch"] <= 8,
        fallback=False,
    ),
    Class("float16 where cuDNN keeps weights on the chip", 1.3, lambda r: r.persistent),
    Class("bfloat16", 5, lambda r: r.dtype == "bfloat16", fallback=False),
    Class(
        "packed, or H > 192 and GRU, bidirectional or B % 8 > 0",
        5,
        lambda r: r.general,
        fallback=False,
    ),
    Class("all that stays on the chip", 1, lambda r: True, fallback=False, short=True),
    Class("all that falls back to step", 0.9, lambda r: True, fallback=True, short=True),
)


def verdicts(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every class: how many cases have it, how many meet its target, and the one furthest below.

    What torch did not do is left out; what rnngen did wrong counts as 0.
    """
    ratios = [ratio for cell in cells for dtype in OURS if (ratio := Ratio(cell, dtype)).theirs]
    return [verdict(kind, [r for r in ratios if kind.holds(r)]) for kind in CLASSES]


def verdict(kind: Class, ratios: list[Ratio]) -> dict[str, Any]:
    """One class."""
    met = sum(r.value >= kind.target for r in ratios)
    found = {"class": kind.name, "target": kind.target, "cases": len(ratios), "met": met}
    worst = min(ratios, key=lambda r: r.value, default=None)
    if worst:
        place = f"{of(worst.cell)} {worst.dtype} ({worst.way})"
        found |= {"worst": round(worst.value, 3), "where": place}
    return found


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Lines to print."""
    width = max(len(row["class"]) for row in found)
    yield f"{'target':{width}}  at least   met of cases  lowest"
    for row in found:
        worst = f"{row['worst']:6.2f}  {row['where']}" if row["cases"] else "  none measured"
        count = f"{row['met']:5} of {row['cases']:5}"
        yield f"{row['class']:{width}}  {row['target']:8}  {count}  {worst}"
