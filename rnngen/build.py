"""Plans, or C of our own, -> an extension module, compiled and loaded. Alone in using cffi."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import struct
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cffi

from rnngen import cache, compiler, processor, render
from rnngen.compiler import Compiler
from rnngen.cuda import CudaPlan
from rnngen.errors import BuildError
from rnngen.plan import Plan
from rnngen.targets import Target


@dataclass(frozen=True)
class Source:
    """C that makes one module."""

    name: str  # carries a digest of the text: of one name there is one text
    files: Mapping[str, str]  # .h and .c
    declarations: str  # of the headers, for cffi
    flags: tuple[str, ...]  # of the compiler, before the user's


@dataclass(frozen=True)
class Library:
    """A loaded module: `lib` has the C functions of its networks, `ffi` makes their arguments."""

    path: Path
    code_bytes: int  # machine code of the networks; 0 if not known
    lib: Any
    ffi: Any
    level: str = ""  # what the names of its calls end with, where it is not C that chooses


def library(plans: Sequence[Plan]) -> Library:
    """Compile networks into one module, or find it in the cache, and load it.

    They have one isa. Raises BuildError.
    """
    level = processor.suffix(plans[0].model.spec.instructions)
    files = {file: text for plan in plans for file, text in _texts(plan).items()}
    declarations = "\n".join(render.declarations(plan) for plan in plans)
    name = render.digested(plans[0].name, files.values())
    flags = tuple(dict.fromkeys(flag for plan in plans for flag in plan.flags))
    built = module(Source(name, files, declarations, flags), plans[0].target)
    return replace(built, level=level)


def _texts(plan: Plan) -> dict[str, str]:
    return render.files(plan) | render.python(plan)


def module(source: Source, target: Target) -> Library:
    """Compile C into one module, or find it in the cache, and load it. Raises BuildError."""
    cc = compiler.find(target)
    found = cache.entry(
        key(source, cc),
        f"{source.name}.abi3.so",
        lambda folder: _compile(folder, source, cc),
    )
    return load(source.name, found.path, found.code_bytes)


def shared(plan: CudaPlan) -> Library:
    """Compile a CUDA network into a shared library, or find it in the cache, and open it.

    Raises BuildError.
    """
    files = render.files(plan)
    name = render.module_name([plan])
    cc = compiler.find(plan.target)
    source = Source(name, files, render.declarations(plan), plan.flags)
    found = cache.entry(
        key(source, cc), f"{name}.so", lambda folder: _nvcc(folder, source, cc, plan.sources)
    )
    return opened(plan, found.path)


def opened(plan: CudaPlan, path: Path) -> Library:
    """Open the shared library of a CUDA network; it needs no device for that. Raises BuildError."""
    ffi = cffi.FFI()
    ffi.cdef("typedef int cudaError_t; typedef struct CUstream_st *cudaStream_t;")
    ffi.cdef(render.declarations(plan))
    try:
        # Never closed: kernels may still run when the network is gone.
        return Library(path, 0, ffi.dlopen(str(path), os.RTLD_NOW | os.RTLD_NODELETE), ffi)
    except OSError as error:
        raise BuildError(f"module: {path.name} cannot be loaded: {error}") from None


def _nvcc(folder: Path, source: Source, cc: Compiler, units: Sequence[str]) -> int:
    """Write sources and make a shared library of them in `folder`."""
    for file, text in source.files.items():
        (folder / file).write_text(text)
    library = f"{source.name}.so"
    said = cc.run(*source.flags, *cc.flags, "-shared", "-o", library, *units, folder=folder)
    if "Cannot find valid GPU" in said:  # it has made code for its oldest architecture
        raise BuildError(
            "isa: native needs an NVIDIA card in this machine; nvcc found none. Name an "
            "architecture, such as sm_90, or use auto."
        )
    _check_made(folder, [library], cc)
    _tidy(folder)
    return 0


def _check_made(folder: Path, files: Sequence[str], cc: Compiler) -> None:
    """Raises BuildError if a compiler that reported success has left a file out."""
    for file in files:
        if not (folder / file).is_file():
            command = " ".join(cc.command)
            raise BuildError(f"compiler: {command} said that all is well, and there is no {file}")


def _tidy(folder: Path) -> None:
    """Keep libraries only."""
    for left in folder.iterdir():
        if left.suffix != ".so":
            left.unlink()


def key(source: Source, cc: Compiler) -> str:
    """Digest of a name and of all that native code depends on: compiler, flags, processor."""
    machine = (cc.identity, cffi.__version__, processor.identity(), *processor.cards())
    parts = [source.name, *cc.command, *source.flags, *cc.flags, *machine]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def load(name: str, path: Path, code_bytes: int = 0, level: str = "") -> Library:
    """Import an extension module from a path. Raises BuildError."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise BuildError(f"module: {path.name} cannot be loaded: {error}") from None
    return Library(path, code_bytes, module.lib, module.ffi, level)


def _compile(folder: Path, source: Source, cc: Compiler) -> int:
    """Write sources, compile and link them in `folder`; returns the bytes of machine code."""
    name = source.name
    for file, text in source.files.items():
        (folder / file).write_text(text)
    _glue(folder / "_glue.c", source)  # no network's name begins so
    sources = [file for file in source.files if file.endswith(".c")]
    objects = [file.replace(".c", ".o") for file in sources]
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").is_file():
        raise BuildError(f"compiler: Python.h; it is not in {include}. Install python3-dev")
    cc.run(*source.flags, *cc.flags, "-fPIC", "-c", *sources, folder=folder)
    cc.run("-O1", "-fPIC", f"-I{include}", *cc.flags, "-c", "_glue.c", folder=folder)
    link = (
        ["-shared", "-Wl,-undefined,dynamic_lookup"]
        if platform.system() == "Darwin"
        else ["-shared"]
    )
    cc.run(*cc.flags, *link, "-o", f"{name}.abi3.so", "_glue.o", *objects, folder=folder)
    _check_made(folder, [*objects, f"{name}.abi3.so"], cc)
    code = sum(_text_bytes(folder / file) for file in objects)
    _tidy(folder)
    return code


def _glue(path: Path, source: Source) -> None:
    """cffi's wrapper in C, which makes the functions of the headers an importable module."""
    ffi = cffi.FFI()
    ffi.cdef(source.declarations)
    includes = "\n".join(f'#include "{file}"' for file in source.files if file.endswith(".h"))
    ffi.set_source(source.name, includes, compiler_verbose=0)
    ffi.emit_c_code(str(path))


def _text_bytes(path: Path) -> int:
    """Size of the executable sections of a 64-bit ELF object; 0 for other formats."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return 0
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    headers = (struct.unpack_from("<IIQQQQ", data, offset + n * size) for n in range(count))
    return sum(length for _, _, flags, _, _, length in headers if flags & 4)  # SHF_EXECINSTR
