"""Every example of the README, run as a reader would: files, commands, Python and C."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rnngen

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.usefixtures("cc")


def shell(text: str, folder: Path) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-ec", text]
    env = os.environ | {"PATH": path}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def said(code: str) -> list[str]:
    """The comments behind prints: what they promise to print."""
    return re.findall(r"^print\(.*?\)\s+# (.*)$", code, re.MULTILINE)


def test_every_example(tmp_path):
    """In their order, in one folder; each prints what the README says.

    Python that follows Python is one session, begun anew where something else came between.
    """
    session, refused = "", ""
    device = torch.cuda.is_available()
    blocks = [block for block in BLOCK.findall(README) if block[1] != "cuda" or device]
    kinds = [kind for kind, _, _ in blocks]
    for (kind, label, text), following in zip(blocks, [*kinds[1:], ""], strict=True):
        if kind in ("yaml", "c"):
            (tmp_path / label).write_text(text)
        elif kind == "python":
            session += f"{text}\n"
            if following != kind:
                check_session(session, tmp_path)
        elif kind == "sh" and label == "fails":
            result = shell(text, tmp_path)
            assert result.returncode == 2
            refused = result.stderr
        elif kind == "sh" and label != "setup":
            result = shell(text, tmp_path)
            assert result.returncode == 0, result.stderr
        elif kind == "text" and refused:
            assert [line for line in refused.splitlines() if "..." not in line] == text.splitlines()
    check_program(tmp_path)


def check_session(code: str, folder: Path):
    """It runs, and prints what its comments say."""
    (folder / "session.py").write_text(code)
    command = [sys.executable, "session.py"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines() == said(code)


def check_program(folder: Path):
    """The C program prints what Python computes."""
    printed = [float(line) for line in shell("./main", folder).stdout.split()]
    net = rnngen.compile(folder / "kws.yaml", weights=folder / "kws.safetensors")
    x = np.zeros((100, 1, 40), np.float32)
    for t in range(100):
        x[t:, 0, t % 40] = 1
    np.testing.assert_allclose(printed, net(x)[0][-1, 0, :4], atol=6e-5)


def test_the_table_of_fields_is_the_spec():
    """Every field is in it, with its default."""
    from rnngen.spec import Spec

    section = README.split("## The spec")[1].split("##")[0]
    rows = dict(re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", section, re.MULTILINE))
    named = {
        name: default for names, default in rows.items() for name in re.findall(r"`(\w+)`", names)
    }
    assert set(named) == set(Spec.model_fields)
    for name, field in Spec.model_fields.items():
        default = "required" if field.is_required() else str(field.default).lower()
        assert named[name].strip("`") == default


def test_the_sample_output_is_today_s(tmp_path):
    """The table that `build` prints is the README's, but for digests and measured errors."""
    (tmp_path / "kws.yaml").write_text(BLOCK.findall(README)[1][2])
    out = shell("COLUMNS=200 rnngen build kws.yaml", tmp_path).stdout
    shown = README.split("```text\n")[1].split("```")[0]

    def hide(text):
        return re.sub(r"_kws_\w+|_kws_…|[\d.]+e-\d\d|code +[\d,]+ bytes", "…", text)

    lines = shown.count("\n")
    assert hide(shown).splitlines() == hide(out).splitlines()[:lines]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
