"""A folder that holds a network: its C, a manifest, and the Python package that imports it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rnngen import __version__, build, processor, render, run, weights
from rnngen.cuda import CudaPlan, decide
from rnngen.errors import BuildError, OutputError
from rnngen.holder import Weights
from rnngen.model import resolve
from rnngen.run import AnyNetwork
from rnngen.spec import load as load_spec
from rnngen.targets import LEVELS

MANIFEST = "manifest.json"
_PRIVATE = ".rnngen."  # folders that files are made in


def load(folder: Path, state: Weights | None = None, threads: int = 1) -> AnyNetwork:
    """The network of a generated package; with its own weights if none are given and it has some.

    Raises BuildError if it was not compiled or comes from another rnngen, WeightsError, and
    ValueError for threads.
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
    spec = load_spec(fields)
    plan = decide(resolve(spec))
    if isinstance(plan, CudaPlan):
        library = build.opened(plan, modules[0])
    else:
        library = build.load(module, modules[0], level=processor.suffix(spec.instructions))
    net = run.made(plan, library, threads)
    own = folder / f"{net.spec.name}.safetensors"
    if state is not None or own.exists():
        net.load_state_dict(own if state is None else state)
    return net


def write(folder: Path, files: Mapping[str, str], net: AnyNetwork | None = None) -> list[Path]:
    """Put files into a folder that is new, empty or rnngen's own; each appears whole or not at all.

    With a network also its compiled module and, if it has any, its weights. What an earlier write
    left and does not fit any more is removed. Returns the paths. Raises OutputError.
    """
    try:
        _claim(folder)
        private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=folder))
        try:
            for name, text in files.items():
                (private / name).write_text(text)
            if net:
                _binaries(private, net)
            names = sorted(path.name for path in private.iterdir())
            stale = _stale(folder, files, net) - set(names)
            # The manifest first: it marks the folder as rnngen's own if this is cut short.
            for name in sorted(names, key=lambda n: n != MANIFEST):
                os.replace(private / name, folder / name)  # replaces a link, never follows it
            for name in stale:
                (folder / name).unlink()
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        where = error.filename or folder
        raise OutputError(
            f"out: a folder that can be written; {error.strerror} at {where}"
        ) from None
    return [folder / name for name in names]


def _stale(folder: Path, files: Mapping[str, str], net: AnyNetwork | None) -> set[str]:
    """Files of ours from before: all of them if the code has changed, else only weights.

    Weights may be others now: those printed as C always, those of the package with each build.
    """
    name = json.loads(files[MANIFEST])["spec"]["name"]
    patterns = [f"{name}_weights.[ch]", *([f"{name}.safetensors"] if net else [])]
    before = folder / MANIFEST
    if not before.exists() or before.read_text() != files[MANIFEST]:
        ours = (*files, "__init__.py", "setup.py", "pyproject.toml", f"{name}_levels.h")
        ours += (f"{name}.c", f"{name}.cu")
        patterns += [f"{name}_bound.[ch]", *(f"{name}_{level.name}.c" for level in LEVELS)]
        patterns += [*ours, f"{name}.safetensors", f"_{name}_*.so"]
    return {path.name for pattern in patterns for path in folder.glob(pattern)}


def texts(net: AnyNetwork) -> dict[str, str]:
    """All texts of a package: the C, the manifest and the Python around them."""
    return render.files(net.plan) | render.manifest(net.plan) | render.package(net.plan)


def _binaries(folder: Path, net: AnyNetwork) -> None:
    shutil.copyfile(net.library.path, folder / net.library.path.name)
    if state := net.arrays():
        weights.save(state, folder / f"{net.spec.name}.safetensors")


def _claim(folder: Path) -> None:
    """Make the folder, or make sure that nothing in it is somebody else's."""
    if folder.is_symlink():
        raise OutputError(f"out: a folder; {folder} is a link")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PRIVATE}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    if (folder / MANIFEST).is_file() or not any(folder.iterdir()):
        return
    raise OutputError(f"out: a new folder or one that rnngen wrote; {folder} holds other files")
