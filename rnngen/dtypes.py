"""Number formats: how C spells them, how a constant survives printing, what error is fair."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Exp:
    """Constants of e^-x = 2^n e^r, n whole and |r| <= ln 2 / 2, e^r = 1 + r + r^2 q(r).

    ln 2 comes in two parts; `ln2_hi` has so few bits that n * ln2_hi is exact without FMA.
    """

    log2_e: float
    round: float  # 1.5 * 2^(mantissa bits) + bias: adding it leaves n + bias in the lowest bits
    ln2_hi: float
    ln2_lo: float
    q: tuple[float, ...]  # minimax polynomial, constant first
    q_error: str  # relative error of e^r that q leaves
    bits: str  # unsigned C type as wide as the number
    mantissa: int
    low: float  # from here down e^-x is infinite
    high: float  # from here up the bits of 2^n are zero
    small: float  # from here up 1 + e^-x rounds to 1
    packed: str  # how x86 names instructions on vectors of them

    @property
    def pairs(self) -> tuple[tuple[float, ...], ...]:
        """Neighbours in q, of the highest powers first."""
        return tuple(self.q[n : n + 2] for n in range(0, len(self.q), 2))[::-1]


@dataclass(frozen=True)
class DType:
    """One number format."""

    name: str  # torch's name
    c: str  # C type
    bytes: int
    tol: float  # fair error against float64 torch, outputs being in [-1, 1]
    suffix: str = ""  # of C literals
    digits: int = 17  # significant decimals that round-trip
    exp: Exp | None = None  # None: for CUDA only, which has instructions of its own

    @property
    def half(self) -> bool:
        """Whether it is what weights and rows are stored in; sums and cells are float32 then."""
        return self.bytes == 2

    @property
    def array(self) -> str:
        """NumPy's format that holds its numbers: it has no bfloat16."""
        return "float32" if self.name == "bfloat16" else self.name

    @property
    def real(self) -> DType:
        """What is computed with."""
        return DTYPES["float32"] if self.half else self

    def literal(self, value: float) -> str:
        """C constant that the compiler reads back as exactly `value`.

        Raises ValueError for NaN and infinity, which C cannot spell.
        """
        if not isfinite(value):
            raise ValueError(f"literal: a finite number; got {value}")
        text = f"{float(value):.{self.digits}g}"
        return text + ("" if "." in text or "e" in text else ".0") + self.suffix

    def limit(self, torch_error: float) -> float:
        """Largest error allowed where torch's own is `torch_error`."""
        return max(2 * torch_error, self.tol)


DTYPES = {
    d.name: d
    for d in (
        DType(
            "float32",
            c="float",
            suffix="f",
            digits=9,
            bytes=4,
            tol=6e-7,
            exp=Exp(
                log2_e=1.4426950408889634,
                round=1.5 * 2**23 + 127,
                ln2_hi=0.693145751953125,
                ln2_lo=1.428606765330187e-06,
                q=(
                    0.49999993433164114,
                    0.1666652039866966,
                    0.041668390568835116,
                    0.008368745165170654,
                    0.0013814551118913101,
                ),
                q_error="3e-9",
                bits="uint32_t",
                mantissa=23,
                low=-89.0,
                high=88.0,
                small=18.2,
                packed="ps",
            ),
        ),
        DType(
            "float64",
            c="double",
            suffix="",
            digits=17,
            bytes=8,
            tol=1e-12,
            exp=Exp(
                log2_e=1.4426950408889634,
                round=1.5 * 2**52 + 1023,
                ln2_hi=6.93147180369123816490e-01,
                ln2_lo=1.90821492927058770002e-10,
                q=(
                    0.50000000000000106688,
                    0.16666666666666411499,
                    0.041666666666529727314,
                    0.0083333333334949812584,
                    0.0013888888943760224974,
                    0.00019841269505767619126,
                    0.000024801492949359108767,
                    2.7557586807971833278e-6,
                    2.7630306347588009709e-7,
                    2.5000017846119357588e-8,
                ),
                q_error="4e-18",
                bits="uint64_t",
                mantissa=52,
                low=-710.0,
                high=709.0,
                small=40.0,
                packed="pd",
            ),
        ),
        DType("float16", c="__half", bytes=2, tol=2**-10),
        DType("bfloat16", c="__nv_bfloat16", bytes=2, tol=2**-7),
    )
}
