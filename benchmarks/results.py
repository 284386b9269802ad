"""What follows from the measured numbers: speed-ups, and what ragged batches cost."""

from __future__ import annotations

from itertools import product
from typing import Any

OWN = "rnngen"
NOISE = 1.25


def median(cell: dict[str, Any], name: str) -> float | None:
    """Seconds a call of an implementation; None if it was absent, wrong or failed."""
    result = cell["results"].get(name, {})
    return result["median_s"] if result.get("status") == "ok" else None


def best_peer(cell: dict[str, Any]) -> tuple[str, float] | None:
    """The fastest other implementation and its seconds."""
    times = {name: median(cell, name) for name in cell["results"] if name != OWN}
    right = {name: time for name, time in times.items() if time is not None}
    return min(right.items(), key=lambda item: item[1]) if right else None


def speedup(cell: dict[str, Any]) -> float | None:
    """How many times faster than the best peer."""
    own, best = median(cell, OWN), best_peer(cell)
    return best[1] / own if own and best else None


def noisy(cell: dict[str, Any]) -> bool:
    """Whether a median is far above its minimum: something else ran."""
    ok = [r for r in cell["results"].values() if r["status"] == "ok"]
    return any(result["median_s"] > NOISE * result["min_s"] for result in ok)


def plain(cells: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """Cells of one layer, one direction and full sequences, with these fields."""
    wanted = {"num_layers": 1, "bidirectional": False, "form": "full"} | fields
    return [c for c in cells if all(c[k] == v for k, v in wanted.items())]


def ragged(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ragged batches cost: time over the share of valid steps of the padded batch's time.

    1 is a batch whose padding costs nothing, and its raggedness neither.
    """
    rows = []
    for packed in [c for c in cells if c["form"] == "packed"]:
        batch = {k: packed[k] for k in ("cell", "hidden_size", "bidirectional", "batch", "steps")}
        forms = {c["form"]: c for c in cells if all(c[k] == v for k, v in batch.items())}
        share = packed["flops"] / forms["full"]["flops"]
        costs: dict[str, dict[str, float]] = {}
        for form, name in product(("lengths", "packed"), packed["results"]):
            padded, time = median(forms["full"], name), median(forms[form], name)
            if padded and time:
                costs.setdefault(name, {})[form] = round(time / (share * padded), 3)
        rows.append(batch | {"share": round(share, 4), "costs": costs})
    return rows
