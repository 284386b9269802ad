"""Plan -> {file name: text}: fill the templates. Nothing is decided here, only printed.

The only module that imports jinja2.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from rnngen.cuda import CudaPlan
from rnngen.errors import WeightsError
from rnngen.outline import Outline
from rnngen.plan import Plan
from rnngen.targets import ISAS

Array = npt.NDArray[Any]
MAX_BAKED = 2**22  # numbers as C source; more take a compiler minutes and gigabytes

_HERE = Path(__file__).parent
# Inside the package once installed, beside it in a checkout.
TEMPLATES = _HERE / "templates" if (_HERE / "templates").is_dir() else _HERE.parent / "templates"

_env = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    undefined=jinja2.StrictUndefined,  # a typo is an error, not an empty string
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def files(plan: Outline) -> dict[str, str]:
    """File name -> text, for every template that the target lists, and for every level."""
    out = {_named(source, plan): _fill(source, plan=plan) for source in plan.target.sources}
    for level in plan.levels:
        out[f"{plan.name}_{level.name}.c"] = _fill("c/level.c", plan=plan, level=level)
    return out


def levels(plan: Outline) -> dict[str, str]:
    """File name -> text: the header by which Python calls a level by its name, if there are any."""
    text = _fill("package/levels.h", plan=plan)
    return {f"{plan.name}_levels.h": text} if plan.levels else {}


def bound(plan: Plan) -> dict[str, str]:
    """File name -> text: calls with fixed arguments, beside the guest, for Python."""
    sources = ("package/bound.h", "package/bound.c")
    return {f"{plan.name}_{Path(source).name}": _fill(source, plan=plan) for source in sources}


def python(plan: Outline) -> dict[str, str]:
    """File name -> text: what the guest does not need, Python does."""
    return levels(plan) | bound(plan) if isinstance(plan, Plan) else {}


def declarations(plan: Outline) -> str:
    """What Python calls: the public declarations, those of the levels, and bound calls."""
    if isinstance(plan, CudaPlan):
        return _fill("cuda/api", plan=plan)
    levels = ["package/levels_api"] if plan.levels else []
    parts = ("shared/api", *levels, "package/bound_api")
    return "\n".join(_fill(part, plan=plan) for part in parts)


def measuring() -> dict[str, str]:
    """File name -> text: the C that measures a machine."""
    sources = ("c/measure.h", "c/measure.c")
    return {Path(source).name: _fill(source, isas=ISAS) for source in sources}


def module_name(plans: Sequence[Outline]) -> str:
    """The module of these plans."""
    texts = [text for plan in plans for text in (files(plan) | python(plan)).values()]
    return digested(plans[0].name, texts)


def digested(name: str, texts: Iterable[str]) -> str:
    """`_<name>_<digest of the C>`: other code is another module, even in one process."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return f"_{name}_{digest[:16]}"


def baked(plan: Plan, packed: Array) -> dict[str, str]:
    """File name -> text: the packed weights as a C constant. Raises WeightsError if too many."""
    if packed.size > MAX_BAKED:
        size = f"at most {MAX_BAKED} numbers as C source; got {packed.size}"
        raise WeightsError(f"{plan.name}_weights.c: {size}")
    ends = np.cumsum([step.kernel.size for step in plan.steps])
    parts = np.split(packed, ends[:-1])
    lines = {s.field: _lines(plan, part) for s, part in zip(plan.steps, parts, strict=True)}
    return {
        _named(source, plan): _fill(source, plan=plan, weights=lines)
        for source in ("c/model_weights.h", "c/model_weights.c")
    }


def package(plan: Outline) -> dict[str, str]:
    """File name -> text: what makes a Python package of the code; of C also what compiles it."""
    sources = ["package/__init__.py"]
    if isinstance(plan, Plan):
        sources += ["package/setup.py", "package/pyproject.toml"]
    words = {"plan": plan, "module": module_name([plan]), "declarations": declarations(plan)}
    return python(plan) | {Path(source).name: _fill(source, **words) for source in sources}


def manifest(plan: Plan | CudaPlan) -> dict[str, str]:
    """manifest.json: what the generated code is, for programs."""
    facts = {
        "rnngen": plan.version,
        "spec": plan.model.spec.public(),
        "module": module_name([plan]),
        "sha256": {k: hashlib.sha256(v.encode()).hexdigest() for k, v in files(plan).items()},
        "sizes": {
            "weights": plan.model.num_weights,
            **plan.sizes,
        },
    }
    return {"manifest.json": json.dumps(facts, indent=2) + "\n"}


def _lines(plan: Plan, numbers: Array) -> list[str]:
    """Numbers as C, a row of units to a line."""
    literal = plan.dtype.literal
    rows = numbers.reshape(-1, min(plan.block, 8)).tolist()
    return [" ".join(f"{literal(value)}," for value in row) for row in rows]


def _named(source: str, plan: Outline) -> str:
    return Path(source).name.replace("model", plan.name)


def _fill(template: str, **words: Any) -> str:
    text = _env.get_template(f"{template}.j2").render(words)
    text = re.sub(r"[ \t]+\n", "\n", text)
    if not template.endswith(".py"):  # Python wants two blank lines in places
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n") + "\n"
