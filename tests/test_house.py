"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "rnngen").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.j2"))

# A module may import those to its left; importers/ may import errors alone.
ORDER = [
    *("errors", "rules", "resources", "cells", "dtypes", "targets", "conflicts", "document"),
    *("processor", "spec", "model", "outline", "parts", "kernel", "plan", "residence", "quads"),
    *("tiles", "interleaved", "grid", "wavefront", "strategy", "words", "cuda", "pack", "render"),
    "compiler",
    *("cache", "build", "machine", "tensors", "weights", "calls", "shares", "validate", "holder"),
    *("bind", "repeats", "launches", "device", "run", "package", "importers", "jobs", "peers"),
    *("bench", "doctor", "console", "__main__"),
]
# Each heavy package has one owner.
OWNER = {
    "cffi": "build",
    "filelock": "cache",
    "jinja2": "render",
    "onnx": "peers",
    "onnxruntime": "peers",
    "openvino": "peers",
    "pydantic": "spec",
    "rich": "console",
    "safetensors": "weights",
    "subprocess": "compiler",
    "torch": "tensors",
    "typer": "__main__",
    "yaml": "document",
}


def imports(path: Path):
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "rnngen":
                yield from (f"rnngen.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def place(path: Path) -> str:
    """A module's place in the order."""
    return "importers" if path.parent.name == "importers" else path.stem


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_imports_flow_one_way(path):
    for name in imports(path):
        if name.startswith("rnngen.") and path.name != "__init__.py":
            part = name.split(".")[1]
            assert part == "__version__" or ORDER.index(part) < ORDER.index(place(path)), name
        top = name.split(".")[0]
        assert OWNER.get(top, path.stem) == path.stem, name


def test_every_module_has_a_place():
    assert {place(path) for path in MODULES} - {"__init__"} == set(ORDER)


def test_importers_know_little():
    for path in MODULES:
        if path.parent.name == "importers":
            assert {n for n in imports(path) if n.startswith("rnngen.")} <= {"rnngen.errors"}


@pytest.mark.parametrize("path", [*MODULES, *BENCHMARKS, *TEMPLATES], ids=lambda p: p.name)
def test_rooms_stay_small(path):
    assert len(path.read_text().splitlines()) <= (300 if path.suffix == ".py" else 125)


@pytest.mark.parametrize("path", [*MODULES, *BENCHMARKS], ids=lambda p: p.stem)
def test_functions_stay_small(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, node.name


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_templates_only_print(path):
    """A comment first; nothing computed; no question about a dtype, target or instruction set."""
    text = path.read_text()
    assert text.startswith("{#")
    inside = re.findall(r"{[{%]-?(.*?)-?[}%]}", text)
    bare = [re.sub(r"\"[^\"]*\"", "", part) for part in inside]
    assert not [part for part in bare if re.search(r"[*/+]|\w - |\w % \d", part)]
    assert not [part for part in bare if re.search(r"\bif\b.*(dtype|target|isa)", part)]


def loaded(statement: str) -> set[str]:
    """Top-level modules in memory after a statement in a fresh interpreter."""
    script = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(out.splitlines()[-1].split())


def test_importing_loads_nothing_heavy():
    """`import rnngen` is free: of torch and jinja2, and of everything else as well."""
    assert not loaded("import rnngen") & (set(OWNER) | {"numpy"})


def test_help_loads_nothing_heavy():
    """`rnngen --help` needs typer only, which keeps it quick."""
    statement = (
        "from rnngen.__main__ import app\nsys.argv = ['rnngen', '--help']\n"
        "try: app()\nexcept SystemExit: pass"
    )
    assert not loaded(statement) & (set(OWNER) - {"typer", "rich", "subprocess"} | {"numpy"})


@pytest.mark.parametrize("call", ["load_spec", "generate", "compile"])
def test_torch_stays_out_without_tensors(call, tmp_path):
    """Specs, C and arrays need no torch."""
    spec = "{'name': 'toy', 'cell': 'gru', 'input_size': 1, 'hidden_size': 1}"
    if call == "compile":
        pytest.importorskip("cffi")
    assert "torch" not in loaded(f"import rnngen\nrnngen.{call}({spec})")


def test_the_text_stands_alone():
    """No path of a machine, no word of unfinished work in tracked files."""
    out = subprocess.run(
        ["git", "grep", "-n", "-I", "-i", "-E", r"\b(todo|fixme|xxx|hack)\b|\.\./shared"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in out.stdout.splitlines() if "test_house.py" not in line]
    assert not [line for line in lines if not line.startswith("tests/test_external.py")]
