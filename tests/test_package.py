"""Installed elsewhere: rnngen's own wheel, and the wheels of what it generates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import data, net, spec, state, weights
from safetensors.numpy import save_file

import rnngen
from rnngen import package, processor
from rnngen.errors import BuildError
from rnngen.run import Network
from rnngen.targets import LEVELS

ROOT = Path(__file__).parents[1]
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(*command, cwd, env=ENV) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """rnngen's wheel, built from the checkout."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """The Python of a virtual environment that holds the wheel and what it asks for, no more."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    probe = subprocess.run([*install, "platformdirs"], env=ENV, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no package registry here")
    run(*install, wheel, cwd=folder)
    return python


def test_the_wheel_holds_what_it_needs(wheel):
    """All modules, templates, names and the schema; nothing else."""
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "rnngen").rglob("*.py")}
    templates = {f"rnngen/{p.relative_to(ROOT)}" for p in (ROOT / "templates").rglob("*.j2")}
    assert inside == modules | templates | {"rnngen/reserved.txt", "rnngen/rnngen.schema.json"}
    assert wheel.name == f"rnngen-{rnngen.__version__}-py3-none-any.whl"


def test_the_wheel_is_reproducible(wheel, tmp_path):
    env = ENV | {"SOURCE_DATE_EPOCH": "1700000000"}
    files = []
    for place in ("one", "two"):
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
        run(*command, tmp_path / place, cwd=ROOT, env=env)
        files.append(next((tmp_path / place).glob("*.whl")).read_bytes())
    assert files[0] == files[1]


def test_it_works_outside_the_checkout(clean, cc, tmp_path):
    """Init, generate, build, import and call, without torch and without the sources."""
    script = clean.with_name("rnngen")
    run(script, "init", "kws.yaml", cwd=tmp_path)
    run(script, "generate", "kws.yaml", cwd=tmp_path)
    out = run(script, "build", "kws.yaml", cwd=tmp_path)
    assert "not measured: torch is not installed" in out
    save_file(weights(spec(input_size=40, hidden_size=64)), tmp_path / "w.safetensors")
    code = (
        "import kws, numpy, rnngen, sys; net = kws.load('w.safetensors');"
        "print(net(numpy.ones((3, 2, 40), 'float32'))[0].shape, 'torch' in sys.modules,"
        "rnngen.__file__)"
    )
    env = ENV | {"PYTHONPATH": str(tmp_path / "generated")}
    shape, loaded, file = run(clean, "-c", code, cwd=tmp_path, env=env).rsplit(maxsplit=2)
    assert (shape, loaded) == ("(3, 2, 64)", "False")
    assert not file.startswith(str(ROOT))
    assert run(script, "schema", cwd=tmp_path).startswith("{")


def built(folder: Path, **fields):
    """A generated package on disk, and its network."""
    network = net(spec(name="toy", isa="auto", **fields))
    package.write(folder / "toy", package.texts(network), network)
    return network


def test_the_folder_is_a_package(cc, tmp_path):
    """`import toy` finds it beside its sources, with its weights, or with others."""
    network = built(tmp_path)
    x, h, c = data(network.spec)
    np.savez(tmp_path / "x.npz", x=x, h=h, c=c, y=network(x, state(network.spec, h, c))[0])
    code = (
        "import numpy, toy; f = numpy.load('x.npz'); net = toy.load();"
        "assert (net(f['x'], (f['h'], f['c']))[0] == f['y']).all();"
        "assert (toy.load(net.state_dict())(f['x'])[0] != f['y']).any()"
    )
    run(sys.executable, "-c", code, cwd=tmp_path)


def test_a_wheel_of_the_package(clean, cc, tmp_path):
    """One wheel for all Pythons and levels, which needs no compiler where it is installed."""
    network = built(tmp_path, num_layers=2, bidirectional=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps"]
    run(*pip, tmp_path / "toy", "-w", tmp_path, cwd=tmp_path)
    (file,) = tmp_path.glob("*.whl")
    assert file.name.startswith(f"toy-{rnngen.__version__}-cp310-abi3-")
    inside = {n for n in zipfile.ZipFile(file).namelist() if ".dist-info/" not in n}
    module = f"toy/{network.library.path.name}"
    assert inside == {"toy/__init__.py", "toy/manifest.json", "toy/toy.safetensors", module}
    shutil.rmtree(tmp_path / "toy")
    install = [clean, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    run(*install, file, cwd=tmp_path)
    x, _, _ = data(network.spec)
    np.save(tmp_path / "x.npy", x)
    code = "import numpy, toy; print(toy.load()(numpy.load('x.npy'))[0].tobytes().hex())"
    best = [level.name for level in LEVELS if level.name == processor.best()]
    said = []
    for level in ("", *best, "portable"):
        env = ENV | {"PATH": "/nonexistent", "RNNGEN_ISA": level}
        said.append(run(clean, "-c", code, cwd=tmp_path, env=env).strip())
        suffix = f"_{level}" if level else ""
        same = Network(network.plan, replace(network.library, level=suffix))
        same.load_state_dict(network.arrays())
        assert said[-1] == same(x)[0].tobytes().hex()
    assert said[0] == said[len(best)]
    assert len(set(said)) == 1 + len(best)  # portable does not fuse


def test_a_package_that_was_not_compiled(tmp_path):
    from rnngen import render
    from rnngen.model import resolve
    from rnngen.plan import decide

    plan = decide(resolve(spec(name="toy")))
    package.write(tmp_path / "toy", render.files(plan) | render.manifest(plan))
    with pytest.raises(BuildError, match="toy: a compiled module; found none"):
        package.load(tmp_path / "toy")


def test_a_package_of_another_version(cc, tmp_path):
    """Its weights might lie otherwise; better no answer than a wrong one."""
    built(tmp_path)
    manifest = tmp_path / "toy" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{rnngen.__version__}"', '"0.0.9"'))
    with pytest.raises(BuildError, match=r"toy: rnngen 0.0.9, which generated it; got"):
        package.load(tmp_path / "toy")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rnngen": "0.1.0"}'])
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BuildError, match=r"manifest.json: what rnngen wrote; got"):
        package.load(tmp_path)
