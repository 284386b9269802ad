"""`make demo`: builds the two networks of a notebook and shows its printed tensors beside ours."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

from rnngen import jobs

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "generated"
DECIMALS = 4  # as the notebook prints


def main() -> int:
    """Both runs; 0 if every number is the notebook's."""
    printed = json.loads((HERE / "notebook.json").read_text())
    sys.path.insert(0, str(OUT))
    equal = [run(cell, printed[cell]) for cell in ("lstm", "gru")]
    return 0 if all(equal) else 1


def run(cell: str, printed: dict[str, list[object]]) -> bool:
    """Spec -> C -> imported module -> the notebook's numbers."""
    spec = HERE / f"{cell}.yaml"
    built = jobs.make(spec, OUT, None)
    source = OUT / built.net.spec.name / f"{built.net.spec.name}.c"
    print(f"\n{_relative(spec)}\n    {built.net.plan.model.summary}")
    print(
        f"-> {_relative(source)}\n    {len(source.read_text().splitlines())} lines of C,", end=" "
    )
    print(f"{built.sizes['code_bytes']:,} bytes of machine code")
    net = importlib.import_module(built.net.spec.name).load()
    print(f"-> import {built.net.spec.name}\n    {net!r}")

    given = {name: np.array(value, np.float32) for name, value in printed.items()}
    hx = (given["h0"], given["c0"]) if cell == "lstm" else given["h0"]
    output, states = net(given["input"], hx)
    h_n, c_n = states if cell == "lstm" else (states, None)
    answers = {"output": output, "h_n": h_n, "c_n": c_n}
    equal = [compare(name, printed[name], answers[name]) for name in answers if name in printed]
    return all([*equal, *identities(output, h_n)])


def compare(name: str, notebook: list[object], ours: np.ndarray) -> bool:
    """Print each row as the notebook prints it, beside ours."""
    wanted = np.array(notebook)
    same = np.round(ours.astype(np.float64), DECIMALS) == wanted
    width = 9 * wanted.shape[-1]
    print(f"\n    {name:<12}{'notebook':<{width}}   rnngen")
    rows = zip(np.ndindex(wanted.shape[:-1]), strict=True)
    for (index,) in rows:
        left, right = ("".join(f"{v:9.{DECIMALS}f}" for v in a[index]) for a in (wanted, ours))
        verdict = "equal" if same[index].all() else "DIFFERENT"
        print(f"    {list(index)!s:<8}{left}   {right}   {verdict}")
    return bool(same.all())


def identities(output: np.ndarray, h_n: np.ndarray) -> list[bool]:
    """What the notebook points out: where h_n of the last layer stands in the output."""
    found = {
        "output[0][:, 2:4] is h_n[3]": np.array_equal(output[0][:, 2:4], h_n[3]),
        "output[1][:, 0:2] is h_n[2]": np.array_equal(output[1][:, 0:2], h_n[2]),
    }
    print()
    for text, holds in found.items():
        print(f"    {text}: {'yes, bit for bit' if holds else 'NO'}")
    return list(found.values())


def _relative(path: Path) -> Path:
    return path.relative_to(HERE.parents[1])


if __name__ == "__main__":
    sys.exit(main())
