"""Where code can run: the files a language prints, the flags its compiler gets, vector widths."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """One instruction set, as the preprocessor sees it."""

    macro: str
    vector_bytes: int


# Widest first. The generated file picks the first that the compiler defines; see c/vector.j2.
ISAS = (
    Isa("__AVX512F__", 64),
    Isa("__AVX__", 32),
    Isa("__SSE2__", 16),
    Isa("__ARM_NEON", 16),
    Isa("__wasm_simd128__", 16),
)


@dataclass(frozen=True)
class Target:
    """A language: which templates it prints, and how its compiler is called."""

    name: str
    sources: tuple[str, ...]  # templates; `model` becomes the network's name
    compilers: tuple[str, ...]  # tried in this order
    flags: tuple[str, ...]  # of every build
    native: tuple[str, ...]  # more, where the code runs on the machine that compiles it


TARGETS = {
    "c": Target(
        "c",
        sources=("c/model.h", "c/model.c"),
        compilers=("cc", "gcc", "clang"),
        flags=(
            "-std=c99",
            "-O3",
            "-ffp-contract=fast",  # -std=c99 turns fused multiply-add off in gcc
            "-fno-math-errno",
            "-fno-trapping-math",
            "-fvisibility=hidden",
        ),
        native=("-march=native",),
    )
}
