"""Where code can run: files a language prints, its compiler's flags, levels of instructions."""

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
class Level:
    """Instructions that part of all x86-64 processors have, in gcc's, clang's and Linux's words.

    A feature that only some of the three know is left out: what is used has to be asked for.
    """

    name: str  # a value of the spec's isa
    title: str  # for people
    features: tuple[str, ...]
    vector_bytes: int
    registers: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Of a compiler, for all that it compiles."""
        return tuple(f"-m{feature}" for feature in self.features)


# The best first. Where a library holds them all, C tries them in this order; see c/dispatch.j2.
_AVX2 = ("avx2", "fma", "bmi2")
_AVX512 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
LEVELS = (
    Level("avx512", "AVX-512", (*_AVX2, *_AVX512), vector_bytes=64, registers=32),
    Level("avx2", "AVX2 and FMA", _AVX2, vector_bytes=32, registers=16),
)
NATIVE = ("-march=native",)  # flags where code runs on the machine that compiles it


# NVIDIA's architectures: A100; H100 and H200; B200; RTX 50. The last one's PTX serves later ones.
ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")


def architectures(isa: str | tuple[str, ...]) -> tuple[str, ...]:
    """Those that a spec's isa stands for: all of them where it leaves open which."""
    if isinstance(isa, str):
        return (isa,) if isa in ARCHITECTURES else ARCHITECTURES
    return isa


def machine_code(architecture: str) -> str:
    """The flag of nvcc that makes it."""
    return f"-gencode=arch={architecture.replace('sm', 'compute')},code={architecture}"


@dataclass(frozen=True)
class Target:
    """A language: which templates it prints, and how its compiler is called."""

    name: str
    title: str  # of its compiler, for people
    sources: tuple[str, ...]  # templates; `model` becomes the network's name
    compilers: tuple[str, ...]  # tried in this order
    variables: tuple[str, str]  # of the environment: the user's own compiler, and flags for it
    cure: str  # where there is no compiler
    flags: tuple[str, ...]  # of every build
    isas: tuple[str, ...]  # values of a spec's isa


TARGETS = {
    "c": Target(
        "c",
        title="a C compiler",
        sources=("c/model.h", "c/model.c"),
        compilers=("cc", "gcc", "clang"),
        variables=("CC", "CFLAGS"),
        cure="Install gcc or clang, or name one in CC.",
        isas=("auto", "portable", "avx2", "avx512", "native"),
        flags=(
            "-std=c99",
            "-O3",
            "-ffp-contract=fast",  # -std=c99 turns fused multiply-add off in gcc
            "-fno-math-errno",
            "-fno-trapping-math",
            "-fvisibility=hidden",
        ),
    ),
    "cuda": Target(
        "cuda",
        title="NVIDIA's compiler",
        sources=("cuda/model.h", "cuda/model.cu"),
        compilers=("nvcc",),
        variables=("NVCC", "NVCCFLAGS"),
        cure="Install the CUDA toolkit or `pip install 'rnngen[cuda]'`, or name one in NVCC.",
        isas=("auto", *ARCHITECTURES, "native"),
        flags=("-std=c++17", "-O3", "-cudart", "static", "-Xcompiler", "-fPIC"),
    ),
}
