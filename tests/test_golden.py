"""The samples in generated/ are what rnngen prints today, byte for byte.

After an intended change: pytest --update-golden, then read the diff.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import rnngen
from rnngen import render
from rnngen.cuda import decide
from rnngen.model import resolve

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "generated"
SAMPLES = {
    path.stem if path.parent.name != "notebook" else f"notebook_{path.stem}": path
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden(name, update_golden):
    plan = decide(resolve(rnngen.load_spec(SAMPLES[name])))
    texts = render.files(plan) | render.manifest(plan) | render.package(plan)
    folder = GENERATED / name
    if update_golden:
        folder.mkdir(exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
    assert {file: (folder / file).read_text() for file in texts} == texts


def test_committed_samples_are_these():
    """Sources only, one folder for each example."""
    command = ["git", "ls-files", "generated"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [Path(line) for line in listed.stdout.splitlines()]
    assert {path.parts[1] for path in files} == set(SAMPLES)
    for name, spec in SAMPLES.items():
        plan = decide(resolve(rnngen.load_spec(spec)))
        texts = render.files(plan) | render.manifest(plan) | render.package(plan)
        assert {path.name for path in files if path.parts[1] == name} == set(texts)
