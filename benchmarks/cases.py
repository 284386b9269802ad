"""What is timed: networks, shapes and numbers, the same for every implementation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SIZES = (8, 32, 64, 128, 256, 512, 1024)  # I = H
BATCHES = (1, 8, 32, 128)  # B
STEPS = (1, 100)  # T
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Case:
    """One network and one shape of call, in float32."""

    cell: str  # "lstm" or "gru"
    hidden_size: int  # I = H
    batch: int  # B
    steps: int  # T
    num_layers: int = 1
    bidirectional: bool = False
    form: str = "full"  # all sequences T long; or of their own `lengths`; or these "packed"

    def __str__(self) -> str:
        more = f" {self.num_layers} layers" if self.num_layers > 1 else ""
        more += " bidirectional" if self.bidirectional else ""
        more += "" if self.form == "full" else f" {self.form}"
        return f"{self.cell} H={self.hidden_size} B={self.batch} T={self.steps}{more}"

    @property
    def suffixes(self) -> dict[str, int]:
        """Torch's suffix of each layer and direction -> the values that it reads."""
        ways = ("", "_reverse") if self.bidirectional else ("",)
        return {
            f"_l{layer}{way}": self.hidden_size * (len(ways) if layer else 1)
            for layer, way in product(range(self.num_layers), ways)
        }

    @property
    def lengths(self) -> Array:
        """Steps of each sequence [B]: uniform in 1..T where they have their own, else T."""
        if self.form == "full":
            return np.full(self.batch, self.steps)
        return np.random.default_rng(3).integers(1, self.steps, self.batch, endpoint=True)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the matrix products of one call."""
        per_step = sum(
            2 * GATES[self.cell] * self.hidden_size * (inputs + self.hidden_size)
            for inputs in self.suffixes.values()
        )
        return per_step * int(self.lengths.sum())

    @property
    def fields(self) -> dict[str, Any]:
        """The network as a spec's fields."""
        shape = asdict(self) | {"name": "net", "input_size": self.hidden_size}
        return {k: v for k, v in shape.items() if k not in ("batch", "steps", "form")}

    def weights(self) -> dict[str, Array]:
        """Parameters under torch's names, distributed as torch's own first ones."""
        dice, bound = np.random.default_rng(1), self.hidden_size**-0.5
        rows = GATES[self.cell] * self.hidden_size
        state = {}
        for suffix, inputs in self.suffixes.items():
            shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, self.hidden_size)}
            for name, shape in (shapes | {"bias_ih": (rows,), "bias_hh": (rows,)}).items():
                state[name + suffix] = dice.uniform(-bound, bound, shape).astype(np.float32)
        return state

    def arguments(self) -> tuple[Array, list[Array]]:
        """x [T, B, I] and the initial states h_0, for an LSTM c_0 too, [L*D, B, H]."""
        dice = np.random.default_rng(2)
        x = dice.standard_normal((self.steps, self.batch, self.hidden_size), np.float32)
        shape = (len(self.suffixes), self.batch, self.hidden_size)
        count = 2 if self.cell == "lstm" else 1
        return x, [dice.standard_normal(shape, np.float32) / 2 for _ in range(count)]


def grid() -> list[Case]:
    """Everything; smaller batches first, so that what is too slow is known early."""
    single = [Case(*c) for c in product(GATES, SIZES, BATCHES, STEPS)]
    deep = [Case("lstm", h, b, 100, 2, True) for h, b in product((64, 256), (1, 32))]
    return single + deep + ragged()


def quick() -> list[Case]:
    """Minutes: enough to see every picture."""
    single = [Case(*c) for c in product(GATES, (8, 64, 256), (1, 8), STEPS)]
    return single + [Case("lstm", 64, 1, 100, 2, True)] + [c for c in ragged() if c.batch == 8]


def ragged() -> list[Case]:
    """Sequences of their own lengths, beside the same batch padded to T."""
    forms = ("full", "lengths", "packed")
    return [Case("lstm", 128, b, 200, 1, True, form) for b, form in product((8, 64), forms)]
