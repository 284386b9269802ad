"""The recurrent cells: what each one sums, and what it carries between steps.

A cell is data. Its equations live in one template, `templates/cells/<template>.j2`, which every
target shares; its arbiter is the torch.nn class of the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sum:
    """One accumulator: the rows of `gate` in W x, in U h, or in both, plus their biases."""

    name: str
    gate: str
    reads: str  # "x", "h" or "xh"


@dataclass(frozen=True)
class Half:
    """A part of a cell's equations: what comes before the last activation, or the rest."""

    macro: str  # of the cell's template
    sums: tuple[str, ...]  # that it reads
    own: str  # old state that it reads, "c" or "h", or none
    leaves: str  # the new c or h, or a sum in whose place it leaves a number for the next half


@dataclass(frozen=True)
class Cell:
    """One recurrent cell, in torch's gate order."""

    torch: str  # torch.nn class
    gates: tuple[str, ...]  # row blocks of weight_ih and weight_hh, top to bottom
    states: tuple[str, ...]  # carried from step to step, h first
    own: tuple[str, ...]  # states of which a unit reads its own old value outside the products
    words: tuple[str, ...]  # vsigmoid and its like, that the equations speak
    halves: tuple[Half, ...]
    split: tuple[str, ...] = ()  # gates that need W x and U h apart

    @property
    def template(self) -> str:
        return f"cells/{self.torch.lower()}.j2"

    @property
    def sums(self) -> tuple[Sum, ...]:
        """Accumulators of one hidden unit: those of W x alone, of both, of U h alone."""
        alone = [Sum(g, g, "x") for g in self.split]
        both = [Sum(g, g, "xh") for g in self.gates if g not in self.split]
        return (*alone, *both, *(Sum(f"{g}_h", g, "h") for g in self.split))

    @property
    def even(self) -> bool:
        """Whether it has four sums, and each product adds to all of them."""
        return len(self.sums) == 4 and not self.split

    def place(self, name: str) -> int:
        """Of a sum among those of its unit."""
        return [s.name for s in self.sums].index(name)


LSTM = Cell(
    "LSTM",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    own=("c",),
    words=("sigmoid", "gated", "fma"),
    halves=(Half("first", ("i", "f", "g"), "c", "c"), Half("last", ("o",), "c", "h")),
)
GRU = Cell(
    "GRU",
    gates=("r", "z", "n"),
    states=("h",),
    own=("h",),
    words=("sigmoid", "tanh", "fma"),
    halves=(Half("first", ("n", "r", "n_h"), "", "n"), Half("last", ("n", "z"), "h", "h")),
    split=("n",),
)
RNN = {
    word: Cell(
        "RNN",
        gates=("a",),
        states=("h",),
        own=(),
        words=(word,),
        halves=(Half("last", ("a",), "", "h"),),
    )
    for word in ("tanh", "relu")
}


def cell(name: str, nonlinearity: str) -> Cell:
    """The cell that a spec's `cell` and `nonlinearity` name."""
    return {"lstm": LSTM, "gru": GRU, "rnn": RNN[nonlinearity]}[name]
