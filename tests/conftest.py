"""Shared fixtures. What a test needs and the machine may lack is skipped here, by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rnngen import compiler
from rnngen.errors import BuildError
from rnngen.targets import TARGETS

ROOT = Path(__file__).parents[1]

# Compiled modules of a run serve the next one; the user's own cache stays as it is.
os.environ["XDG_CACHE_HOME"] = str(ROOT / ".pytest_cache" / "xdg")
os.environ.pop("CFLAGS", None)
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite generated/ and pass")
    parser.addoption(
        "--update-instructions", action="store_true", help="rewrite instructions.json and pass"
    )


@pytest.fixture
def update_golden(request):
    return request.config.getoption("--update-golden")


@pytest.fixture
def update_instructions(request):
    return request.config.getoption("--update-instructions")


@pytest.fixture(scope="session")
def tool():
    """tool("clang"): the path of a program, or a skip that names it."""

    def find(name: str) -> str:
        return shutil.which(name) or pytest.skip(f"no {name} here")

    return find


@pytest.fixture(scope="session")
def cc(tool):
    """The C compiler."""
    return tool(os.environ.get("CC", "cc"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of the test's own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rnngen"


@pytest.fixture(scope="session")
def gxx(tool):
    """The C++ compiler that CUDA networks are emulated with."""
    return tool("g++")


@pytest.fixture(scope="session")
def nvcc():
    """NVIDIA's compiler as a command, of the toolkit or of PyPI's wheel."""
    try:
        return compiler.find(TARGETS["cuda"]).command
    except BuildError:
        pytest.skip("no nvcc here")
