"""A folder that holds a network: its C, a manifest, and the Python package that imports it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rnngen import __version__, build, render, weights
from rnngen.errors import BuildError
from rnngen.model import resolve
from rnngen.plan import decide
from rnngen.run import Network, Weights
from rnngen.spec import load as load_spec

MANIFEST = "manifest.json"


def load(folder: Path, state: Weights | None = None) -> Network:
    """The network of a generated package; with its own weights if none are given and it has some.

    Raises BuildError if it was not compiled or comes from another rnngen, WeightsError.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        version, module, fields = manifest["rnngen"], manifest["module"], manifest["spec"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{folder / MANIFEST}: what rnngen wrote; got {error!r}") from None
    if version != __version__:
        raise BuildError(f"{folder}: rnngen {version}, which generated it; got {__version__}")
    modules = sorted(folder.glob(f"{module}.*"))
    if not modules:
        raise BuildError(
            f"{folder}: a compiled module; found none. `rnngen build` makes one, pip install too"
        )
    net = Network(decide(resolve(load_spec(fields))), build.load(module, modules[0]))
    own = folder / f"{net.spec.name}.safetensors"
    if state is not None or own.exists():
        net.load_state_dict(own if state is None else state)
    return net


def write(folder: Path, files: Mapping[str, str], net: Network | None = None) -> list[Path]:
    """Put files into a folder that is new, empty or rnngen's own; each appears whole or not at all.

    With a network also its compiled module and, if it has any, its weights. Returns the paths.
    Raises BuildError.
    """
    try:
        _claim(folder)
        private = Path(tempfile.mkdtemp(prefix=".rnngen.", dir=folder))
        try:
            for name, text in files.items():
                (private / name).write_text(text)
            if net:
                _binaries(private, net)
                for old in folder.glob(f"_{net.spec.name}_*.so"):
                    old.unlink()
            names = sorted(path.name for path in private.iterdir())
            for name in names:
                os.replace(private / name, folder / name)  # replaces a link, never follows it
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        where = error.filename or folder
        raise BuildError(
            f"out: a folder that can be written; {error.strerror} at {where}"
        ) from None
    return [folder / name for name in names]


def texts(net: Network) -> dict[str, str]:
    """All texts of a package: the C, the manifest and the Python around them."""
    return render.files(net.plan) | render.manifest(net.plan) | render.package(net.plan)


def _binaries(folder: Path, net: Network) -> None:
    shutil.copyfile(net.library.path, folder / net.library.path.name)
    if state := net.arrays():
        path = folder / f"{net.spec.name}.safetensors"
        weights.save(state, path)
        path.chmod(0o644)  # safetensors makes it private


def _claim(folder: Path) -> None:
    """Make the folder, or make sure that nothing in it is somebody else's."""
    if folder.is_symlink():
        raise BuildError(f"out: a folder; {folder} is a link")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).is_file() or not any(folder.iterdir()):
        return
    raise BuildError(f"out: a new folder or one that rnngen wrote; {folder} holds other files")
